"""Functions of one number as portable C, and their bit-exact twins in NumPy float32.

C's own ``tanhf`` and ``expf`` differ between libraries, so that the same policy would act differently on two cores.
Here everything is made of additions, multiplications, divisions and comparisons of float32, which IEEE 754 defines to
the bit, in an order that C and NumPy share. ``benchmarks/c_math.py`` fits the coefficients and measures the errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from prunekit.graph.c.literals import LARGEST, Float32, c_float

ZERO, HALF, ONE, TWO = (np.float32(value) for value in (0.0, 0.5, 1.0, 2.0))


def polynomial(coefficients: tuple[float, ...], t: Float32) -> Float32:
    """Return the value of the polynomial at ``t`` by Horner's rule, in float32."""
    value = np.full_like(t, np.float32(coefficients[-1]))
    for coefficient in reversed(coefficients[:-1]):
        value = value * t + np.float32(coefficient)
    return value


def horner(coefficients: tuple[float, ...]) -> str:
    """Return the C expression of ``polynomial`` in the variable ``t``."""
    text = c_float(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        text = f"({text} * t + {c_float(coefficient)})"
    return text


@final
@dataclass(frozen=True, kw_only=True)
class Rational:
    """x * P(x^2) / Q(x^2) for |x| up to ``end``; beyond it 1 or -1, and -1 for NaN.

    Coefficients are float32, lowest power first.
    """

    numerator: tuple[float, ...]
    denominator: tuple[float, ...]
    end: float

    def __call__(self, x: Float32) -> Float32:
        """Return the value at ``x`` (any shape), with the same bits as the C."""
        with np.errstate(over="ignore", invalid="ignore"):
            square = x * x
            value = x * polynomial(self.numerator, square) / polynomial(self.denominator, square)
            inside = square < np.float32(self.end * self.end)
        return np.where(inside, value, np.where(x > ZERO, ONE, -ONE))

    def to_c(self, name: str) -> str:
        """Return the C function ``name``, of one float."""
        return (
            f"static float {name}(float x)\n{{\n    const float t = x * x;\n"
            f"    const float y = x * {horner(self.numerator)}\n        / {horner(self.denominator)};\n"
            f"    return t < {c_float(self.end * self.end)} ? y : (x > 0.0f ? 1.0f : -1.0f);\n}}\n"
        )


TANH = Rational(
    numerator=(
        float.fromhex("0x1.ffffea0000000p-1"),
        float.fromhex("0x1.0878d00000000p-3"),
        float.fromhex("0x1.81338a0000000p-9"),
        float.fromhex("0x1.7b83f00000000p-17"),
    ),
    denominator=(
        float.fromhex("0x1.0000000000000p+0"),
        float.fromhex("0x1.d991200000000p-2"),
        float.fromhex("0x1.85592e0000000p-6"),
        float.fromhex("0x1.f1176c0000000p-13"),
        float.fromhex("0x1.0443a60000000p-22"),
    ),
    end=8.0,
)
ERF = Rational(
    numerator=(
        float.fromhex("0x1.20dd460000000p+0"),
        float.fromhex("0x1.7566660000000p-2"),
        float.fromhex("0x1.3239ae0000000p-4"),
        float.fromhex("0x1.645b560000000p-7"),
        float.fromhex("0x1.93e1be0000000p-12"),
    ),
    denominator=(
        float.fromhex("0x1.0000000000000p+0"),
        float.fromhex("0x1.501c080000000p-1"),
        float.fromhex("0x1.7b43760000000p-3"),
        float.fromhex("0x1.e0e8b20000000p-6"),
        float.fromhex("0x1.6adf0a0000000p-9"),
        float.fromhex("0x1.6fb6940000000p-16"),
    ),
    end=4.0,
)


def function(body: str, *needed: Callable[[str], str]) -> Callable[..., str]:
    """Return a function ``(prefix, called, *numbers) -> C`` that writes ``body`` after the functions in ``needed``.

    In ``body``, ``{p}`` is the prefix of all names, ``{a}``, ``{b}``, ... are the numbers, and ``x`` is the argument.
    """

    def to_c(prefix: str, called: str, *numbers: float) -> str:
        text = body.replace("{p}", prefix)
        for letter, number in zip("abcd", numbers, strict=False):
            text = text.replace(f"{{{letter}}}", c_float(number))
        before = "".join(need(prefix) + "\n" for need in needed)
        return f"{before}static float {prefix}_{called}(float x)\n{{\n{text}}}\n"

    return to_c


def tanh_c(prefix: str) -> str:
    """Return ``<prefix>_tanh``, whose twin is ``TANH``."""
    return TANH.to_c(f"{prefix}_tanh")


def erf_c(prefix: str) -> str:
    """Return ``<prefix>_erf``, whose twin is ``ERF``."""
    return ERF.to_c(f"{prefix}_erf")


_SIGMOID = function("    return 0.5f + 0.5f * {p}_tanh(0.5f * x);\n", tanh_c)


def sigmoid_c(prefix: str) -> str:
    """Return ``<prefix>_sigmoid``, whose twin is ``sigmoid``."""
    return _SIGMOID(prefix, "sigmoid")


def sigmoid(x: Float32) -> Float32:
    """Return 1 / (1 + exp(-x)), with the same bits as the C."""
    return HALF + HALF * TANH(HALF * x)


_DECAY = function(
    "    const float t = {p}_tanh(0.5f * x);\n    return (1.0f + t) / (1.0f - t);\n", tanh_c
)  # fmt: skip


def decay_c(prefix: str) -> str:
    """Return ``<prefix>_decay``, whose twin is ``decay``."""
    return _DECAY(prefix, "decay")


def decay(x: Float32) -> Float32:
    """Return exp(x) for x <= 0, with the absolute error of tanh; 0 for NaN."""
    t = TANH(HALF * x)
    with np.errstate(divide="ignore"):
        return (ONE + t) / (ONE - t)


_FAR, _NEAR = 2.0**16, 4.0
_GUESS = (0.6865, 0.343)
"""sqrt(x) is within 3% of a + b x over [1, 4]; each of three Newton steps squares that and halves it."""
_ROOT = function(
    "    float scale = 1.0f, y;\n"
    f"    if (!(x > 0.0f && x <= {c_float(LARGEST)}))\n        return x;\n"
    f"    for (; x >= {c_float(_FAR)}; x *= {c_float(1 / _FAR)})\n        scale *= {c_float(_FAR**0.5)};\n"
    f"    for (; x < {c_float(1 / _FAR)}; x *= {c_float(_FAR)})\n        scale *= {c_float(_FAR**-0.5)};\n"
    f"    for (; x >= {c_float(_NEAR)}; x *= {c_float(1 / _NEAR)})\n        scale *= {c_float(_NEAR**0.5)};\n"
    f"    for (; x < 1.0f; x *= {c_float(_NEAR)})\n        scale *= {c_float(_NEAR**-0.5)};\n"
    f"    y = {c_float(_GUESS[0])} + {c_float(_GUESS[1])} * x;\n"
    "    y = 0.5f * (y + x / y);\n    y = 0.5f * (y + x / y);\n    y = 0.5f * (y + x / y);\n"
    "    return y * scale;\n"
)


def root_c(prefix: str) -> str:
    """Return ``<prefix>_root``, whose twin is ``root``."""
    return _ROOT(prefix, "root")


def root(x: NDArray[np.floating[Any]]) -> Float32:
    """Return the square root, within one unit in the last place. Values that are not positive and finite are returned
    as they are.

    Powers of four are factored out first, which is exact.
    """
    proper = (x > ZERO) & (x <= np.float32(LARGEST))
    size, exponent = np.frexp(np.where(proper, x, ONE).astype(np.float32))
    odd = exponent % 2
    reduced = np.ldexp(size, 2 - odd).astype(np.float32)  # in [1, 4)
    y = np.float32(_GUESS[0]) + np.float32(_GUESS[1]) * reduced
    for _ in range(3):
        y = HALF * (y + reduced / y)
    return np.where(proper, np.ldexp(y, (exponent - 2 + odd) // 2), x).astype(np.float32)


_LOG_2, _LOG_2_REST = 355.0 / 512.0, -2.12194440e-4
"""log(2) in two parts, of which the first has so few bits that its multiples up to 256 are exact."""
_EXP = tuple(1.0 / math.factorial(power) for power in range(8))
_LAST, _FIRST = 89.0, -87.0
_EXP_C = function(
    f"    const float v = x > {c_float(_LAST)} ? {c_float(_LAST)} : (x >= {c_float(_FIRST)} ? x : {c_float(_FIRST)});\n"
    f"    int k = (int)(v * {c_float(1.0 / math.log(2.0))} + (v < 0.0f ? -0.5f : 0.5f));\n"
    f"    const float t = v - (float)k * {c_float(_LOG_2)} - (float)k * {c_float(_LOG_2_REST)};\n"
    f"    float y = {horner(_EXP)};\n"
    "    for (; k > 0; --k)\n        y *= 2.0f;\n    for (; k < 0; ++k)\n        y *= 0.5f;\n"
    f"    return x >= {c_float(_FIRST)} ? y : 0.0f;\n"
)


def exp_c(prefix: str) -> str:
    """Return ``<prefix>_exp``, whose twin is ``exp``."""
    return _EXP_C(prefix, "exp")


def exp(x: Float32) -> Float32:
    """Return exp(x), within two units in the last place; 0 for NaN and below -87, where exp(x) is less than 1.7e-38."""
    first, last = np.float32(_FIRST), np.float32(_LAST)
    v = np.where(x > last, last, np.where(x >= first, x, first))
    k = np.trunc(v * np.float32(1.0 / math.log(2.0)) + np.where(v < ZERO, -HALF, HALF)).astype(np.float32)
    t = np.asarray(v - k * np.float32(_LOG_2) - k * np.float32(_LOG_2_REST), np.float32)
    with np.errstate(over="ignore"):
        y = np.ldexp(polynomial(_EXP, t), k.astype(np.int32))
    return np.where(x >= first, y, ZERO).astype(np.float32)


_ROOT_HALF = float(np.float32(0.5**0.5))
_ATANH = tuple(2.0 / power for power in range(1, 12, 2))
"""2 atanh(z) is z times this of z^2; as z is at most 0.172, what is left out is below 1e-10."""
_LOG_C = function(
    "    float k = 0.0f, z, t;\n"
    "    if (!(x > 0.0f))\n        return x == 0.0f ? -1.0f / (x * x) : (x - x) / (x - x);\n"
    f"    if (x > {c_float(LARGEST)})\n        return x;\n"
    f"    for (; x >= {c_float(2.0 * _ROOT_HALF)}; x *= 0.5f)\n        k += 1.0f;\n"
    f"    for (; x < {c_float(_ROOT_HALF)}; x *= 2.0f)\n        k -= 1.0f;\n"
    "    z = (x - 1.0f) / (x + 1.0f);\n    t = z * z;\n"
    f"    return k * {c_float(_LOG_2)} + (z * {horner(_ATANH)} + k * {c_float(_LOG_2_REST)});\n"
)


def log_c(prefix: str) -> str:
    """Return ``<prefix>_log``, whose twin is ``log``."""
    return _LOG_C(prefix, "log")


def log(x: Float32) -> Float32:
    """Return the natural logarithm; -infinity for 0, NaN for negative numbers."""
    proper = (x > ZERO) & (x <= np.float32(LARGEST))
    size, exponent = np.frexp(np.where(proper, x, ONE).astype(np.float32))
    low = size < np.float32(_ROOT_HALF)
    reduced, k = np.where(low, TWO * size, size), (exponent - low).astype(np.float32)
    z = np.asarray((reduced - ONE) / (reduced + ONE), np.float32)
    y = k * np.float32(_LOG_2) + (z * polynomial(_ATANH, z * z) + k * np.float32(_LOG_2_REST))
    with np.errstate(invalid="ignore", divide="ignore"):
        odd = np.where(x == ZERO, np.float32(-np.inf), np.where(x > ZERO, x, np.float32(np.nan)))
    return np.where(proper, y, odd).astype(np.float32)


_PI_PARTS = (201.0 / 64.0, 9.67502593994140625e-4, 1.509957990978376e-7)
_TURNS = 2.0**16
_SIN = tuple((-1.0) ** power / math.factorial(2 * power + 1) for power in range(6))
_COS = tuple((-1.0) ** power / math.factorial(2 * power) for power in range(7))


def _wave(series: str) -> Callable[..., str]:
    parts = " - ".join(f"(float)k * {c_float(part)}" for part in _PI_PARTS)
    return function(
        f"    const float v = x > {c_float(-_TURNS)} && x < {c_float(_TURNS)} ? x : 0.0f;\n"
        f"    const int32_t k = (int32_t)(v * {c_float(1.0 / math.pi)} + (v < 0.0f ? -0.5f : 0.5f));\n"
        f"    const float r = v - {parts};\n    const float t = r * r;\n    const float y = {series};\n"
        "    return (k & 1) != 0 ? -y : y;\n"
    )


_SIN_C, _COS_C = _wave(f"r * {horner(_SIN)}"), _wave(horner(_COS))


def sin_c(prefix: str) -> str:
    """Return ``<prefix>_sin``, whose twin is ``sin``."""
    return _SIN_C(prefix, "sin")


def cos_c(prefix: str) -> str:
    """Return ``<prefix>_cos``, whose twin is ``cos``."""
    return _COS_C(prefix, "cos")


def sin(x: Float32) -> Float32:
    """Return sin(x); sin(0) for |x| >= 65,536, where the spacing of floats is a large part of a turn."""
    r, odd = _half_turns(x)
    y = r * polynomial(_SIN, r * r)
    return np.where(odd, -y, y)


def cos(x: Float32) -> Float32:
    """Return cos(x); cos(0) for |x| >= 65,536."""
    r, odd = _half_turns(x)
    y = polynomial(_COS, r * r)
    return np.where(odd, -y, y)


def _half_turns(x: Float32) -> tuple[Float32, NDArray[np.bool_]]:
    """Return x minus the nearest multiple of pi, and whether that multiple is odd."""
    v = np.where((x > np.float32(-_TURNS)) & (x < np.float32(_TURNS)), x, ZERO)
    k = np.trunc(v * np.float32(1.0 / math.pi) + np.where(v < ZERO, -HALF, HALF)).astype(np.float32)
    first, second, third = (np.float32(part) for part in _PI_PARTS)
    return (v - k * first - k * second - k * third).astype(np.float32), k.astype(np.int32) % 2 != 0


def sum_in_order(x: Float32) -> Float32:
    """Return the sum over the last axis (kept, with size 1), added in the order of a C loop from 0 on."""
    total = np.zeros((*x.shape[:-1], 1), np.float32)
    for index in range(x.shape[-1]):
        total = total + x[..., index : index + 1]
    return total
