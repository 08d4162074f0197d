"""A program in integers: int8 weights, int16 or int8 activations, and the oracle that the C is bit-equal to.

Between the observation and the scores there are integers only. Weights have a scale per output unit; an observation's
values have one each, taken from recorded observations with a margin; what lies beyond saturates and never wraps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import InputError
from prunekit.export.c_head import decided
from prunekit.export.rounding import Float64, Integers, refitted, rounded_to
from prunekit.graph.c.literals import Float32
from prunekit.policy.heads import Head
from prunekit.policy.program import Activate, Affine, Normalize, Program

Bits = Literal[8, 16]

# Recorded ranges are widened by it: what a policy does not see in a few episodes it sees in many.
_MARGIN = 1.25
_WEIGHT_MOST = 127
_Z_MOST = 32_767
# An input of 16 bits keeps at least so many steps on either side.
_LEAST_STEPS = 1_023
# tanh is read off a table over [0, end): beyond it the value rounds to that of the end.
_TABLE_END = {16: 8.0, 8: 4.0}
_TABLE_SIZE = 256
# Half of the last step that it shifts out fits in what sums leave of 32 bits.
_MOST_SHIFT = 24
_SMOOTH, _STRAIGHT = ("tanh", "sigmoid"), ("identity", "relu", "leaky_relu")


@final
@dataclass(frozen=True, eq=False)
class Quantized:
    """A dense layer: sums = bias + weight @ x, z = sat((sat(sums >> before) * multiplier) >> after), activation of z.

    ``weight`` int8 [out, in], ``bias`` int32 [out]; shifts round. The last layer has no activation (None): its scores
    are the sums times ``step``, float32 [out]. ``slope`` is that of leaky_relu in 1/32768.
    """

    weight: Integers
    bias: Integers
    activation: str | None
    multiplier: Integers
    before: Integers
    after: Integers
    slope: int
    step: Float32


@final
@dataclass(frozen=True, eq=False)
class QuantizedProgram:
    """x = sat(round((observation - center) * gain)), the layers, the head; ``bits`` are those of activations.

    ``center`` and ``gain`` float32 [inputs]; x saturates at ``limit`` [inputs] of either sign, NaN gives 0.
    """

    bits: Bits
    center: Float32
    gain: Float32
    limit: Integers
    layers: tuple[Quantized, ...]
    head: Head

    @property
    def most(self) -> int:
        """The largest activation."""
        return 127 if self.bits == 8 else _Z_MOST

    @property
    def table(self) -> Integers:
        """tanh over [0, end): 257 values to interpolate between for 16 bits, 256 in the middle of their steps for 8."""
        if self.bits == 16:
            return _rounded(_Z_MOST * np.tanh(np.arange(_TABLE_SIZE + 1) * (_TABLE_END[16] / _TABLE_SIZE)))
        return _rounded(127 * np.tanh((np.arange(_TABLE_SIZE) + 0.5) * (_TABLE_END[8] / _TABLE_SIZE)))


def quantize(program: Program, recorded: NDArray[np.float32], bits: Bits = 16) -> QuantizedProgram:
    """Return ``program`` in integers, fitted to ``recorded`` raw observations [n, inputs], on-policy ones.

    Ranges are those of the observations, with a margin. Weights are rounded one input after the other, and those still
    to come make up for the error as far as the recorded inputs allow (``export/rounding.py``).

    Raises InputError for an activation that has no integer form, and for layers whose sums could overflow 32 bits.
    """
    chain = _chain(program)
    first = program.ops[0]
    normalizer = first if isinstance(first, Normalize) else None
    mean, scale = np.zeros(program.inputs), np.ones(program.inputs)
    if normalizer is not None:
        mean, scale = normalizer.mean.astype(np.float64), normalizer.scale.astype(np.float64)
    seen = (recorded.astype(np.float64) - mean) * scale
    if not np.isfinite(seen).all():
        raise InputError("a recorded observation is not finite, so there is no range to take; export without --int8")
    middle, half = _ranges(seen, normalizer)
    if normalizer is not None:
        seen = np.clip(seen, -normalizer.clip, normalizer.clip)
    most = 127 if bits == 8 else _Z_MOST
    unit = _units(chain[0][0].weight.astype(np.float64), seen.std(axis=0), half, bits)
    limit = np.minimum(_rounded(half / unit), most)
    with np.errstate(over="ignore", divide="ignore"):
        center, gain = (mean + middle / scale).astype(np.float32), (scale / unit).astype(np.float32)
    if not (np.isfinite(center).all() and np.isfinite(gain).all()):
        raise InputError("recorded observations range over too little or too much for float32; export without --int8")
    front = QuantizedProgram(bits, center, gain, limit, (), program.head)
    x, meant = quantized_observations(front, recorded), np.clip(seen, middle - half, middle + half)
    offset = middle
    layers: list[Quantized] = []
    for index, (layer, activation, slope) in enumerate(chain):
        weight, bias = layer.weight.astype(np.float64), layer.bias.astype(np.float64)
        meant = meant @ weight.T + bias
        last = index == len(chain) - 1
        weight, bias = refitted(weight * unit, bias + weight @ offset, x, meant)
        reach = _MARGIN * float(np.abs(meant).max())
        layers.append(_quantized(weight, bias, x, None if last else activation, slope, reach, bits, index))
        x = x @ layers[-1].weight.T + layers[-1].bias
        if not last:
            x = _activate(front, layers[-1], _scaled(layers[-1], x))
            unit = np.full(len(bias), (1.0 if activation in _SMOOTH else max(reach, 1e-6)) / most)
            offset = np.zeros(len(bias))
            meant = _activated(activation, slope, meant)
    return replace(front, layers=tuple(layers))


def quantized_observations(quantized: QuantizedProgram, observations: NDArray[np.float32]) -> Integers:
    """Return raw observations [n, inputs] as the first layer sees them."""
    with np.errstate(over="ignore", invalid="ignore"):
        v = (observations.astype(np.float32) - quantized.center) * quantized.gain
        most, zero, half = quantized.limit.astype(np.float32), np.float32(0.0), np.float32(0.5)
        v = np.where(v > most, most, np.where(v < -most, -most, np.where(np.isnan(v), zero, v)))
        return np.asarray(np.trunc(np.where(v < zero, v - half, v + half)), np.int64)


def run_quantized(quantized: QuantizedProgram, observations: NDArray[np.float32]) -> tuple[NDArray[Any], Float32]:
    """Return (actions, scores float32 [n, outputs]) of raw observations [n, inputs], to the bit that the C gives."""
    x = quantized_observations(quantized, observations)
    scores = np.zeros((len(x), 0), np.float32)
    for layer in quantized.layers:
        sums = x @ layer.weight.T + layer.bias
        if layer.activation is None:
            scores = sums.astype(np.float32) * layer.step
        else:
            x = _activate(quantized, layer, _scaled(layer, sums))
    return decided(quantized.head, scores), scores


def _scaled(layer: Quantized, sums: Integers) -> Integers:
    held = np.clip(_shifted(sums, layer.before), -_Z_MOST, _Z_MOST)
    return np.asarray(np.clip(_shifted(held * layer.multiplier, layer.after), -_Z_MOST, _Z_MOST), np.int64)


def _activate(quantized: QuantizedProgram, layer: Quantized, z: Integers) -> Integers:
    if layer.activation in _SMOOTH:
        size, table = np.abs(z), quantized.table
        index, rest = size >> 7, size & 127
        value = table[index]
        if quantized.bits == 16:
            value = value + (((table[index + 1] - value) * rest + 64) >> 7)
        value = np.where(z < 0, -value, value)
        return np.asarray(value if layer.activation == "tanh" else (quantized.most + value) >> 1, np.int64)
    if layer.activation == "relu":
        z = np.maximum(z, 0)
    elif layer.activation == "leaky_relu":
        z = np.where(z < 0, (z * layer.slope + 16_384) >> 15, z)
    return z if quantized.bits == 16 else np.asarray(np.clip((z + 128) >> 8, -127, 127), np.int64)


def _shifted(values: Integers, by: Integers) -> Integers:
    return np.asarray((values + ((1 << by) >> 1)) >> by, np.int64)


def _rounded(values: Float64) -> Integers:
    return np.floor(values + 0.5).astype(np.int64)


def _ranges(seen: Float64, normalizer: Normalize | None) -> tuple[Float64, Float64]:
    """Return middle and half width of each value's range, in the normalizer's units where there is one."""
    if len(seen) == 0:
        raise InputError("there is no recorded observation to take ranges from; record some with --episodes")
    low, high = seen.min(axis=0), seen.max(axis=0)
    middle, half = (low + high) / 2.0, _MARGIN * (high - low) / 2.0
    half = np.where(half > 0.0, half, 1.0 if normalizer is not None else np.maximum(np.abs(middle), 1.0))
    if normalizer is not None and math.isfinite(normalizer.clip):
        low, high = (np.clip(end, -normalizer.clip, normalizer.clip) for end in (middle - half, middle + half))
        middle, half = (low + high) / 2.0, np.maximum((high - low) / 2.0, 1e-3)
    return middle, half


def _chain(program: Program) -> list[tuple[Affine, str, float]]:
    """Return (layer, what follows it, its parameter); raises InputError for what integers cannot do."""
    chain: list[tuple[Affine, str, float]] = []
    for op in program.ops:
        if isinstance(op, Affine):
            chain.append((op, "identity", 0.0))
        elif isinstance(op, Activate):
            name = op.activation.name
            if name == "leaky_relu" and not abs(op.activation.parameter) <= 1.0:  # nor a slope of NaN
                slope = op.activation.parameter
                raise InputError(
                    f"a leaky_relu of slope {slope:g} has no integer form, only up to 1; export without --int8"
                )
            if name not in (*_SMOOTH, *_STRAIGHT):
                known = ", ".join((*_SMOOTH, *_STRAIGHT))
                raise InputError(f"the activation '{name}' has no integer form ({known} have); export without --int8")
            if not chain or chain[-1][1] != "identity":
                raise InputError("two activations follow each other, which has no integer form; export without --int8")
            chain[-1] = (chain[-1][0], name, op.activation.parameter)
    if chain[-1][1] != "identity":
        raise InputError("an activation follows the last layer, which has no integer form; export without --int8")
    return chain


def _activated(name: str, slope: float, x: Float64) -> Float64:
    if name == "tanh":
        return np.tanh(x)
    if name == "sigmoid":
        return 0.5 + 0.5 * np.tanh(0.5 * x)
    if name == "identity":
        return x
    return np.where(x >= 0.0, x, (slope if name == "leaky_relu" else 0.0) * x)


def _units(weight: Float64, deviation: Float64, half: Float64, bits: Bits) -> Float64:
    """Return the size of one step of each input.

    8 bits are spread over the range. Of 16 there are enough to give inputs of large weights small steps, so that the
    weights of a row, times the steps, are of one size: rounding then costs each its own share, not the largest one's.
    """
    if bits == 8:
        return half / 127.0
    rows = np.maximum((np.abs(weight) * np.maximum(deviation, 1e-9)).max(axis=1), 1e-12)
    columns = np.maximum((np.abs(weight) / rows[:, None]).max(axis=0), 1e-12)
    unit = float((half * columns).max()) / _Z_MOST / columns
    return np.asarray(np.clip(unit, half / _Z_MOST, half / _LEAST_STEPS), np.float64)


def _quantized(
    weight: Float64,
    bias: Float64,
    x: Integers,
    activation: str | None,
    slope: float,
    reach: float,
    bits: Bits,
    at: int,
) -> Quantized:
    """Quantize one layer with integer inputs, ``x`` [n, in] recorded; ``reach`` is the largest sum to be told apart."""
    most = 127 if bits == 8 else _Z_MOST
    step = np.maximum(np.abs(weight).max(axis=1) / _WEIGHT_MOST, np.abs(bias) / 2.0**29)
    step = np.where(step > 0.0, step, 1.0)
    whole, left = rounded_to(weight / step[:, None], x, _WEIGHT_MOST)
    offset = _rounded(bias / step + left)
    if int((np.abs(whole).sum(axis=1) * most + np.abs(offset)).max()) + 2**24 >= 2**31:
        raise InputError(
            f"layer {at} has {weight.shape[1]} inputs, too many for sums of 32 bits with int{bits} activations; "
            f"{'use --activations 8' if bits == 16 else 'export without --int8'}"
        )
    # How many steps of a sum make the end of z, 32767: the shift brings it below 2^15, the multiplier to the end.
    end = {"tanh": _TABLE_END[bits], "sigmoid": 2.0 * _TABLE_END[bits]}.get(activation or "", max(reach, 1e-6))
    counts = end / step
    # A unit whose weights are next to nothing never gets near the end: what it is shifted by more changes nothing.
    before = np.clip(np.ceil(np.log2(counts / _Z_MOST)), 0.0, _MOST_SHIFT).astype(np.int64)
    ratio = _Z_MOST / (counts / 2.0**before)
    after = np.clip(14 - np.floor(np.log2(ratio)), 0, 30).astype(np.int64)
    multiplier = _rounded(np.minimum(ratio * 2.0**after, _Z_MOST))
    return Quantized(
        whole, offset, activation, multiplier, before, after, round(slope * 32_768), step.astype(np.float32)
    )
