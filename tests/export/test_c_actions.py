"""What the compiled C does: its heads, its bounds, and observations that are not finite."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from c_policies import FORMS, HEADS, INF, INPUTS, NORMALIZER, as_c, observations, program
from compiled_policy import MISSING, REASON, acted, twin, with_wild_rows
from numpy.typing import NDArray
from torch import nn

from prunekit.export.c_code import CCode
from prunekit.export.quantize import Bits, quantize
from prunekit.policy.actor import Normalizer
from prunekit.policy.graphs import graph_of
from prunekit.policy.heads import ArgmaxHead, ClipHead, Head
from prunekit.policy.oracle import run_oracle
from prunekit.policy.program import Affine, Program

pytestmark = pytest.mark.skipif(bool(MISSING), reason=REASON)
SEEN = observations(256)


@pytest.mark.parametrize("normalizer", [None, NORMALIZER], ids=["raw", "normalized"])
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_heads_decide_as_the_oracle_does(head: Head, normalizer: Normalizer | None, tmp_path: Path) -> None:
    policy = program(head, nn.Tanh, normalizer=normalizer)
    expected = run_oracle(policy, SEEN.astype(np.float64))[0]
    code = as_c(policy, "float32", SEEN)
    found = acted(code, SEEN, tmp_path)
    if isinstance(head, ArgmaxHead):
        assert set(found.tolist()) == {head.start, head.start + 1, head.start + 2}
        assert np.array_equal(found, expected)
        assert f"Returns the action, {head.start} to {head.start + 2}," in code.header
        return
    np.testing.assert_allclose(found, expected, atol=1e-5)
    for column, low, high in zip(found.T, head.low, head.high, strict=True):
        assert low <= column.min() < column.max() <= high
        if isinstance(head, ClipHead):
            assert np.isinf(low) or column.min() == np.float32(low)
            assert np.isinf(high) or column.max() == np.float32(high)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_an_action_is_inside_its_bounds_and_finite_whatever_is_observed(head: Head, form: str, tmp_path: Path) -> None:
    policy = program(head, nn.LeakyReLU)
    last = policy.ops[-1]
    assert isinstance(last, Affine)
    # Scores overflow to infinities of both signs, and add up to NaN.
    huge = replace(last, weight=np.where(last.weight > 0.0, 3e38, -3e38).astype(np.float32))
    rows = with_wild_rows(SEEN)
    overflowing = Program(ops=(*policy.ops[:-1], huge), head=head)
    scores = twin(overflowing, rows)[1]
    assert np.isposinf(scores).any()
    assert np.isneginf(scores).any()
    assert np.isnan(scores).any()
    for wild in (policy, overflowing) if form == "float32" else (policy,):
        found = acted(as_c(wild, form, SEEN), rows, tmp_path)
        if isinstance(head, ArgmaxHead):
            assert np.isin(found, head.start + np.arange(3)).all()
            continue
        assert np.isfinite(found).all()
        low, high = (np.asarray(bounds, np.float32) for bounds in (head.low, head.high))
        assert ((low <= found) & (found <= high)).all()


def same_actions(code: CCode, value: float, counts_as: NDArray[np.float32] | float, folder: Path) -> bool:
    """Return whether ``value`` anywhere, and everywhere, gives what ``counts_as`` (one per input) gives there."""
    rows = np.repeat(SEEN[:1], INPUTS + 1, axis=0)
    places = np.concatenate([np.eye(INPUTS, dtype=bool), np.ones((1, INPUTS), bool)])
    odd = np.where(places, np.float32(value), rows)
    plain = np.where(places, np.asarray(counts_as, np.float32), rows)
    found, expected = np.split(acted(code, np.concatenate([odd, plain]), folder), 2)
    assert len(np.unique(expected, axis=0)) == len(rows), "the places must differ, or this shows nothing"
    return found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("clip", [3.0, INF])
def test_nan_counts_as_the_mean(clip: float, tmp_path: Path) -> None:
    normalizer = Normalizer(NORMALIZER.mean.tolist(), NORMALIZER.scale.tolist(), clip)
    code = as_c(program(HEADS["tanh"], normalizer=normalizer), "float32", SEEN)
    assert same_actions(code, np.nan, normalizer.mean.numpy(), tmp_path)
    assert "NaN counts as the normalizer's mean." in code.header


@pytest.mark.parametrize("value", [np.nan, INF, -INF])
def test_without_a_normalizer_what_is_not_finite_counts_as_zero(value: float, tmp_path: Path) -> None:
    code = as_c(program(HEADS["tanh"]), "float32", SEEN)
    assert same_actions(code, value, 0.0, tmp_path)
    assert "NaN counts as 0." in code.header


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_infinity_counts_as_the_clip_or_without_one_as_the_mean(sign: float, tmp_path: Path) -> None:
    code = as_c(program(HEADS["tanh"], normalizer=NORMALIZER), "float32", SEEN)
    ends = NORMALIZER.mean + sign * NORMALIZER.clip / NORMALIZER.scale
    assert same_actions(code, sign * INF, ends.numpy(), tmp_path)
    unclipped = Normalizer(NORMALIZER.mean.tolist(), NORMALIZER.scale.tolist(), INF)
    code = as_c(program(HEADS["tanh"], normalizer=unclipped), "float32", SEEN)
    assert same_actions(code, sign * INF, NORMALIZER.mean.numpy(), tmp_path)


@pytest.mark.parametrize("bits", [16, 8])
@pytest.mark.parametrize("normalizer", [None, NORMALIZER], ids=["raw", "normalized"])
def test_in_integers_nan_counts_as_the_middle_and_infinity_as_the_end(
    bits: Bits, normalizer: Normalizer | None, tmp_path: Path
) -> None:
    policy = program(HEADS["tanh"], normalizer=normalizer)
    quantized = quantize(graph_of(policy), SEEN, bits)
    code = as_c(policy, f"w8a{bits}", SEEN)
    assert same_actions(code, np.nan, quantized.center, tmp_path)
    for sign in (1.0, -1.0):
        ends = quantized.center + sign * quantized.limit.astype(np.float32) / quantized.gain
        assert same_actions(code, sign * INF, ends, tmp_path)
