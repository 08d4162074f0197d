"""Policies in integers: how near they stay, that nothing wraps, and what has no integer form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from c_policies import HEADS, INF, INPUTS, NORMALIZER, as_c, observations, program
from compiled_policy import MISSING, REASON, SANITIZED, acted
from numpy.typing import NDArray
from torch import nn

from prunekit.errors import InputError
from prunekit.export.c import CSettings, export_c
from prunekit.export.c_int8 import int8_to_c
from prunekit.export.integer_activations import Curved
from prunekit.export.quantize import Bits, quantize, run_quantized
from prunekit.export.quantized import QuantizedProgram, quantized_observations
from prunekit.export.rounding import Integers, Rounding, refitted, rounded_to
from prunekit.policy.actor import Actor, Normalizer
from prunekit.policy.graphs import graph_of
from prunekit.policy.heads import ClipHead
from prunekit.policy.oracle import run_oracle
from prunekit.policy.program import Activate, Program, lower

needs_compilers = pytest.mark.skipif(bool(MISSING), reason=REASON)
UNBOUNDED = HEADS["clip-unbounded"]
INTEGER = [nn.Tanh, nn.Sigmoid, nn.Identity, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Softplus]
BOTH = pytest.mark.parametrize("bits", [16, 8])
NORMALIZERS = pytest.mark.parametrize("normalizer", [None, NORMALIZER], ids=["raw", "normalized"])
SEEN = observations(500)


def ends(quantized: QuantizedProgram) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the least and the largest observation that is told apart, per input."""
    reach = quantized.limit / quantized.gain.astype(np.float64)
    return (quantized.center - reach).astype(np.float32), (quantized.center + reach).astype(np.float32)


