"""Law 2 for integers: the compiled program of every op that has an integer form is its NumPy twin's to the bit."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from compiled_policy import FAST, MISSING, REASON, SANITIZED, acted, with_wild_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from integer_graphs import FUNCTIONS, integer_chain_of, integer_network_of
from numpy.typing import NDArray

from prunekit.export.c_int8 import int8_to_c
from prunekit.export.quantize import Bits, quantize, run_quantized
from prunekit.graph.graph import Graph

pytestmark = pytest.mark.skipif(bool(MISSING), reason=REASON)
Way = tuple[str, tuple[str, ...]]
WAYS: list[Way] = [("gcc", ("-O0",)), ("clang", FAST), ("gcc", SANITIZED)]


BOTH = pytest.mark.parametrize("bits", [16, 8])


def same_bits(graph: Graph, observations: NDArray[np.float32], bits: Bits, ways: Sequence[Way]) -> None:
    quantized = quantize(graph, observations, bits)
    rows = with_wild_rows(np.concatenate([observations, 10.0 * observations[:8]]))
    expected = run_quantized(quantized, rows)[0]
    code = int8_to_c(quantized, "some_policy", {}, rows)
    for compiler, flags in ways:
        with tempfile.TemporaryDirectory() as folder:
            found = acted(code, rows, Path(folder), compiler, flags, self_test=True)
        assert found.tobytes() == expected.tobytes(), (compiler, flags)


@BOTH
@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 2**64))
def test_compiled_chains_give_the_bits_of_their_twin(bits: Bits, seed: int) -> None:
    same_bits(*integer_chain_of(seed), bits, WAYS)


@BOTH
@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_function_gives_the_bits_of_its_twin(function: str, bits: Bits) -> None:
    for seed in range(4):
        same_bits(*integer_chain_of(seed, [function, function]), bits, WAYS[:1])


@BOTH
@settings(deadline=None, max_examples=6)
@given(seed=st.integers(0, 2**64))
def test_compiled_networks_with_branches_give_the_bits_of_their_twin(bits: Bits, seed: int) -> None:
    same_bits(*integer_network_of(seed), bits, WAYS[2:])
