"""Ranges of recorded observations and of stages, and the integer steps of inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from prunekit.errors import InputError
from prunekit.export.integer_activations import MARGIN, Z_MAX, z_end
from prunekit.export.integer_curves import CurveTable, end_of, table_of
from prunekit.export.integer_stages import IntegerPlan, Layer, Mixed, Norm, Pick
from prunekit.export.rounding import Bits, Float64
from prunekit.graph.integers import Bent, Curve

# The minimum number of steps of a 16-bit input on either side.
_MIN_STEPS = 1_023
# A table serves ranges that are up to this many times smaller than its own.
_FINEST = 64.0
# The resolution of a norm's results, relative to their largest possible value.
_NORM_STEPS = 4_096.0


def stage_ends(
    plan: IntegerPlan, before: Mapping[str, Float64], made: Mapping[str, Float64], bits: Bits
) -> tuple[dict[str, float], dict[Curve, CurveTable]]:
    """Return the value that each stage's largest z stands for, and the curves' tables."""
    ends: dict[str, float] = {}
    curves: dict[str, Curve] = {}
    for stage in plan.stages:
        then = stage.then if isinstance(stage, Layer | Mixed) else None
        ends[stage.name] = z_end(Bent() if then is None else then, before[stage.name], made[stage.name], bits)
        if isinstance(then, Curve):
            curves[stage.name] = then
        if isinstance(stage, Norm):
            ends[stage.name] = max(ends[stage.name], math.sqrt(stage.step.count) / _NORM_STEPS)
    tables = {}
    for curve in dict.fromkeys(curves.values()):
        widest = max(ends[name] for name, own in curves.items() if own == curve)
        tables[curve] = table_of(curve, min(end_of(curve, bits), widest), bits)
    for name, curve in curves.items():
        ends[name] = max(ends[name], tables[curve].end / _FINEST)
    return ends, tables


def input_ranges(seen: Float64, plan: IntegerPlan) -> tuple[Float64, Float64]:
    """Return the centre and half the width of each input's range."""
    if not len(seen):
        raise InputError("there is no recorded observation to take ranges from; record some with `episodes`")
    low, high = seen.min(axis=0), seen.max(axis=0)
    middle, half = (low + high) / 2.0, MARGIN * (high - low) / 2.0
    half = np.where(half > 0.0, half, 1.0 if plan.normalized else np.maximum(np.abs(middle), 1.0))
    if plan.normalized and (np.isfinite(plan.low) or np.isfinite(plan.high)):
        low, high = (np.clip(end, plan.low, plan.high) for end in (middle - half, middle + half))
        middle, half = (low + high) / 2.0, np.maximum((high - low) / 2.0, 1e-3)
    return middle, half


def weights_on_inputs(plan: IntegerPlan) -> Float64:
    """Return the weights [rows, inputs] of all layers that read the observation, or ones if there are none."""
    places = {plan.port: np.arange(plan.inputs)}
    rows = []
    for stage in plan.stages:
        if isinstance(stage, Pick) and stage.source in places:
            places[stage.name] = places[stage.source][stage.selected]
        if isinstance(stage, Layer) and stage.source in places:
            rows.append(np.zeros((len(stage.weight), plan.inputs)))
            rows[-1][:, places[stage.source]] = stage.weight
    return np.concatenate(rows) if rows else np.ones((1, plan.inputs))


def input_units(weight: Float64, deviation: Float64, half: Float64, bits: Bits) -> Float64:
    """Return the size of one integer step of each input.

    With 8 bits the steps cover the range. With 16 bits there are more steps than needed, so inputs with large weights
    get small steps: the products of weights and steps in a row are then of similar size, which reduces their rounding
    errors.
    """
    if bits == 8:
        return half / 127.0
    rows = np.maximum((np.abs(weight) * np.maximum(deviation, 1e-9)).max(axis=1), 1e-12)
    columns = np.maximum((np.abs(weight) / rows[:, None]).max(axis=0), 1e-12)
    unit = float((half * columns).max()) / Z_MAX / columns
    return np.asarray(np.clip(unit, half / Z_MAX, half / _MIN_STEPS), np.float64)
