"""The element-wise functions as data. They differ only in the function, so they share one op and one table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

import numpy as np

from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array
from prunekit.lazy import functional, nn, torch

if TYPE_CHECKING:
    from torch import Tensor

_erf = np.frompyfunc(math.erf, 1, 1)


@final
@dataclass(frozen=True, kw_only=True)
class Kind:
    """One function in all forms. ``numbers`` are its parameters, under torch's names, with their defaults.

    ``reference``, ``torch`` and ``onnx`` take the value (``onnx`` takes a writer before it), and then the numbers in
    order. ``required`` are further arguments of torch that must have exactly these values. ``in_torch`` returns the
    function, the module, and the functions and tensor methods that are read; it is called only if torch is needed.
    """

    name: str
    reference: Callable[..., Array]
    onnx: Callable[..., str]
    in_torch: Callable[[], tuple[Callable[..., Tensor], type[nn.Module], tuple[object, ...]]]
    numbers: Mapping[str, float] = field(default_factory=dict)
    required: Mapping[str, object] = field(default_factory=dict)

    @property
    def torch(self) -> Callable[..., Tensor]:
        """The torch function that computes it."""
        return self.in_torch()[0]

    @property
    def module(self) -> type[nn.Module]:
        """The module that computes it."""
        return self.in_torch()[1]

    @property
    def functions(self) -> tuple[object, ...]:
        """The torch functions, and the names of tensor methods, that compute it."""
        return self.in_torch()[2]


def _plain(operator: str, *attributes: str) -> Callable[..., str]:
    def write(writer: OnnxWriter, x: str, *numbers: float) -> str:
        return writer.add(operator, [x], **dict(zip(attributes, numbers, strict=True)))

    return write


def _sigmoid(x: Array) -> Array:
    return np.asarray(np.exp(-np.logaddexp(0.0, -x)), x.dtype)


def _softplus(x: Array, beta: float = 1.0) -> Array:
    return np.asarray(np.logaddexp(beta * x, 0.0) / beta, x.dtype)


def _gelu(x: Array) -> Array:
    return 0.5 * x * (1.0 + np.asarray(_erf(x / math.sqrt(2.0)), x.dtype))


def _gelu_tanh(x: Array) -> Array:
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def _elu(x: Array, alpha: float) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))


def _celu(x: Array, alpha: float) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0) / alpha))


SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def _silu_onnx(writer: OnnxWriter, x: str) -> str:
    return writer.add("Mul", [x, writer.add("Sigmoid", [x])])


def _softplus_onnx(writer: OnnxWriter, x: str, beta: float) -> str:
    if beta == 1.0:
        return writer.add("Softplus", [x])
    scaled = writer.add("Softplus", [writer.add("Mul", [x, writer.constant(beta)])])
    return writer.add("Mul", [scaled, writer.constant(1.0 / beta)])


def _gelu_onnx(writer: OnnxWriter, x: str) -> str:
    scaled = writer.add("Mul", [x, writer.constant(1.0 / math.sqrt(2.0))])
    shifted = writer.add("Add", [writer.add("Erf", [scaled]), writer.constant(1.0)])
    return writer.add("Mul", [writer.add("Mul", [x, shifted]), writer.constant(0.5)])


def _gelu_tanh_onnx(writer: OnnxWriter, x: str) -> str:
    cube = writer.add("Mul", [writer.add("Mul", [x, x]), x])
    inner = writer.add("Add", [x, writer.add("Mul", [cube, writer.constant(0.044715)])])
    bent = writer.add("Tanh", [writer.add("Mul", [inner, writer.constant(math.sqrt(2.0 / math.pi))])])
    shifted = writer.add("Add", [bent, writer.constant(1.0)])
    return writer.add("Mul", [writer.add("Mul", [x, shifted]), writer.constant(0.5)])


def _mish_onnx(writer: OnnxWriter, x: str) -> str:
    return writer.add("Mul", [x, writer.add("Tanh", [writer.add("Softplus", [x])])])


def _hardsigmoid_onnx(writer: OnnxWriter, x: str) -> str:
    return writer.add("HardSigmoid", [x], alpha=1.0 / 6.0, beta=0.5)


def _gelu_torch(x: Tensor) -> Tensor:
    return functional.gelu(x)


def _gelu_tanh_torch(x: Tensor) -> Tensor:
    return functional.gelu(x, approximate="tanh")


def _softplus_torch(x: Tensor, beta: float) -> Tensor:
    return functional.softplus(x, beta=beta)


def _leaky_relu(x: Array, slope: float) -> Array:
    return np.where(x >= 0, x, slope * x)


def _kind(name: str, reference: Any, onnx: Any, in_torch: Any, **more: Any) -> Kind:
    return Kind(name=name, reference=reference, onnx=onnx, in_torch=in_torch, **more)


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        _kind("tanh", np.tanh, _plain("Tanh"), lambda: (torch.tanh, nn.Tanh, (torch.tanh, functional.tanh, "tanh"))),
        _kind(
            "relu", lambda x: np.maximum(x, 0.0), _plain("Relu"),
            lambda: (torch.relu, nn.ReLU, (torch.relu, functional.relu, "relu")),
        ),
        _kind(
            "leaky_relu", _leaky_relu, _plain("LeakyRelu", "alpha"),
            lambda: (functional.leaky_relu, nn.LeakyReLU, (functional.leaky_relu,)), numbers={"negative_slope": 0.01},
        ),
        _kind(
            "elu", _elu, _plain("Elu", "alpha"), lambda: (functional.elu, nn.ELU, (functional.elu,)),
            numbers={"alpha": 1.0},
        ),
        _kind(
            "celu", _celu, _plain("Celu", "alpha"), lambda: (functional.celu, nn.CELU, (functional.celu, torch.celu)),
            numbers={"alpha": 1.0},
        ),
        _kind(
            "selu", lambda x: SELU_SCALE * _elu(x, SELU_ALPHA), _plain("Selu"),
            lambda: (torch.selu, nn.SELU, (functional.selu, torch.selu)),
        ),
        _kind(
            "sigmoid", _sigmoid, _plain("Sigmoid"),
            lambda: (torch.sigmoid, nn.Sigmoid, (torch.sigmoid, functional.sigmoid, "sigmoid")),
        ),
        _kind(
            "softplus", _softplus, _softplus_onnx, lambda: (_softplus_torch, nn.Softplus, (functional.softplus,)),
            numbers={"beta": 1.0}, required={"threshold": 20.0},
        ),
        _kind(
            "softsign", lambda x: x / (1.0 + np.abs(x)), _plain("Softsign"),
            lambda: (functional.softsign, nn.Softsign, (functional.softsign,)),
        ),
        _kind("silu", lambda x: x * _sigmoid(x), _silu_onnx, lambda: (functional.silu, nn.SiLU, (functional.silu,))),
        _kind(
            "gelu", _gelu, _gelu_onnx, lambda: (_gelu_torch, nn.GELU, (functional.gelu,)),
            required={"approximate": "none"},
        ),
        _kind(
            "gelu_tanh", _gelu_tanh, _gelu_tanh_onnx, lambda: (_gelu_tanh_torch, nn.GELU, (functional.gelu,)),
            required={"approximate": "tanh"},
        ),
        _kind(
            "mish", lambda x: x * np.tanh(_softplus(x)), _mish_onnx,
            lambda: (functional.mish, nn.Mish, (functional.mish,)),
        ),
        _kind(
            "hardsigmoid", lambda x: np.clip(x + 3.0, 0.0, 6.0) / 6.0, _hardsigmoid_onnx,
            lambda: (functional.hardsigmoid, nn.Hardsigmoid, (functional.hardsigmoid,)),
        ),
        _kind(
            "hardswish", lambda x: x * (np.clip(x + 3.0, 0.0, 6.0) / 6.0), _plain("HardSwish"),
            lambda: (functional.hardswish, nn.Hardswish, (functional.hardswish,)),
        ),
    )
}  # fmt: skip
