"""A policy in integers, and its twin in NumPy: the oracle that the C is bit-equal to.

Between the observation and the floats at its end there are integers only. A value is int16 or int8 [n], what one step
of it is worth is told apart from it; what lies beyond saturates and never wraps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_never, final

import numpy as np
from numpy.typing import NDArray

from prunekit.export.integer_activations import TANH_END, Z_MAX, Curved, IntegerActivation, activated, shifted
from prunekit.export.integer_curves import TABLE_SIZE, CurveTable, max_of
from prunekit.export.integer_norms import NormNumbers, normed
from prunekit.export.integer_tail import tail_actions
from prunekit.export.rounding import Bits, Integers
from prunekit.graph.c.literals import Float32
from prunekit.graph.graph import Graph


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Quantized:
    """A layer: sums = bias + weight @ x, z = sat((sat(sums >> before) * multiplier) >> after), activation of z.

    ``weight`` int8 [out, in], ``bias`` int32 [out]; shifts round. A last layer has no activation (None): its floats
    are the sums times ``step``, float32 [out].
    """

    name: str
    source: str
    weight: Integers
    bias: Integers
    activation: IntegerActivation | None
    multiplier: Integers
    before: Integers
    after: Integers
    step: Float32


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Added:
    """z = sat((a * multipliers[0] + b * multipliers[1]) >> shift), activation of z; multipliers of 15 bits."""

    name: str
    sources: tuple[str, str]
    multipliers: tuple[int, int]
    shift: int
    activation: IntegerActivation


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Multiplied:
    """z = sat((sat(a * b >> before) * multiplier) >> after), activation of z."""

    name: str
    sources: tuple[str, str]
    before: int
    multiplier: int
    after: int
    activation: IntegerActivation


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Placed:
    """A value scaled: z = sat((x * multiplier + offset) >> shift); one number for all, or [n] of each.

    ``multiplier`` int16, ``offset`` int32 of at most 2^29.
    """

    source: str
    multiplier: Integers
    offset: Integers
    shift: Integers

    @property
    def is_uniform(self) -> bool:
        """Whether all are scaled alike, and not shifted."""
        return not self.offset.any() and len(np.unique(np.stack([self.multiplier, self.shift]), axis=1).T) == 1


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Concatenated:
    """z is ``parts`` side by side, activation of z."""

    name: str
    parts: tuple[Placed, ...]
    activation: IntegerActivation


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class NormedIntegers:
    """z as ``export/integer_norms.py`` says; ``activation`` only brings it to the bits of activations."""

    name: str
    source: str
    numbers: NormNumbers
    activation: IntegerActivation


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PickedIntegers:
    """The values at ``places`` of another's."""

    name: str
    source: str
    places: Integers


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Floated:
    """x * step + offset in float32, for the tail; step and offset [n]."""

    name: str
    source: str
    step: Float32
    offset: Float32


IntegerStage = Quantized | Added | Multiplied | Concatenated | NormedIntegers | PickedIntegers | Floated


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class QuantizedProgram:
    """x = sat(round((observation - center) * gain)), the stages, the tail; ``bits`` are those of activations.

    ``center`` and ``gain`` float32 [inputs]; x saturates at ``limit`` [inputs] of either sign, NaN gives 0. ``tail``
    is a graph in floats of what last layers and ``Floated`` stages give, its inputs called as those stages are in
    ``ends``; ``port`` is the name of x among the stages, and ``graph`` is what all this was made of.
    """

    bits: Bits
    port: str
    center: Float32
    gain: Float32
    limit: Integers
    stages: tuple[IntegerStage, ...]
    ends: dict[str, str]
    tail: Graph
    graph: Graph

    @property
    def layers(self) -> tuple[Quantized, ...]:
        """The layers of weights, in order."""
        return tuple(stage for stage in self.stages if isinstance(stage, Quantized))

    @property
    def activations(self) -> tuple[IntegerActivation, ...]:
        """Those of all stages that have one, in order."""
        return tuple(found for stage in self.stages if (found := activation_of(stage)) is not None)

    @property
    def maximum(self) -> int:
        """The largest activation."""
        return max_of(self.bits)

    @property
    def table(self) -> Integers:
        """tanh over [0, end): 257 values to interpolate between for 16 bits, 256 in the middle of their steps for 8."""
        return tanh_table(self.bits)

    @property
    def curves(self) -> tuple[CurveTable, ...]:
        """The tables of all other functions, each once."""
        tables = [one.table for one in self.activations if isinstance(one, Curved)]
        return tuple({table.curve: table for table in tables}.values())


