"""Quantization of a graph: ranges and steps from recorded observations, and weights whose rounding errors compensate.

Weights have one scale per output unit. Each value of an observation has its own scale, from its recorded range with a
margin. The values of every other stage share one step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import assert_never, final

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import InputError
from prunekit.export.integer_activations import Z_MAX, IntegerActivation, fitted, unit_of, z_end
from prunekit.export.integer_curves import CurveTable, max_of
from prunekit.export.integer_mixing import Steps, added, floated, in_float32, multiplied, placed, requantized
from prunekit.export.integer_norms import norm_numbers
from prunekit.export.integer_plan import integer_plan
from prunekit.export.integer_ranges import input_ranges, input_units, stage_ends, weights_on_inputs
from prunekit.export.integer_stages import Layer, Mixed, Norm, Pick, Stage, Value, surveyed
from prunekit.export.quantized import (
    Concatenated,
    IntegerStage,
    NormedIntegers,
    PickedIntegers,
    Quantized,
    QuantizedProgram,
    quantized_observations,
    rounded,
    stage_made,
    tanh_table,
)
from prunekit.export.quantized import run_quantized as run_quantized
from prunekit.export.rounding import Bits as Bits
from prunekit.export.rounding import Float64, Integers, Rounding, refitted, rounded_to
from prunekit.graph.graph import Graph
from prunekit.graph.integers import Bent, Curve, Joined, Pointwise, Product, Sum

_WEIGHT_MAX = 127


def quantize(
    graph: Graph, recorded: NDArray[np.float32], bits: Bits = 16, rounding: Rounding | None = None
) -> QuantizedProgram:
    """Return ``graph`` in integers, fitted to ``recorded`` raw on-policy observations [n, ...].

    Ranges are those of the observations, with a margin. Weights are rounded one input after the other, and those still
    to be rounded compensate for the error as far as the recorded inputs allow (``export/rounding.py``).

    Raises InputError, naming node and op, for ops without an integer form and for layers whose sums could overflow 32
    bits. Also raises InputError for observations of another shape.
    """
    plan = integer_plan(graph)
    recorded, shape = np.asarray(recorded), graph.inputs[0].shape
    if recorded.ndim < 2 or math.prod(recorded.shape[1:]) != plan.inputs or recorded.dtype.kind not in "fiub":
        raise InputError(
            f"recorded observations must be numbers [n, {', '.join(map(str, shape))}], got {recorded.dtype} "
            f"{list(recorded.shape)}"
        )
    recorded = recorded.reshape(len(recorded), plan.inputs)
    seen = (recorded.astype(np.float64) - plan.mean) * plan.scale
    if not np.isfinite(seen).all():
        raise InputError("a recorded observation is not finite, so there is no range to take; export without `int8`")
    middle, half = input_ranges(seen, plan)
    if plan.normalized:
        seen = np.clip(seen, plan.low, plan.high)
    unit = input_units(weights_on_inputs(plan), seen.std(axis=0), half, bits)
    limit = np.minimum(rounded(half / unit), max_of(bits))
    with np.errstate(over="ignore", divide="ignore"):
        center, gain = (plan.mean + middle / plan.scale).astype(np.float32), (plan.scale / unit).astype(np.float32)
    if not (np.isfinite(center).all() and np.isfinite(gain).all()):
        raise InputError(
            "the range of the recorded observations is too small or too large for float32; export without `int8`"
        )
    front = QuantizedProgram(
        bits=bits,
        port=plan.port,
        center=center,
        gain=gain,
        limit=limit,
        stages=(),
        ends={},
        tail=plan.tail,
        graph=graph,
    )
    x, meant = quantized_observations(front, recorded), np.clip(seen, middle - half, middle + half)
    before, made = surveyed(plan, meant)
    ends, tables = stage_ends(plan, before, made, bits)
    work = _Work(
        bits=bits,
        rounding=Rounding() if rounding is None else rounding,
        before=before,
        floats=made,
        ends=ends,
        tables=tables,
        tanh=tanh_table(bits),
        x={plan.port: x},
        steps={plan.port: Steps(unit=unit, offset=middle)},
        stages=[],
    )
    for stage in plan.stages:
        work.add(stage, is_end=stage.name in plan.sums)
    tail_reads = {name: work.in_floats(name, value, value.stage in plan.sums) for name, value in plan.ends.items()}
    return replace(front, stages=tuple(work.stages), ends=tail_reads)


@final
@dataclass(kw_only=True, eq=False)
class _Work:
    """The stages so far. ``before`` and ``floats`` are the exact values of stages on the recorded inputs, ``x`` the
    integers.
    """

    bits: Bits
    rounding: Rounding
    before: Mapping[str, Float64]
    floats: Mapping[str, Float64]
    ends: Mapping[str, float]
    tables: Mapping[Curve, CurveTable]
    tanh: Integers
    x: dict[str, Integers]
    steps: dict[str, Steps]
    stages: list[IntegerStage]

    def add(self, stage: Stage, *, is_end: bool) -> None:
        """Quantize ``stage``; if it ``is_end``, its sums become floats."""
        end = self.ends.get(stage.name, 1.0)
        match stage:
            case Layer():
                steps = self.steps[stage.source]
                weight, bias = stage.weight * steps.unit, stage.bias + stage.weight @ steps.offset
                weight, bias = refitted(weight, bias, self.x[stage.source], self.before[stage.name], self.rounding)
                activation = None if is_end else self._fitted(stage.then, end)
                self._keep(_quantized(stage, weight, bias, self.x[stage.source], activation, end, self))
            case Mixed():
                self._keep(self._mixed(stage, end))
            case Norm():
                source, unit = self._level(stage.name, stage.source, positive=True)
                numbers = norm_numbers(stage.step, stage.called, unit, end / Z_MAX, self.bits)
                activation = self._fitted(None, end)
                self._keep(NormedIntegers(name=stage.name, source=source, numbers=numbers, activation=activation))
            case Pick():
                places = np.flatnonzero(stage.selected)
                self._keep(PickedIntegers(name=stage.name, source=stage.source, places=places))
                steps = self.steps[stage.source]
                self.steps[stage.name] = Steps(unit=steps.unit[places], offset=steps.offset[places])
                return
            case _:
                assert_never(stage)
        if not is_end:
            then = stage.then if isinstance(stage, Layer | Mixed) else None
            self._step(stage.name, unit_of(Bent() if then is None else then, end, self.bits))

    def in_floats(self, name: str, value: Value, is_end: bool) -> str:
        """Return the stage that makes the tail's input ``name`` in floats."""
        if is_end:
            return value.stage
        floats = floated(f"{name} in floats", value.stage, self.steps[value.stage].of(value))
        self.stages.append(floats)
        return floats.name

    def _mixed(self, stage: Mixed, end: float) -> IntegerStage:
        activation = self._fitted(stage.then, end)
        match stage.step:
            case Joined():
                parts = tuple(placed(one.stage, self.steps[one.stage].of(one), end) for one in stage.sources)
                return Concatenated(name=stage.name, parts=parts, activation=activation)
            case Sum() | Product():
                (a, first), (b, second) = (
                    self._level(f"{stage.name} {index}", value) for index, value in enumerate(stage.sources)
                )
                make = added if isinstance(stage.step, Sum) else multiplied
                return make(stage.name, (a, b), (first, second), end, activation)
            case _:
                assert_never(stage.step)

    def _level(self, name: str, value: Value, *, positive: bool = False) -> tuple[str, float]:
        """Return (stage, unit) of ``value``; if it has several units or an offset, a stage ``name level`` removes
        them.
        """
        steps = self.steps[value.stage].of(value)
        if steps.level is not None and (steps.level > 0.0 or not positive):
            return value.stage, steps.level
        meant = value.of(self.floats[value.stage])
        end = z_end(Bent(), meant, meant, self.bits)
        part = placed(value.stage, steps, end)
        self._keep(Concatenated(name=f"{name} level", parts=(part,), activation=self._fitted(None, end)))
        return f"{name} level", self._step(f"{name} level", unit_of(Bent(), end, self.bits))

    def _fitted(self, then: Pointwise | None, end: float) -> IntegerActivation:
        step = Bent() if then is None else then
        return fitted(step, end, self.tables.get(step) if isinstance(step, Curve) else None)

    def _keep(self, stage: IntegerStage) -> None:
        self.stages.append(stage)
        if not (isinstance(stage, Quantized) and stage.activation is None):
            self.x[stage.name] = stage_made(stage, self.x, self.tanh, self.bits)

    def _step(self, name: str, unit: float) -> float:
        width = self.x[name].shape[1]
        self.steps[name] = Steps(unit=np.full(width, unit), offset=np.zeros(width))
        return unit