def relative_error(policy: Program, bits: Bits, rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return how far each score is from the oracle's, over the spread of all scores."""
    expected = run_oracle(policy, rows.astype(np.float64))[1]
    difference = run_quantized(quantize(graph_of(policy), SEEN, bits), rows)[1] - expected
    return np.asarray(np.abs(difference) / expected.std(), np.float64)


@needs_compilers
@BOTH
@NORMALIZERS
def test_observations_out_of_range_count_as_its_end(bits: Bits, normalizer: Normalizer | None, tmp_path: Path) -> None:
    policy = program(UNBOUNDED, nn.Tanh, normalizer=normalizer)
    quantized = quantize(graph_of(policy), SEEN, bits)
    low, high = ends(quantized)
    generator = np.random.default_rng(5)
    far = observations(400, seed=6)
    # 2^15, 2^16 and 2^32 steps out are where integers that wrap would be back.
    out = generator.choice([1.01, 2.0, 3.0, 257.0, 65_537.0, 1e9, 1e20, 1e38, INF], far.shape)
    side = generator.choice([-1.0, 1.0], far.shape)
    outside = generator.random(far.shape) < 0.5
    most = np.finfo(np.float32).max
    beyond = np.where(np.isinf(out), side * INF, np.clip(quantized.center + side * out * (high - low) / 2, -most, most))
    far = np.where(outside, beyond, far).astype(np.float32)
    clipped = np.clip(far, low, high)
    x = quantized_observations(quantized, far)
    assert (np.abs(x) == quantized.limit)[outside].all()
    assert np.array_equal(x, quantized_observations(quantized, clipped))
    expected = run_quantized(quantized, clipped)[0]
    assert run_quantized(quantized, far)[0].tobytes() == expected.tobytes()
    assert acted(int8_to_c(quantized, "p", {}), far, tmp_path).tobytes() == expected.tobytes()


@BOTH
def test_the_range_is_what_was_recorded_and_a_quarter_more(bits: Bits) -> None:
    least, largest = SEEN.min(axis=0), SEEN.max(axis=0)
    low, high = ends(quantize(graph_of(program(UNBOUNDED)), SEEN, bits))
    np.testing.assert_allclose((high + low) / 2, (largest + least) / 2, atol=1e-3)
    np.testing.assert_allclose(high - low, 1.25 * (largest - least), rtol=2e-3)
    # What the normalizer clips needs no range.
    mean, reach = NORMALIZER.mean.numpy(), NORMALIZER.clip / NORMALIZER.scale.numpy()
    low, high = ends(quantize(graph_of(program(UNBOUNDED, normalizer=NORMALIZER)), SEEN, bits))
    middle, half = (largest + least) / 2, 0.625 * (largest - least)
    np.testing.assert_allclose(low, np.maximum(middle - half, mean - reach), atol=5e-3)
    np.testing.assert_allclose(high, np.minimum(middle + half, mean + reach), atol=5e-3)
    assert (low > middle - half + 0.1).any()


@BOTH
@NORMALIZERS
@pytest.mark.parametrize("activation", INTEGER)
def test_scores_stay_near_the_oracle(activation: type[nn.Module], normalizer: Normalizer | None, bits: Bits) -> None:
    policy = program(UNBOUNDED, activation, (32, 32), normalizer)
    error = relative_error(policy, bits, SEEN)
    assert float(np.sqrt((error**2).mean())) < (0.006 if bits == 16 else 0.05)
    assert error.max() < (0.04 if bits == 16 else 0.25)
    # Among new observations a few are beyond all that was recorded.
    error = relative_error(policy, bits, observations(500, seed=1))
    assert np.quantile(error, 0.99) < (0.02 if bits == 16 else 0.15)


@NORMALIZERS
@pytest.mark.parametrize("activation", INTEGER)
def test_sixteen_bits_are_nearer_than_eight(activation: type[nn.Module], normalizer: Normalizer | None) -> None:
    policy = program(UNBOUNDED, activation, (32, 32), normalizer)
    rows = observations(500, seed=1)
    wide, narrow = (float((relative_error(policy, bits, rows) ** 2).mean()) for bits in (16, 8))
    assert 3.0 * wide < narrow


@BOTH
@NORMALIZERS
def test_inputs_that_never_changed_are_no_obstacle(bits: Bits, normalizer: Normalizer | None) -> None:
    seen = SEEN.copy()
    seen[:, 1] = -1.25
    seen[:, 2] = 0.0
    policy = program(UNBOUNDED, nn.Tanh, (32, 32), normalizer)
    for recorded in (seen, seen[:1], np.zeros_like(seen[:3])):
        quantized = quantize(graph_of(policy), recorded, bits)
        expected = run_oracle(policy, recorded.astype(np.float64))[1]
        found = run_quantized(quantized, recorded)[1]
        np.testing.assert_allclose(found, expected, atol=0.02 if bits == 16 else 0.3)
        # An input that moves all the same does what it does in float32, as far as its range goes.
        moved = recorded.copy()
        moved[:, 2] += 0.5
        expected = run_oracle(policy, moved.astype(np.float64))[1]
        np.testing.assert_allclose(run_quantized(quantized, moved)[1], expected, atol=0.05 if bits == 16 else 0.6)


def extremes(quantized: QuantizedProgram) -> list[NDArray[np.int64]]:
    """Return per layer the largest size of the inputs that reach it, [in]."""
    return [
        quantized.limit if index == 0 else np.full(layer.weight.shape[1], quantized.maximum)
        for index, layer in enumerate(quantized.layers)
    ]


@BOTH
@NORMALIZERS
@pytest.mark.parametrize("gain", [0.1, 2.0, 50.0, 1e6])
@pytest.mark.parametrize("activation", INTEGER)
def test_all_integers_fit_where_c_keeps_them(
    activation: type[nn.Module], gain: float, normalizer: Normalizer | None, bits: Bits
) -> None:
    policy = program(UNBOUNDED, activation, (40, 40), normalizer, gain)
    quantized = quantize(graph_of(policy), SEEN, bits)
    assert quantized.maximum == (127 if bits == 8 else 32_767)
    assert (np.abs(quantized.table) <= quantized.maximum).all()
    assert ((quantized.limit > 0) & (quantized.limit <= quantized.maximum)).all()
    assert np.isfinite(quantized.center).all()
    assert np.isfinite(quantized.gain).all()
    for layer, most in zip(quantized.layers, extremes(quantized), strict=True):
        assert (np.abs(layer.weight) <= 127).all()
        # The worst observation: every product of one sign, and rounding on top.
        worst = np.abs(layer.weight) @ most + np.abs(layer.bias) + (1 << layer.before >> 1)
        assert (worst < 2**31).all()
        assert ((layer.before >= 0) & (layer.before <= 30)).all()
        assert ((layer.after >= 0) & (layer.after <= 30)).all()
        assert ((layer.multiplier >= 1) & (layer.multiplier <= 32_767)).all()
        assert (32_767 * layer.multiplier + (1 << layer.after >> 1) < 2**31).all()
        assert np.isfinite(layer.step).all()
        if isinstance(layer.activation, Curved):
            assert np.abs(layer.activation.table.values).max() == quantized.maximum
            for multiplier, shift in (layer.activation.inward, layer.activation.outward):
                assert 0 <= multiplier <= 32_767
                assert 0 <= shift <= 30
                assert multiplier >= 2**14 or shift == 30  # of ranges so large that what is bent is nothing


def wide(inputs: int, outputs: int = 2) -> Program:
    """Return a single layer whose sums are as large as they can be: all its weights are of one size."""
    generator = np.random.default_rng(0)
    layer = nn.Linear(inputs, outputs, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(generator.choice([-0.5, 0.5], (outputs, inputs))))
    return lower(Actor(nn.Sequential(layer), ClipHead(low=(-INF,) * outputs, high=(INF,) * outputs)))


@needs_compilers
@pytest.mark.parametrize(("bits", "inputs"), [(16, 500), (8, 900)])
def test_sums_at_their_limit_do_not_overflow(bits: Bits, inputs: int, tmp_path: Path) -> None:
    policy = wide(inputs)
    seen = np.random.default_rng(1).uniform(-1.0, 1.0, (600, inputs)).astype(np.float32)
    quantized = quantize(graph_of(policy), seen, bits)
    (layer,) = quantized.layers
    rows = np.concatenate([np.sign(layer.weight), -np.sign(layer.weight)]).astype(np.float32) * 1e6
    x = quantized_observations(quantized, rows)
    assert np.abs(x @ layer.weight.T + layer.bias).max() > (1.7e9 if bits == 16 else 1.3e7)
    expected = run_quantized(quantized, rows)[0]
    found = acted(int8_to_c(quantized, "p", {}), rows, tmp_path, "gcc", SANITIZED)
    assert found.tobytes() == expected.tobytes()


def test_layers_too_wide_for_sums_of_32_bits_are_refused() -> None:
    seen = np.random.default_rng(1).uniform(-1.0, 1.0, (50, 700)).astype(np.float32)
    with pytest.raises(
        InputError, match=r"'outputs': a layer of 700 inputs is too wide .*int16 .*; use `activations` 8"
    ):
        quantize(graph_of(wide(700)), seen, 16)
    quantize(graph_of(wide(700)), seen, 8)

    inputs = 2**31 // 127**2
    seen = np.linspace(-1.0, 1.0, 2 * inputs, dtype=np.float32).reshape(2, inputs)
    with pytest.raises(InputError, match=rf"a layer of {inputs} inputs is too wide .*int8 .*; export without `int8`"):
        quantize(graph_of(wide(inputs, outputs=1)), seen, 8)


@BOTH
@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_an_input_that_lies_beyond_the_normalizer_s_clip_counts_as_the_clip(bits: Bits, side: float) -> None:
    normalizer = Normalizer([0.0] * INPUTS, [1.0] * INPUTS, 2.0)
    policy = program(UNBOUNDED, nn.Tanh, normalizer=normalizer)
    seen = np.clip(SEEN, -2.0, 2.0)
    seen[:, 1] = side * 1000.0
    wanted = run_oracle(policy, seen.astype(np.float64))[1]
    error = np.abs(run_quantized(quantize(graph_of(policy), seen, bits), seen)[1] - wanted) / wanted.std()
    assert np.quantile(error, 0.9) < (0.02 if bits == 16 else 0.06)


def test_very_wide_layers_are_rounded_each_weight_for_itself() -> None:
    how = Rounding(max_inputs=16)
    generator = np.random.default_rng(3)
    for inputs, alone in ((16, False), (17, True)):
        weight, bias = generator.normal(size=(4, inputs)) * 30.0, generator.normal(size=4)
        x = generator.integers(-300, 300, (50, inputs))
        wanted = x @ weight.T + bias + 5.0
        found, left, _ = rounded_to(weight, np.ones(4), x, 127, np.full(4, np.inf), how)
        assert (not left.any() and np.array_equal(found, np.floor(weight + 0.5))) == alone
        assert np.array_equal(refitted(weight, bias, x, wanted, how)[0], weight) == alone


@BOTH
def test_activations_may_stand_anywhere(bits: Bits) -> None:
    plain = program(UNBOUNDED, nn.Tanh)
    last, (activate, *_) = plain.ops[-1], [op for op in plain.ops if isinstance(op, Activate)]
    for ops in ((*plain.ops[:-1], activate, last), (activate, *plain.ops)):
        policy = Program(ops=ops, head=plain.head)
        wanted = run_oracle(policy, SEEN.astype(np.float64))[1]
        error = np.abs(run_quantized(quantize(graph_of(policy), SEEN, bits), SEEN)[1] - wanted) / wanted.std()
        assert np.quantile(error, 0.9) < (0.02 if bits == 16 else 0.1)


@BOTH
def test_without_recorded_observations_there_are_no_integers(bits: Bits, tmp_path: Path) -> None:
    nothing = np.zeros((0, INPUTS), np.float32)
    with pytest.raises(InputError, match="no recorded observation to take ranges from; record some with `episodes`"):
        quantize(graph_of(program(UNBOUNDED)), nothing, bits)
    actor = Actor(nn.Sequential(nn.Linear(INPUTS, 3)), UNBOUNDED)
    with pytest.raises(InputError, match="no recorded observation to take ranges from; record some with `episodes`"):
        export_c(actor, tmp_path, CSettings(name="p", activations=bits), {}, lambda: nothing)
    assert not list(tmp_path.iterdir())


def correlated(rows: int, seed: int) -> Integers:
    """Return integer inputs [rows, 16] that say only four things, and a little of their own, around 300."""
    generator = np.random.default_rng(seed)
    mix = np.random.default_rng(0).normal(size=(4, 16))
    values = generator.normal(size=(rows, 4)) @ mix + 0.05 * generator.normal(size=(rows, 16))
    return np.floor(300.0 + 400.0 * values).astype(np.int64)


ONE = np.ones(12)


def squared(error: NDArray[Any]) -> float:
    return float((error.astype(np.float64) ** 2).mean())


@pytest.mark.parametrize("most", [127, 7])
def test_rounding_of_one_weight_is_made_up_for_by_the_others(most: int) -> None:
    weight = np.random.default_rng(3).uniform(-most, most, (12, 16))
    whole, left, step = rounded_to(weight, ONE, correlated(2000, 1), most, 2.0**31 * ONE, Rounding())
    plain = np.clip(np.floor(weight + 0.5), -most, most)
    assert (np.abs(whole) <= most).all()
    assert whole.dtype == np.int64
    for x in (correlated(2000, 1), correlated(2000, 2)):
        error = squared(x @ (whole * step[:, None] - weight).T + left * step)
        assert error < 0.25 * squared(x @ (plain - weight).T)
        assert error < squared(x @ (whole * step[:, None] - weight).T)
    kept, nothing, same = rounded_to(
        whole.astype(np.float64), ONE, correlated(2000, 1), most, 2.0**31 * ONE, Rounding()
    )
    assert np.array_equal(kept, whole)
    assert np.array_equal(same, ONE)
    assert not nothing.any()


def test_steps_are_those_that_leave_the_least_error() -> None:
    """One weight far beyond the others is clipped for their sake; one that has to make up for others gets room."""
    x, far = correlated(2000, 1), np.random.default_rng(3).uniform(-0.4, 0.4, (12, 16))
    far[:, 5] = 7.0
    near = np.random.default_rng(3).uniform(-7.0, 7.0, (12, 16))
    errors = []
    for how in (Rounding(), Rounding(steps=(1.0,))):
        for weight in (far, near):
            whole, left, step = rounded_to(weight, ONE, x, 7, 2.0**31 * ONE, how)
            errors.append(((x @ (whole * step[:, None] - weight).T + left * step) ** 2).mean(axis=0))
            assert {round(factor, 9) for factor in step.tolist()} <= set(how.steps)
    for searched, alone in ((errors[0], errors[2]), (errors[1], errors[3])):
        assert (searched <= alone * 1.001).all()
        assert searched.mean() < 0.9 * alone.mean()


def test_smaller_steps_leave_sums_their_32_bits() -> None:
    x, weight = correlated(2000, 1), np.random.default_rng(3).uniform(-7.0, 7.0, (12, 16))
    free = rounded_to(weight, ONE, x, 7, 2.0**31 * ONE, Rounding())[0]
    room = np.abs(free).sum(axis=1) - 3.0
    held, _, step = rounded_to(weight, ONE, x, 7, room, Rounding())
    assert ((np.abs(held).sum(axis=1) < room) | (step == 1.0)).all()
    assert not np.array_equal(held, free)


def test_refitting_takes_back_what_the_layers_before_have_lost() -> None:
    generator = np.random.default_rng(4)
    x = correlated(2000, 1)
    weight, bias = generator.normal(size=(12, 16)), generator.normal(size=12)
    wanted = x @ (weight * 1.05).T + bias + 40.0
    found, offset = refitted(weight, bias, x, wanted, Rounding())
    assert squared(x @ found.T + offset - wanted) < 0.05 * squared(x @ weight.T + bias - wanted)
    same, unmoved = refitted(weight, bias, x, x @ weight.T + bias, Rounding())
    np.testing.assert_allclose(same, weight, atol=1e-9)
    np.testing.assert_allclose(unmoved, bias, atol=1e-6)


@needs_compilers
@BOTH
def test_hidden_units_saturate_as_well(bits: Bits, tmp_path: Path) -> None:
    policy = program(UNBOUNDED, nn.ReLU, (40, 40), gain=20.0)
    rows = 100.0 * observations(200, seed=8)
    expected = run_quantized(quantize(graph_of(policy), SEEN, bits), rows)[0]
    assert len(np.unique(expected, axis=0)) > 1
    found = acted(as_c(policy, f"w8a{bits}", SEEN), rows, tmp_path, "gcc", SANITIZED)
    assert found.tobytes() == expected.tobytes()
