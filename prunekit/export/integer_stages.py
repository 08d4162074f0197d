"""The stages between observation and floats, and their computation in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never, final

import numpy as np

from prunekit.export.rounding import Float64
from prunekit.graph.graph import Graph
from prunekit.graph.integers import Bent, Curve, Mixing, Normed, Pointwise, Product, Quotient, Scaled, Squashed, Sum
from prunekit.graph.op import Bools


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Value:
    """The output of stage ``stage``, then ``scaled`` in order; layers that read it absorb these scales."""

    stage: str
    scaled: tuple[Scaled, ...] = ()

    def of(self, made: Float64) -> Float64:
        """Return the value [n, width] from the stage's output ``made``."""
        for step in self.scaled:
            made = (made - step.mean) * step.scale + step.shift
        return np.asarray(made, np.float64)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """weight @ x + bias, weight [out, in] and bias [out] float64, and then the function ``then``; None if its sums
    become floats.
    """

    name: str
    source: str
    weight: Float64
    bias: Float64
    then: Pointwise | None = None


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Mixed:
    """The combination ``step`` of several values; with a single one, only ``then`` is applied."""

    name: str
    step: Mixing
    sources: tuple[Value, ...]
    then: Pointwise | None = None


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Norm:
    """The norm ``step`` of a value; ``called`` names node and op in messages."""

    name: str
    called: str
    step: Normed
    source: Value


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Pick:
    """The values ``selected`` of a stage's output."""

    name: str
    source: str
    selected: Bools


Stage = Layer | Mixed | Norm | Pick


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class IntegerPlan:
    """clip((x - mean) * scale, low, high) if ``normalized``, then ``stages``, then ``tail``.

    ``port`` is the input's name and ``inputs`` its width. The tail is a float graph that reads ``ends``: the values of
    stages, keyed by the names of its inputs. ``sums`` are those ends that are a layer's sums.
    """

    port: str
    inputs: int
    normalized: bool
    mean: Float64
    scale: Float64
    low: float
    high: float
    stages: tuple[Stage, ...]
    ends: Mapping[str, Value]
    sums: frozenset[str]
    tail: Graph


def surveyed(plan: IntegerPlan, seen: Float64) -> tuple[dict[str, Float64], dict[str, Float64]]:
    """Return, per stage, its values (before its function, after it) for inputs ``seen`` [n, inputs]."""
    before: dict[str, Float64] = {}
    made = {plan.port: seen}
    for stage in plan.stages:
        match stage:
            case Layer():
                before[stage.name] = made[stage.source] @ stage.weight.T + stage.bias
                made[stage.name] = function_of(stage.then, before[stage.name])
            case Mixed():
                before[stage.name] = _mixed(stage.step, [value.of(made[value.stage]) for value in stage.sources])
                made[stage.name] = function_of(stage.then, before[stage.name])
            case Norm():
                before[stage.name] = made[stage.name] = _normed(stage.step, stage.source.of(made[stage.source.stage]))
            case Pick():
                before[stage.name] = made[stage.name] = made[stage.source][:, stage.selected]
            case _:
                assert_never(stage)
    return before, made


def function_of(step: Pointwise | None, x: Float64) -> Float64:
    """Return ``step`` of ``x``; None is the identity."""
    match step:
        case None:
            return x
        case Squashed():
            return np.tanh(x) if step.kind == "tanh" else 0.5 + 0.5 * np.tanh(0.5 * x)
        case Quotient():
            return x / (1.0 + np.abs(x))
        case Bent():
            return np.clip(np.where(x >= 0.0, x, np.asarray(step.slope) * x), step.low, step.high)
        case Curve():
            return np.asarray(step.function(x), np.float64)
        case _:
            assert_never(step)


def _mixed(step: Mixing, values: Sequence[Float64]) -> Float64:
    if isinstance(step, Sum):
        return values[0] + values[1]
    return values[0] * values[1] if isinstance(step, Product) else np.concatenate(values, axis=1)


def _normed(step: Normed, x: Float64) -> Float64:
    mean = x.sum(axis=1, keepdims=True) / step.count if step.centred else np.zeros((len(x), 1))
    squares = ((x - mean) ** 2).sum(axis=1, keepdims=True) + (step.count - x.shape[1]) * mean**2
    return np.asarray((x - mean) / np.sqrt(squares / step.count + step.epsilon), np.float64)