def _quantized(
    layer: Layer,
    weight: Float64,
    bias: Float64,
    x: Integers,
    activation: IntegerActivation | None,
    end: float,
    work: _Work,
) -> Quantized:
    """Quantize one layer with integer inputs ``x`` [n, in] (recorded); ``end`` is the largest sum that is
    represented.
    """
    bits, maximum = work.bits, max_of(work.bits)
    step = np.maximum(np.abs(weight).max(axis=1) / _WEIGHT_MAX, np.abs(bias) / 2.0**29)
    step = np.where(step > 0.0, step, 1.0)
    room = (2.0**31 - 2.0**25 - 2.0 * np.abs(bias / step)) / maximum
    whole, left, step = rounded_to(weight, step, x, _WEIGHT_MAX, room, work.rounding)
    offset = rounded(bias / step + left)
    if int((np.abs(whole).sum(axis=1) * maximum + np.abs(offset)).max()) + 2**24 >= 2**31:
        raise InputError(
            f"node '{layer.name}': a layer of {weight.shape[1]} inputs is too wide for 32-bit sums with int{bits} "
            f"activations; {'use `activations` 8' if bits == 16 else 'export without `int8`'}"
        )
    multiplier, before, after = requantized(end / step)
    # Only these three read the steps of sums that end in integers.
    told = in_float32(step, layer.name) if activation is None else np.ones(len(step), np.float32)
    return Quantized(
        name=layer.name,
        source=layer.source,
        weight=whole,
        bias=offset,
        activation=activation,
        multiplier=multiplier,
        before=before,
        after=after,
        step=told,
    )
