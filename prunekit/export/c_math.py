"""Activations as portable C, and their bit-exact twins in NumPy float32.

C's own ``tanhf`` and ``expf`` differ between libraries, so that the same policy would act differently on two cores.
Here everything is made of additions, multiplications, divisions and comparisons of float32, which IEEE 754 defines to
the bit, in an order that C and NumPy share. ``benchmarks/c_math.py`` fits the coefficients and measures the errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from prunekit.activations import Activation
from prunekit.errors import InputError

Float32 = NDArray[np.float32]
LARGEST = float(np.finfo(np.float32).max)
"""The largest finite float32."""


@final
@dataclass(frozen=True)
class Rational:
    """x * P(x^2) / Q(x^2) up to ``end`` of either sign, 1 and -1 beyond it, -1 of NaN.

    Coefficients are float32, lowest first.
    """

    numerator: tuple[float, ...]
    denominator: tuple[float, ...]
    end: float

    def __call__(self, x: Float32) -> Float32:
        """Return the value at ``x`` (any shape), to the bit that the C gives."""
        with np.errstate(over="ignore", invalid="ignore"):
            square = x * x
            value = x * _polynomial(self.numerator, square) / _polynomial(self.denominator, square)
            inside = square < np.float32(self.end * self.end)
        one = np.float32(1.0)
        return np.where(inside, value, np.where(x > np.float32(0.0), one, -one))

    def to_c(self, name: str) -> str:
        """Return a C function ``name`` of one float."""
        return (
            f"static float {name}(float x)\n{{\n    const float t = x * x;\n"
            f"    const float y = x * {_horner(self.numerator)}\n        / {_horner(self.denominator)};\n"
            f"    return t < {c_float(self.end * self.end)} ? y : (x > 0.0f ? 1.0f : -1.0f);\n}}\n"
        )


TANH = Rational(
    (
        float.fromhex("0x1.ffffea0000000p-1"),
        float.fromhex("0x1.0878d00000000p-3"),
        float.fromhex("0x1.81338a0000000p-9"),
        float.fromhex("0x1.7b83f00000000p-17"),
    ),
    (
        float.fromhex("0x1.0000000000000p+0"),
        float.fromhex("0x1.d991200000000p-2"),
        float.fromhex("0x1.85592e0000000p-6"),
        float.fromhex("0x1.f1176c0000000p-13"),
        float.fromhex("0x1.0443a60000000p-22"),
    ),
    8.0,
)
ERF = Rational(
    (
        float.fromhex("0x1.20dd460000000p+0"),
        float.fromhex("0x1.7566660000000p-2"),
        float.fromhex("0x1.3239ae0000000p-4"),
        float.fromhex("0x1.645b560000000p-7"),
        float.fromhex("0x1.93e1be0000000p-12"),
    ),
    (
        float.fromhex("0x1.0000000000000p+0"),
        float.fromhex("0x1.501c080000000p-1"),
        float.fromhex("0x1.7b43760000000p-3"),
        float.fromhex("0x1.e0e8b20000000p-6"),
        float.fromhex("0x1.6adf0a0000000p-9"),
        float.fromhex("0x1.6fb6940000000p-16"),
    ),
    4.0,
)


def c_float(value: float) -> str:
    """Return a float32 as a C literal that loses nothing."""
    mantissa, exponent = float(np.float32(value)).hex().split("p")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}p{exponent}f"


def c_names(activations: Iterable[Activation]) -> dict[Activation, str]:
    """Return what C calls each activation: its name, with a number where others have it with other parameters."""
    names: dict[Activation, str] = {}
    for activation in activations:
        namesakes = sum(other.name == activation.name for other in names)
        names.setdefault(activation, f"{activation.name}_{namesakes + 1}" if namesakes else activation.name)
    return names


def activation_to_c(activation: Activation, prefix: str, called: str) -> str:
    """Return the C functions of ``activation``, ``<prefix>_<called>`` the last; raises InputError if C has none."""
    return _kind(activation).to_c(prefix, called, activation.parameter)


def activation_in_float32(activation: Activation, x: Float32) -> Float32:
    """Return ``activation`` of ``x`` (any shape) to the bit that the C gives."""
    return _kind(activation).twin(x, np.float32(activation.parameter))


@final
@dataclass(frozen=True)
class _Kind:
    """An activation: the bodies of C that it needs, and its twin."""

    to_c: Callable[[str, str, float], str]
    twin: Callable[[Float32, np.float32], Float32]


def _kind(activation: Activation) -> _Kind:
    if activation.name not in _KINDS:
        raise InputError(f"the activation '{activation.name}' has no C; it has {', '.join(_KINDS)}")
    if not abs(activation.parameter) <= LARGEST:
        raise InputError(f"the activation '{activation.name}' has a parameter beyond float32: {activation.parameter:g}")
    return _KINDS[activation.name]


def _function(body: str, *needed: Callable[[str], str]) -> Callable[[str, str, float], str]:
    def to_c(prefix: str, called: str, parameter: float) -> str:
        text = body.replace("{p}", prefix).replace("{a}", c_float(parameter))
        before = "".join(need(prefix) + "\n" for need in needed)
        return f"{before}static float {prefix}_{called}(float x)\n{{\n{text}}}\n"

    return to_c


def _tanh_c(prefix: str) -> str:
    return TANH.to_c(f"{prefix}_tanh")


def _erf_c(prefix: str) -> str:
    return ERF.to_c(f"{prefix}_erf")


def _sigmoid(x: Float32) -> Float32:
    half = np.float32(0.5)
    return half + half * TANH(half * x)


def _softplus(x: Float32) -> Float32:
    size = np.where(x < np.float32(0.0), -x, x)
    s = _sigmoid(size)
    z = (np.float32(1.0) - s) / (np.float32(1.0) + s)
    t = z * z
    return np.where(x > np.float32(0.0), x, np.float32(0.0)) + z * _polynomial(_ATANH, t)


def _elu(x: Float32, alpha: np.float32) -> Float32:
    t = TANH(np.float32(0.5) * x)
    with np.errstate(divide="ignore", invalid="ignore"):
        below = alpha * (np.float32(2.0) * t / (np.float32(1.0) - t))
    return np.where(x > np.float32(0.0), x, below)


def _gelu(x: Float32) -> Float32:
    half = np.float32(0.5) * x
    return half + half * ERF(x * _ROOT_HALF)


def _polynomial(coefficients: tuple[float, ...], t: Float32) -> Float32:
    value = np.full_like(t, np.float32(coefficients[-1]))
    for coefficient in reversed(coefficients[:-1]):
        value = value * t + np.float32(coefficient)
    return value


def _horner(coefficients: tuple[float, ...]) -> str:
    text = c_float(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        text = f"({text} * t + {c_float(coefficient)})"
    return text


_ROOT_HALF = np.float32(0.5**0.5)
# -log(s) = 2 atanh(z) with z = (1 - s) / (1 + s), at most 1/3 where s is at least 1/2: the next term is below 1e-7.
_ATANH = (2.0, 2.0 / 3.0, 2.0 / 5.0, 2.0 / 7.0, 2.0 / 9.0, 2.0 / 11.0)
_ZERO = np.float32(0.0)
_SIGMOID = _function("    return 0.5f + 0.5f * {p}_tanh(0.5f * x);\n", _tanh_c)


def _sigmoid_c(prefix: str) -> str:
    return _SIGMOID(prefix, "sigmoid", 0.0)


_KINDS: dict[str, _Kind] = {
    "tanh": _Kind(lambda prefix, *_: _tanh_c(prefix), lambda x, _: TANH(x)),
    "relu": _Kind(_function("    return x > 0.0f ? x : 0.0f;\n"), lambda x, _: np.where(x > _ZERO, x, _ZERO)),
    "leaky_relu": _Kind(
        _function("    return x >= 0.0f ? x : {a} * x;\n"), lambda x, a: np.where(x >= _ZERO, x, a * x)
    ),
    "elu": _Kind(
        _function(
            "    const float t = {p}_tanh(0.5f * x);\n"
            "    return x > 0.0f ? x : {a} * (2.0f * t / (1.0f - t));\n",
            _tanh_c,
        ),
        _elu,
    ),
    "sigmoid": _Kind(_SIGMOID, lambda x, _: _sigmoid(x)),
    "softplus": _Kind(
        _function(
            "    const float s = {p}_sigmoid(x < 0.0f ? -x : x);\n"
            "    const float z = (1.0f - s) / (1.0f + s);\n"
            "    const float t = z * z;\n"
            f"    return (x > 0.0f ? x : 0.0f) + z * {_horner(_ATANH)};\n",
            _sigmoid_c,
        ),
        lambda x, _: _softplus(x),
    ),
    "silu": _Kind(
        _function("    return x * {p}_sigmoid(x);\n", _sigmoid_c),
        lambda x, _: x * _sigmoid(x),
    ),
    "gelu": _Kind(
        _function(f"    return 0.5f * x + 0.5f * x * {{p}}_erf(x * {c_float(float(_ROOT_HALF))});\n", _erf_c),
        lambda x, _: _gelu(x),
    ),
}  # fmt: skip
