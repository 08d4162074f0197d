"""Law 2 for C: the compiled program is the oracle's within rounding, and its NumPy twin's to the bit."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from compiled_policy import FAST, MISSING, REASON, SANITIZED, acted, float_c, twin, with_wild_rows
from hypothesis import given, settings
from law_strategies import Deployed, deployed
from torch import nn

from prunekit.export.agreement import Expected, require_agreement
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


@settings(deadline=None, max_examples=80)
@given(deployed())
def test_the_twin_agrees_with_the_oracle(case: Deployed) -> None:
    program = lower(case.actor)
    action, outputs = run_oracle(program, case.observations.astype(np.float64))
    require_agreement("the C", *twin(program, case.observations), Expected(action=action, outputs=outputs))


@settings(deadline=None, max_examples=25)
@given(deployed())
def test_compiled_c_gives_the_bits_of_its_twin(case: Deployed) -> None:
    program = lower(case.actor)
    rows = with_wild_rows(case.observations)
    expected = twin(program, rows)[0]
    code = float_c(program, "some_policy", {}, rows)
    for compiler, flags in WAYS:
        with tempfile.TemporaryDirectory() as folder:
            found = acted(code, rows, Path(folder), compiler, flags, self_test=True)
        assert found.tobytes() == expected.tobytes(), (compiler, flags)


@settings(deadline=None, max_examples=8)
@given(deployed())
def test_compiled_c_is_clean_under_sanitizers(case: Deployed) -> None:
    rows = with_wild_rows(case.observations)
    with tempfile.TemporaryDirectory() as folder:
        acted(float_c(lower(case.actor), "p", {}), rows, Path(folder), "gcc", SANITIZED)


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
@settings(deadline=None, max_examples=25)
@given(case=deployed())
def test_compiled_int8_gives_the_bits_of_the_integer_oracle(bits: Bits, case: Deployed) -> None:
    program = lower(case.actor)
    quantized = quantize(graph_of(program), case.observations, bits)
    rows = with_wild_rows(case.observations)
    expected = run_quantized(quantized, rows)[0]
    code = int8_to_c(quantized, "some_policy", {}, rows)
    for compiler, flags in [*WAYS, ("gcc", SANITIZED)]:
        with tempfile.TemporaryDirectory() as folder:
            found = acted(code, rows, Path(folder), compiler, flags, self_test=True)
        assert found.tobytes() == expected.tobytes(), (compiler, flags)
