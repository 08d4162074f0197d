"""The element-wise functions in C, and their bit-exact twins in NumPy float32; one entry per entry of ``KINDS``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from prunekit.errors import InputError
from prunekit.graph.c.functions import (
    ERF,
    HALF,
    ONE,
    TANH,
    TWO,
    ZERO,
    erf_c,
    function,
    horner,
    polynomial,
    sigmoid,
    sigmoid_c,
    tanh_c,
)
from prunekit.graph.c.literals import LARGEST, Float32, c_float


@final
@dataclass(frozen=True, kw_only=True)
class CKind:
    """One function: ``to_c(prefix, called, *numbers)`` returns its C, and ``twin(x, *numbers)`` its value."""

    to_c: Callable[..., str]
    twin: Callable[..., Float32]


def activation_to_c(kind: str, numbers: Sequence[float], prefix: str, called: str) -> str:
    """Return the C functions of a kind of ``KINDS``; ``<prefix>_<called>`` is the last. Raises InputError for other
    kinds.
    """
    return _kind(kind, numbers).to_c(prefix, called, *numbers)


def activation_in_float32(kind: str, numbers: Sequence[float], x: Float32) -> Float32:
    """Return the value of a kind of ``KINDS`` at ``x`` (any shape), with the same bits as the C."""
    with np.errstate(all="ignore"):
        return _kind(kind, numbers).twin(x, *(np.float32(number) for number in numbers))


def _kind(kind: str, numbers: Sequence[float]) -> CKind:
    if kind not in C_KINDS:
        raise InputError(f"the activation '{kind}' cannot be written as C; possible are {', '.join(C_KINDS)}")
    for number in numbers:
        if not abs(number) <= LARGEST:
            raise InputError(f"the activation '{kind}' has a parameter beyond float32: {number:g}")
    return C_KINDS[kind]


def _minus_one(t: Float32) -> Float32:
    """Return exp(x) - 1 from tanh(x / 2)."""
    return TWO * t / (ONE - t)


def _elu(x: Float32, alpha: np.float32) -> Float32:
    return np.where(x > ZERO, x, alpha * _minus_one(TANH(HALF * x)))


def _celu(x: Float32, alpha: np.float32) -> Float32:
    return np.where(x > ZERO, x, alpha * _minus_one(TANH(HALF * (x / alpha))))


def _selu(x: Float32) -> Float32:
    return np.where(x > ZERO, np.float32(_SCALE) * x, np.float32(_SCALED_ALPHA) * _minus_one(TANH(HALF * x)))


def _softplus(x: Float32, beta: np.float32) -> Float32:
    """Return log(1 + exp(beta x)) / beta as max(x, 0) plus a term that goes to 0 for large |beta x|."""
    u = beta * x
    s = sigmoid(np.where(u < ZERO, -u, u))
    z = (ONE - s) / (ONE + s)
    return np.asarray(np.where(u > ZERO, x, ZERO) + z * polynomial(_ATANH, z * z) / beta, np.float32)


def _softplus_c(prefix: str, called: str, beta: float) -> str:
    if beta == 1.0:
        return _LOG_ONE_PLUS(prefix, called)
    return function(
        "    const float u = {a} * x;\n"
        "    const float s = {p}_sigmoid(u < 0.0f ? -u : u);\n"
        "    const float z = (1.0f - s) / (1.0f + s);\n"
        "    const float t = z * z;\n"
        f"    return (u > 0.0f ? x : 0.0f) + z * {horner(_ATANH)} / {{a}};\n",
        sigmoid_c,
    )(prefix, called, beta)


def _gelu(x: Float32) -> Float32:
    half = HALF * x
    return half + half * ERF(x * _ROOT_HALF)


def _gelu_tanh(x: Float32) -> Float32:
    half = HALF * x
    return half + half * TANH(np.float32(_GELU) * (x + np.float32(_CUBIC) * (x * x * x)))


def _mish(x: Float32) -> Float32:
    """Return mish: with s = sigmoid(x) and q = 1 - s = exp(-softplus(x)), tanh(softplus(x)) is s (1 + q) / (1 +
    q^2).
    """
    s = sigmoid(x)
    q = ONE - s
    return np.asarray(x * (s * (ONE + q)) / (ONE + q * q), np.float32)


def _softsign(x: Float32) -> Float32:
    size = np.where(x < ZERO, -x, x)
    held = np.where(x > ZERO, ONE, -ONE)
    return np.asarray(np.where(size < np.float32(_LONG), x / (ONE + size), held), np.float32)


def _between_0_and_6(x: Float32) -> Float32:
    v = x + np.float32(3.0)
    return np.asarray(np.where(v > np.float32(6.0), np.float32(6.0), np.where(v > ZERO, v, ZERO)), np.float32)


_ROOT_HALF = np.float32(0.5**0.5)
_GELU, _CUBIC = math.sqrt(2.0 / math.pi), 0.044715
_SCALE = 1.0507009873554804934193349852946
_SCALED_ALPHA = _SCALE * 1.6732632423543772848170429916717
# From here on x / (1 + |x|) rounds to one.
_LONG = 2.0**26
# -log(s) = 2 atanh(z) with z = (1 - s) / (1 + s), at most 1/3 where s is at least 1/2: the next term is below 1e-7.
_ATANH = (2.0, 2.0 / 3.0, 2.0 / 5.0, 2.0 / 7.0, 2.0 / 9.0, 2.0 / 11.0)
_LOG_ONE_PLUS = function(
    "    const float s = {p}_sigmoid(x < 0.0f ? -x : x);\n"
    "    const float z = (1.0f - s) / (1.0f + s);\n"
    "    const float t = z * z;\n"
    f"    return (x > 0.0f ? x : 0.0f) + z * {horner(_ATANH)};\n",
    sigmoid_c,
)
_SIXTH = np.float32(1 / 6)
_HARD = (
    "    const float v = x + 0x1.8p+1f;\n"
    f"    const float s = (v > 0x1.8p+2f ? 0x1.8p+2f : (v > 0.0f ? v : 0.0f)) * {c_float(1 / 6)};\n"
)

C_KINDS: dict[str, CKind] = {
    "tanh": CKind(to_c=lambda prefix, called: TANH.to_c(f"{prefix}_{called}"), twin=TANH),
    "relu": CKind(to_c=function("    return x > 0.0f ? x : 0.0f;\n"), twin=lambda x: np.where(x > ZERO, x, ZERO)),
    "leaky_relu": CKind(
        to_c=function("    return x >= 0.0f ? x : {a} * x;\n"), twin=lambda x, slope: np.where(x >= ZERO, x, slope * x)
    ),
    "elu": CKind(
        to_c=function(
            "    const float t = {p}_tanh(0.5f * x);\n    return x > 0.0f ? x : {a} * (2.0f * t / (1.0f - t));\n",
            tanh_c,
        ),
        twin=_elu,
    ),
    "celu": CKind(
        to_c=function(
            "    const float t = {p}_tanh(0.5f * (x / {a}));\n"
            "    return x > 0.0f ? x : {a} * (2.0f * t / (1.0f - t));\n",
            tanh_c,
        ),
        twin=_celu,
    ),
    "selu": CKind(
        to_c=function(
            "    const float t = {p}_tanh(0.5f * x);\n"
            f"    return x > 0.0f ? {c_float(_SCALE)} * x : {c_float(_SCALED_ALPHA)} * (2.0f * t / (1.0f - t));\n",
            tanh_c,
        ),
        twin=_selu,
    ),
    "sigmoid": CKind(to_c=function("    return 0.5f + 0.5f * {p}_tanh(0.5f * x);\n", tanh_c), twin=sigmoid),
    "softplus": CKind(to_c=_softplus_c, twin=_softplus),
    "softsign": CKind(
        to_c=function(
            "    const float s = x < 0.0f ? -x : x;\n"
            f"    return s < {c_float(_LONG)} ? x / (1.0f + s) : (x > 0.0f ? 1.0f : -1.0f);\n"
        ),
        twin=_softsign,
    ),
    "silu": CKind(to_c=function("    return x * {p}_sigmoid(x);\n", sigmoid_c), twin=lambda x: x * sigmoid(x)),
    "gelu": CKind(
        to_c=function(f"    return 0.5f * x + 0.5f * x * {{p}}_erf(x * {c_float(float(_ROOT_HALF))});\n", erf_c),
        twin=_gelu,
    ),
    "gelu_tanh": CKind(
        to_c=function(
            f"    const float u = {c_float(_GELU)} * (x + {c_float(_CUBIC)} * (x * x * x));\n"
            "    return 0.5f * x + 0.5f * x * {p}_tanh(u);\n",
            tanh_c,
        ),
        twin=_gelu_tanh,
    ),
    "mish": CKind(
        to_c=function(
            "    const float s = {p}_sigmoid(x);\n"
            "    const float q = 1.0f - s;\n"
            "    return x * (s * (1.0f + q)) / (1.0f + q * q);\n",
            sigmoid_c,
        ),
        twin=_mish,
    ),
    "hardsigmoid": CKind(to_c=function(f"{_HARD}    return s;\n"), twin=lambda x: _between_0_and_6(x) * _SIXTH),
    "hardswish": CKind(to_c=function(f"{_HARD}    return x * s;\n"), twin=lambda x: x * (_between_0_and_6(x) * _SIXTH)),
}