def activation_of(stage: IntegerStage) -> IntegerActivation | None:
    """Return the function behind ``stage``, if it has one."""
    match stage:
        case Quantized() | Added() | Multiplied() | Concatenated() | NormedIntegers():
            return stage.activation
        case PickedIntegers() | Floated():
            return None
        case _:
            assert_never(stage)


def tanh_table(bits: Bits) -> Integers:
    """Return tanh over [0, end) as layers of ``bits`` read it."""
    if bits == 16:
        return rounded(Z_MAX * np.tanh(np.arange(TABLE_SIZE + 1) * (TANH_END[16] / TABLE_SIZE)))
    return rounded(127 * np.tanh((np.arange(TABLE_SIZE) + 0.5) * (TANH_END[8] / TABLE_SIZE)))


def quantized_observations(quantized: QuantizedProgram, observations: NDArray[np.float32]) -> Integers:
    """Return raw observations [n, inputs] as the stages see them."""
    with np.errstate(over="ignore", invalid="ignore"):
        v = (observations.astype(np.float32) - quantized.center) * quantized.gain
        maximum, zero, half = quantized.limit.astype(np.float32), np.float32(0.0), np.float32(0.5)
        v = np.where(v > maximum, maximum, np.where(v < -maximum, -maximum, np.where(np.isnan(v), zero, v)))
        return np.asarray(np.trunc(np.where(v < zero, v - half, v + half)), np.int64)


def run_quantized(quantized: QuantizedProgram, observations: NDArray[np.float32]) -> tuple[NDArray[Any], Float32]:
    """Return (actions, outputs float32 [n, k]) of raw observations [n, ...], to the bit that the C gives."""
    x = quantized_observations(quantized, observations.reshape(len(observations), len(quantized.center)))
    made, floats, tanh = {quantized.port: x}, dict[str, Float32](), quantized.table
    for stage in quantized.stages:
        with np.errstate(over="ignore", invalid="ignore"):  # as C has it
            if isinstance(stage, Quantized) and stage.activation is None:
                floats[stage.name] = _sums(stage, made[stage.source]).astype(np.float32) * stage.step
            elif isinstance(stage, Floated):
                floats[stage.name] = made[stage.source].astype(np.float32) * stage.step + stage.offset
            else:
                made[stage.name] = stage_made(stage, made, tanh, quantized.bits)
    return tail_actions(quantized.tail, {name: floats[stage] for name, stage in quantized.ends.items()})


def stage_made(stage: IntegerStage, made: dict[str, Integers], tanh: Integers, bits: Bits) -> Integers:
    """Return the integers [n, width] that ``stage`` makes of others, ``made``; one that gives floats makes none."""
    match stage:
        case Quantized():
            z = shifted(shifted(_sums(stage, made[stage.source]), stage.before) * stage.multiplier, stage.after)
        case Added():
            a, b = (made[source] * by for source, by in zip(stage.sources, stage.multipliers, strict=True))
            z = shifted(a + b, stage.shift)
        case Multiplied():
            a, b = (made[source] for source in stage.sources)
            z = shifted(shifted(a * b, stage.before) * stage.multiplier, stage.after)
        case Concatenated():
            placed = (shifted(made[one.source] * one.multiplier + one.offset, one.shift) for one in stage.parts)
            z = np.concatenate(list(placed), axis=1)
        case NormedIntegers():
            z = normed(stage.numbers, made[stage.source], bits)
        case PickedIntegers():
            return made[stage.source][:, stage.places]
        case Floated():
            raise AssertionError(f"{stage.name} gives floats")
        case _:
            assert_never(stage)
    activation = activation_of(stage)
    assert activation is not None
    return activated(activation, z, tanh, bits)


def rounded(values: NDArray[np.float64]) -> Integers:
    """Return ``values`` as integers, halves up."""
    return np.floor(values + 0.5).astype(np.int64)


def _sums(layer: Quantized, x: Integers) -> Integers:
    """Return the sums of ``x`` [n, in]: in float64, which fast libraries multiply, and which holds all below 2^53."""
    products = x.astype(np.float64) @ layer.weight.T.astype(np.float64)
    return products.astype(np.int64) + layer.bias
