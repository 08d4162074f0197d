"""Law 2 for integers: the compiled program of every op that has an integer form is its NumPy twin's to the bit."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from compiled_policy import FAST, MISSING, REASON, SANITIZED, acted, with_wild_rows
from hypothesis import given, settings
from integer_graphs import integer_chains
from numpy.typing import NDArray

from prunekit.export.c_int8 import int8_to_c
from prunekit.export.quantize import Bits, quantize, run_quantized
from prunekit.graph.graph import Graph

pytestmark = pytest.mark.skipif(bool(MISSING), reason=REASON)
WAYS = [("gcc", ("-O0",)), ("clang", FAST), ("gcc", SANITIZED)]


@pytest.mark.parametrize("bits", [16, 8])
@settings(deadline=None, max_examples=25)
@given(case=integer_chains())
def test_compiled_chains_give_the_bits_of_their_twin(bits: Bits, case: tuple[Graph, NDArray[np.float32]]) -> None:
    graph, observations = case
    quantized = quantize(graph, observations, bits)
    rows = with_wild_rows(np.concatenate([observations, 10.0 * observations[:8]]))
    expected = run_quantized(quantized, rows)[0]
    code = int8_to_c(quantized, "some_policy", {}, rows)
    for compiler, flags in WAYS:
        with tempfile.TemporaryDirectory() as folder:
            found = acted(code, rows, Path(folder), compiler, flags, self_test=True)
        assert found.tobytes() == expected.tobytes(), (compiler, flags)
