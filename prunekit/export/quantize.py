"""A policy in integers: int8 weights, int16 or int8 activations, and the oracle that the C is bit-equal to.

Between the observation and the last layer's sums there are integers only. Weights have a scale per output unit; an
observation's values have one each, taken from recorded observations with a margin; what lies beyond saturates and
never wraps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, assert_never, final

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import InputError
from prunekit.export.integer_activations import (
    MARGIN,
    TANH_END,
    Z_MAX,
    Curved,
    IntegerActivation,
    activated,
    fitted,
    shifted,
    unit_of,
    z_end,
)
from prunekit.export.integer_chain import IntegerChain, Layer, integer_chain
from prunekit.export.integer_curves import TABLE_SIZE, CurveTable, end_of, max_of, table_of
from prunekit.export.integer_tail import tail_actions
from prunekit.export.rounding import Bits as Bits
from prunekit.export.rounding import Float64, Integers, refitted, rounded_to
from prunekit.graph.c.literals import Float32
from prunekit.graph.graph import Graph
from prunekit.graph.integers import Bent, Curve, Pointwise, Quotient, Squashed

_WEIGHT_MAX = 127
# An input of 16 bits keeps at least so many steps on either side.
_MIN_STEPS = 1_023
# Half of the last step that it shifts out fits in what sums leave of 32 bits.
_MAX_SHIFT = 24
# A table serves ranges down to so many times smaller than its own.
_FINEST = 64.0


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Quantized:
    """A layer: sums = bias + weight @ x, z = sat((sat(sums >> before) * multiplier) >> after), activation of z.

    ``weight`` int8 [out, in], ``bias`` int32 [out]; shifts round. The last layer has no activation (None): its floats
    are the sums times ``step``, float32 [out].
    """

    weight: Integers
    bias: Integers
    activation: IntegerActivation | None
    multiplier: Integers
    before: Integers
    after: Integers
    step: Float32


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class QuantizedProgram:
    """x = sat(round((observation - center) * gain)), the layers, the tail; ``bits`` are those of activations.

    ``center`` and ``gain`` float32 [inputs]; x saturates at ``limit`` [inputs] of either sign, NaN gives 0. ``tail``
    is a graph in floats of what the last layer gives; ``graph`` is what all this was made of.
    """

    bits: Bits
    center: Float32
    gain: Float32
    limit: Integers
    layers: tuple[Quantized, ...]
    tail: Graph
    graph: Graph

    @property
    def maximum(self) -> int:
        """The largest activation."""
        return max_of(self.bits)

    @property
    def table(self) -> Integers:
        """tanh over [0, end): 257 values to interpolate between for 16 bits, 256 in the middle of their steps for 8."""
        if self.bits == 16:
            return _rounded(Z_MAX * np.tanh(np.arange(TABLE_SIZE + 1) * (TANH_END[16] / TABLE_SIZE)))
        return _rounded(127 * np.tanh((np.arange(TABLE_SIZE) + 0.5) * (TANH_END[8] / TABLE_SIZE)))

    @property
    def curves(self) -> tuple[CurveTable, ...]:
        """The tables of all other functions, each once."""
        tables = [layer.activation.table for layer in self.layers if isinstance(layer.activation, Curved)]
        return tuple({table.curve: table for table in tables}.values())


def quantize(graph: Graph, recorded: NDArray[np.float32], bits: Bits = 16) -> QuantizedProgram:
    """Return ``graph`` in integers, fitted to ``recorded`` raw observations [n, ...], on-policy ones.

    Ranges are those of the observations, with a margin. Weights are rounded one input after the other, and those still
    to come make up for the error as far as the recorded inputs allow (``export/rounding.py``).

    Raises InputError, naming node and op, for what has no integer form, and for layers whose sums could overflow 32
    bits.
    """
    chain = integer_chain(graph)
    recorded = recorded.reshape(len(recorded), chain.inputs)
    seen = (recorded.astype(np.float64) - chain.mean) * chain.scale
    if not np.isfinite(seen).all():
        raise InputError("a recorded observation is not finite, so there is no range to take; export without --int8")
    middle, half = _ranges(seen, chain)
    if chain.normalized:
        seen = np.clip(seen, chain.low, chain.high)
    unit = _units(chain.layers[0].weight, seen.std(axis=0), half, bits)
    limit = np.minimum(_rounded(half / unit), max_of(bits))
    with np.errstate(over="ignore", divide="ignore"):
        center, gain = (chain.mean + middle / chain.scale).astype(np.float32), (chain.scale / unit).astype(np.float32)
    if not (np.isfinite(center).all() and np.isfinite(gain).all()):
        raise InputError("recorded observations range over too little or too much for float32; export without --int8")
    front = QuantizedProgram(bits=bits, center=center, gain=gain, limit=limit, layers=(), tail=chain.tail, graph=graph)
    x, meant = quantized_observations(front, recorded), np.clip(seen, middle - half, middle + half)
    offset = middle
    wanted, ends, tables = _surveyed(chain.layers, meant, bits)
    layers: list[Quantized] = []
    for index, (layer, sums, end) in enumerate(zip(chain.layers, wanted, ends, strict=True)):
        last = index == len(chain.layers) - 1
        weight, bias = refitted(layer.weight * unit, layer.bias + layer.weight @ offset, x, sums)
        step = _then(layer)
        activation = None if last else fitted(step, end, tables.get(step) if isinstance(step, Curve) else None)
        layers.append(_quantized(weight, bias, x, activation, end, bits, layer.name))
        if activation is not None:
            x = activated(activation, _scaled(layers[-1], _sums(layers[-1], x)), front.table, bits)
            unit = np.full(len(bias), unit_of(step, end, bits))
            offset = np.zeros(len(bias))
    return replace(front, layers=tuple(layers))


def quantized_observations(quantized: QuantizedProgram, observations: NDArray[np.float32]) -> Integers:
    """Return raw observations [n, inputs] as the first layer sees them."""
    with np.errstate(over="ignore", invalid="ignore"):
        v = (observations.astype(np.float32) - quantized.center) * quantized.gain
        maximum, zero, half = quantized.limit.astype(np.float32), np.float32(0.0), np.float32(0.5)
        v = np.where(v > maximum, maximum, np.where(v < -maximum, -maximum, np.where(np.isnan(v), zero, v)))
        return np.asarray(np.trunc(np.where(v < zero, v - half, v + half)), np.int64)


def run_quantized(quantized: QuantizedProgram, observations: NDArray[np.float32]) -> tuple[NDArray[Any], Float32]:
    """Return (actions, outputs float32 [n, k]) of raw observations [n, ...], to the bit that the C gives."""
    x = quantized_observations(quantized, observations.reshape(len(observations), len(quantized.center)))
    outputs = np.zeros((len(x), 0), np.float32)
    for layer in quantized.layers:
        sums = _sums(layer, x)
        if layer.activation is None:
            outputs = sums.astype(np.float32) * layer.step
        else:
            x = activated(layer.activation, _scaled(layer, sums), quantized.table, quantized.bits)
    return tail_actions(quantized.tail, outputs)


def _surveyed(
    layers: Sequence[Layer], meant: Float64, bits: Bits
) -> tuple[list[Float64], list[float], dict[Curve, CurveTable]]:
    """Return each layer's sums of recorded inputs, the value that its largest z stands for, and the curves' tables."""
    sums: list[Float64] = []
    ends: list[float] = []
    for layer in layers:
        sums.append(meant @ layer.weight.T + layer.bias)
        meant = _made(_then(layer), sums[-1])
        ends.append(z_end(_then(layer), sums[-1], meant, bits))
    tables = {}
    for curve in dict.fromkeys(layer.then for layer in layers if isinstance(layer.then, Curve)):
        widest = max(end for layer, end in zip(layers, ends, strict=True) if layer.then == curve)
        tables[curve] = table_of(curve, min(end_of(curve, bits), widest), bits)
    for index, layer in enumerate(layers):
        if isinstance(layer.then, Curve):
            ends[index] = max(ends[index], tables[layer.then].end / _FINEST)
    return sums, ends, tables


def _then(layer: Layer) -> Pointwise:
    return Bent() if layer.then is None else layer.then


def _made(step: Pointwise, x: Float64) -> Float64:
    match step:
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


def _sums(layer: Quantized, x: Integers) -> Integers:
    """Return the sums of ``x`` [n, in]: in float64, which fast libraries multiply, and which holds all below 2^53."""
    products = x.astype(np.float64) @ layer.weight.T.astype(np.float64)
    return products.astype(np.int64) + layer.bias


def _scaled(layer: Quantized, sums: Integers) -> Integers:
    return shifted(shifted(sums, layer.before) * layer.multiplier, layer.after)


def _rounded(values: Float64) -> Integers:
    return np.floor(values + 0.5).astype(np.int64)


def _ranges(seen: Float64, chain: IntegerChain) -> tuple[Float64, Float64]:
    """Return middle and half width of each value's range, in the normalizer's units where there is one."""
    if len(seen) == 0:
        raise InputError("there is no recorded observation to take ranges from; record some with --episodes")
    low, high = seen.min(axis=0), seen.max(axis=0)
    middle, half = (low + high) / 2.0, MARGIN * (high - low) / 2.0
    half = np.where(half > 0.0, half, 1.0 if chain.normalized else np.maximum(np.abs(middle), 1.0))
    if chain.normalized and (np.isfinite(chain.low) or np.isfinite(chain.high)):
        low, high = (np.clip(end, chain.low, chain.high) for end in (middle - half, middle + half))
        middle, half = (low + high) / 2.0, np.maximum((high - low) / 2.0, 1e-3)
    return middle, half


def _units(weight: Float64, deviation: Float64, half: Float64, bits: Bits) -> Float64:
    """Return the size of one step of each input.

    8 bits are spread over the range. Of 16 there are enough to give inputs of large weights small steps, so that the
    weights of a row, times the steps, are of one size: rounding then costs each its own share, not the largest one's.
    """
    if bits == 8:
        return half / 127.0
    rows = np.maximum((np.abs(weight) * np.maximum(deviation, 1e-9)).max(axis=1), 1e-12)
    columns = np.maximum((np.abs(weight) / rows[:, None]).max(axis=0), 1e-12)
    unit = float((half * columns).max()) / Z_MAX / columns
    return np.asarray(np.clip(unit, half / Z_MAX, half / _MIN_STEPS), np.float64)


def _quantized(
    weight: Float64,
    bias: Float64,
    x: Integers,
    activation: IntegerActivation | None,
    end: float,
    bits: Bits,
    name: str,
) -> Quantized:
    """Quantize one layer with integer inputs, ``x`` [n, in] recorded; ``end`` is the largest sum to be told apart."""
    maximum = max_of(bits)
    step = np.maximum(np.abs(weight).max(axis=1) / _WEIGHT_MAX, np.abs(bias) / 2.0**29)
    step = np.where(step > 0.0, step, 1.0)
    whole, left = rounded_to(weight / step[:, None], x, _WEIGHT_MAX)
    offset = _rounded(bias / step + left)
    if int((np.abs(whole).sum(axis=1) * maximum + np.abs(offset)).max()) + 2**24 >= 2**31:
        raise InputError(
            f"node '{name}': a layer of {weight.shape[1]} inputs, too many for sums of 32 bits with int{bits} "
            f"activations; {'use --activations 8' if bits == 16 else 'export without --int8'}"
        )
    # How many steps of a sum make the end of z, 32767: the shift brings it below 2^15, the multiplier to the end.
    counts = end / step
    # A unit whose weights are next to nothing never gets near the end: what it is shifted by more changes nothing.
    before = np.clip(np.ceil(np.log2(counts / Z_MAX)), 0.0, _MAX_SHIFT).astype(np.int64)
    ratio = Z_MAX / (counts / 2.0**before)
    after = np.clip(14 - np.floor(np.log2(ratio)), 0, 30).astype(np.int64)
    multiplier = _rounded(np.minimum(ratio * 2.0**after, Z_MAX))
    return Quantized(
        weight=whole,
        bias=offset,
        activation=activation,
        multiplier=multiplier,
        before=before,
        after=after,
        step=step.astype(np.float32),
    )
