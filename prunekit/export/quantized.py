"""A policy in integers, and its NumPy twin, which has the same bits as the C.

Only integers are computed between the observation and the final floats. A value is int16 or int8 [n]; the size of its
integer step is stored separately. Values beyond the range saturate and never wrap.
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
    """A layer: sums = bias + weight @ x, z = sat((sat(sums >> before) * multiplier) >> after), then the activation of
    z.

    ``weight`` int8 [out, in], ``bias`` int32 [out]; shifts round. A last layer has no activation (None): its floats are
    the sums times ``step``, float32 [out].
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
    """z = sat((a * multipliers[0] + b * multipliers[1]) >> shift), then the activation of z; multipliers of 15 bits."""

    name: str
    sources: tuple[str, str]
    multipliers: tuple[int, int]
    shift: int
    activation: IntegerActivation


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Multiplied:
    """z = sat((sat(a * b >> before) * multiplier) >> after), then the activation of z."""

    name: str
    sources: tuple[str, str]
    before: int
    multiplier: int
    after: int
    activation: IntegerActivation


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Placed:
    """A scaled value: z = sat((x * multiplier + offset) >> shift); one number for all values, or [n].

    ``multiplier`` int16, ``offset`` int32 of at most 2^29.
    """

    source: str
    multiplier: Integers
    offset: Integers
    shift: Integers

    @property
    def is_uniform(self) -> bool:
        """Whether all values have the same scale and no offset."""
        return not self.offset.any() and len(np.unique(np.stack([self.multiplier, self.shift]), axis=1).T) == 1


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Concatenated:
    """z is ``parts`` concatenated, then the activation of z."""

    name: str
    parts: tuple[Placed, ...]
    activation: IntegerActivation


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class NormedIntegers:
    """z as defined in ``export/integer_norms.py``; ``activation`` only converts it to the bits of activations."""

    name: str
    source: str
    numbers: NormNumbers
    activation: IntegerActivation


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PickedIntegers:
    """The values at ``places`` of another stage."""

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
    """x = sat(round((observation - center) * gain)), then the stages, then the tail; ``bits`` are those of activations.

    ``center`` and ``gain`` are float32 [inputs]. x saturates at +-``limit`` [inputs], and NaN gives 0. ``tail`` is a
    float graph whose inputs are the floats of last layers and ``Floated`` stages, named as these stages are in
    ``ends``. ``port`` is the name of x among the stages, and ``graph`` is the original graph.
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
        """The layers with weights, in order."""
        return tuple(stage for stage in self.stages if isinstance(stage, Quantized))

    @property
    def activations(self) -> tuple[IntegerActivation, ...]:
        """The activations of all stages that have one, in order."""
        return tuple(found for stage in self.stages if (found := activation_of(stage)) is not None)

    @property
    def maximum(self) -> int:
        """The largest integer activation."""
        return max_of(self.bits)

    @property
    def table(self) -> Integers:
        """tanh over [0, end): 257 interpolation points with 16 bits, or 256 values at the middle of their steps with
        8.
        """
        return tanh_table(self.bits)

    @property
    def curves(self) -> tuple[CurveTable, ...]:
        """The tables of all other functions, without duplicates."""
        tables = [one.table for one in self.activations if isinstance(one, Curved)]
        return tuple({table.curve: table for table in tables}.values())


def activation_of(stage: IntegerStage) -> IntegerActivation | None:
    """Return the activation of ``stage``, or None."""
    match stage:
        case Quantized() | Added() | Multiplied() | Concatenated() | NormedIntegers():
            return stage.activation
        case PickedIntegers() | Floated():
            return None
        case _:
            assert_never(stage)


def tanh_table(bits: Bits) -> Integers:
    """Return the table of tanh over [0, end) for activations of ``bits``."""
    if bits == 16:
        return rounded(Z_MAX * np.tanh(np.arange(TABLE_SIZE + 1) * (TANH_END[16] / TABLE_SIZE)))
    return rounded(127 * np.tanh((np.arange(TABLE_SIZE) + 0.5) * (TANH_END[8] / TABLE_SIZE)))


def quantized_observations(quantized: QuantizedProgram, observations: NDArray[np.float32]) -> Integers:
    """Return raw observations [n, inputs] as integers."""
    with np.errstate(over="ignore", invalid="ignore"):
        v = (observations.astype(np.float32) - quantized.center) * quantized.gain
        maximum, zero, half = quantized.limit.astype(np.float32), np.float32(0.0), np.float32(0.5)
        v = np.where(v > maximum, maximum, np.where(v < -maximum, -maximum, np.where(np.isnan(v), zero, v)))
        return np.asarray(np.trunc(np.where(v < zero, v - half, v + half)), np.int64)


def run_quantized(quantized: QuantizedProgram, observations: NDArray[np.float32]) -> tuple[NDArray[Any], Float32]:
    """Return (actions, outputs float32 [n, k]) for raw observations [n, ...], with the same bits as the C."""
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
    """Return the integers [n, width] of ``stage``, from those of other stages in ``made``; empty for a stage that makes
    floats.
    """
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
    """Return the sums of ``x`` [n, in], computed in float64: this is exact below 2^53, and libraries multiply it
    fast.
    """
    products = x.astype(np.float64) @ layer.weight.T.astype(np.float64)
    return products.astype(np.int64) + layer.bias
