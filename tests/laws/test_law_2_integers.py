"""Law 2 for integers: the compiled program of every op that has an integer form is its NumPy twin's to the bit."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from compiled_policy import FAST, MISSING, REASON, SANITIZED, acted_together, with_wild_rows
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
SEEDS = st.integers(0, 2**64)
BOTH = pytest.mark.parametrize("bits", [16, 8])


def same_bits(cases: Sequence[tuple[Graph, NDArray[np.float32]]], bits: Bits, ways: Sequence[Way]) -> None:
    codes, expected = [], []
    for at, (graph, observations) in enumerate(cases):
        quantized = quantize(graph, observations, bits)
        rows = with_wild_rows(np.concatenate([observations, 10.0 * observations[:8]]))
        codes.append((int8_to_c(quantized, f"policy_{at}", {}, rows), rows, 1))
        expected.append(run_quantized(quantized, rows)[0])
    for compiler, flags in ways:
        with tempfile.TemporaryDirectory() as folder:
            found = acted_together(codes, Path(folder), compiler, flags, self_test=True)
        for own, answer in zip(found, expected, strict=True):
            assert own.tobytes() == answer.tobytes(), (compiler, flags)


@BOTH
@settings(deadline=None, max_examples=3)
@given(seeds=st.tuples(*[SEEDS] * 4))
def test_compiled_chains_give_the_bits_of_their_twin(bits: Bits, seeds: Sequence[int]) -> None:
    same_bits([integer_chain_of(seed) for seed in seeds], bits, WAYS)


@BOTH
@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_function_gives_the_bits_of_its_twin(function: str, bits: Bits) -> None:
    same_bits([integer_chain_of(seed, [function, function]) for seed in range(4)], bits, WAYS[:1])


@BOTH
@settings(deadline=None, max_examples=2)
@given(seeds=st.tuples(*[SEEDS] * 3))
def test_compiled_networks_with_branches_give_the_bits_of_their_twin(bits: Bits, seeds: Sequence[int]) -> None:
    same_bits([integer_network_of(seed) for seed in seeds], bits, WAYS[2:])
