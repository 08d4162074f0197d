"""Law 2 for C: the compiled program is the oracle's within rounding, and its NumPy twin's to the bit."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compiled_policy import FAST, MISSING, REASON, SANITIZED, acted, acted_together, float_c, twin, with_wild_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from law_strategies import Deployed, deployed
from numpy.typing import NDArray
from torch import nn

from prunekit.export.agreement import Expected, require_agreement
from prunekit.export.c_code import CCode
from prunekit.export.c_int8 import int8_to_c
from prunekit.export.quantize import Bits, quantize, run_quantized
from prunekit.policy.actor import Actor
from prunekit.policy.graphs import graph_of
from prunekit.policy.heads import ClipHead
from prunekit.policy.oracle import run_oracle
from prunekit.policy.program import lower

pytestmark = pytest.mark.skipif(bool(MISSING), reason=REASON)
# clang's -ffp-contract=fast disregards every pragma, its default heeds them.
WAYS = [("gcc", ("-O0",)), ("gcc", (*FAST, "-ffp-contract=fast")), ("clang", FAST)]
# As many are compiled at once: most of a compiler's time is not the policy's.
FIVE = st.tuples(*[deployed()] * 5)


def assert_same_bits(
    codes: Sequence[tuple[CCode, NDArray[np.float32], int]],
    expected: Sequence[NDArray[Any]],
    ways: Sequence[tuple[str, tuple[str, ...]]],
) -> None:
    for compiler, flags in ways:
        with tempfile.TemporaryDirectory() as folder:
            found = acted_together(codes, Path(folder), compiler, flags, self_test=True)
        for own, answer in zip(found, expected, strict=True):
            assert own.tobytes() == answer.tobytes(), (compiler, flags)


@settings(deadline=None, max_examples=80)
@given(deployed())
def test_the_twin_agrees_with_the_oracle(case: Deployed) -> None:
    program = lower(case.actor)
    action, outputs = run_oracle(program, case.observations.astype(np.float64))
    require_agreement("the C", *twin(program, case.observations), Expected(action=action, outputs=outputs))


@settings(deadline=None, max_examples=6)
@given(FIVE)
def test_compiled_c_gives_the_bits_of_its_twin(cases: Sequence[Deployed]) -> None:
    codes, expected = [], []
    for at, case in enumerate(cases):
        program, rows = lower(case.actor), with_wild_rows(case.observations)
        codes.append((float_c(program, f"policy_{at}", {}, rows), rows, 1))
        expected.append(twin(program, rows)[0])
    assert_same_bits(codes, expected, WAYS)


@settings(deadline=None, max_examples=3)
@given(FIVE)
def test_compiled_c_is_clean_under_sanitizers(cases: Sequence[Deployed]) -> None:
    given = [(lower(case.actor), with_wild_rows(case.observations)) for case in cases]
    codes = [(float_c(program, f"p{at}", {}), rows, 1) for at, (program, rows) in enumerate(given)]
    with tempfile.TemporaryDirectory() as folder:
        acted_together(codes, Path(folder), "gcc", SANITIZED)


@pytest.mark.parametrize("form", ["float32", "w8a16", "w8a8"])
def test_activations_of_one_name_with_two_parameters_are_two(form: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    first, second = nn.LeakyReLU(0.01), nn.LeakyReLU(0.5)
    network = nn.Sequential(nn.Linear(3, 6), first, nn.Linear(6, 6), second, nn.Linear(6, 6), first, nn.Linear(6, 2))
    program = lower(Actor(network, ClipHead(low=(-9.0, -9.0), high=(9.0, 9.0))))
    rows = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    if form == "float32":
        code, expected = float_c(program, "p", {}), twin(program, rows)[0]
    else:
        quantized = quantize(graph_of(program), rows, 16 if form == "w8a16" else 8)
        code, expected = int8_to_c(quantized, "p", {}), run_quantized(quantized, rows)[0]
    assert acted(code, rows, tmp_path).tobytes() == expected.tobytes()


@pytest.mark.parametrize("bits", [16, 8])
@settings(deadline=None, max_examples=6)
@given(cases=FIVE)
def test_compiled_int8_gives_the_bits_of_the_integer_oracle(bits: Bits, cases: Sequence[Deployed]) -> None:
    codes, expected = [], []
    for at, case in enumerate(cases):
        quantized = quantize(graph_of(lower(case.actor)), case.observations, bits)
        rows = with_wild_rows(case.observations)
        codes.append((int8_to_c(quantized, f"policy_{at}", {}, rows), rows, 1))
        expected.append(run_quantized(quantized, rows)[0])
    assert_same_bits(codes, expected, [*WAYS, ("gcc", SANITIZED)])
