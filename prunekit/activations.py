"""The element-wise functions that prunekit knows, each one entry of one table.

An entry says how torch spells the function (module, functions, tensor methods) and gives a NumPy float64
reference. Export formats map an entry's ``name`` to their own operators.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from types import FunctionType
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

Array = NDArray[np.float64]

_erf = np.frompyfunc(math.erf, 1, 1)


@final
@dataclass(frozen=True)
class ActivationKind:
    """One element-wise function: its names in torch and its NumPy reference.

    ``reference(x, parameter)`` maps a float64 array of any shape to one of the same shape.
    ``attribute`` names the module attribute that holds the single parameter, if there is one.
    ``required`` lists module attributes that must have exactly these values to be this function.
    """

    name: str
    module: type[nn.Module]
    functions: tuple[object, ...]
    reference: Callable[[Array, float], Array]
    build: Callable[[float], nn.Module]
    attribute: str | None = None
    default: float = 0.0
    required: tuple[tuple[str, object], ...] = ()


@final
@dataclass(frozen=True)
class Activation:
    """A kind with its parameter (0.0 where the kind has none)."""

    name: str
    parameter: float = 0.0

    def to_module(self) -> nn.Module:
        """Return a fresh torch module that computes this activation."""
        return KINDS[self.name].build(self.parameter)

    def reference(self, x: Array) -> Array:
        """Return the activation of ``x`` (any shape) in float64 NumPy."""
        return KINDS[self.name].reference(x, self.parameter)


def _softplus(x: Array) -> Array:
    return np.logaddexp(x, 0.0)


def _sigmoid(x: Array) -> Array:
    return np.exp(-np.logaddexp(0.0, -x))


def _gelu(x: Array) -> Array:
    return 0.5 * x * (1.0 + np.asarray(_erf(x / math.sqrt(2.0)), np.float64))


def _elu(x: Array, alpha: float) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))


KINDS: dict[str, ActivationKind] = {
    kind.name: kind
    for kind in (
        ActivationKind(
            "identity", nn.Identity, (), lambda x, _: x, lambda _: nn.Identity()
        ),
        ActivationKind(
            "tanh", nn.Tanh, (torch.tanh, functional.tanh, "tanh"),
            lambda x, _: np.tanh(x), lambda _: nn.Tanh(),
        ),
        ActivationKind(
            "relu", nn.ReLU, (torch.relu, functional.relu, "relu"),
            lambda x, _: np.maximum(x, 0.0), lambda _: nn.ReLU(),
        ),
        ActivationKind(
            "leaky_relu", nn.LeakyReLU, (functional.leaky_relu,),
            lambda x, slope: np.where(x >= 0, x, slope * x), nn.LeakyReLU,
            attribute="negative_slope", default=0.01,
        ),
        ActivationKind(
            "elu", nn.ELU, (functional.elu,), _elu, nn.ELU, attribute="alpha", default=1.0
        ),
        ActivationKind(
            "sigmoid", nn.Sigmoid, (torch.sigmoid, functional.sigmoid, "sigmoid"),
            lambda x, _: _sigmoid(x), lambda _: nn.Sigmoid(),
        ),
        ActivationKind(
            "softplus", nn.Softplus, (functional.softplus,),
            lambda x, _: _softplus(x), lambda _: nn.Softplus(),
            required=(("beta", 1.0), ("threshold", 20.0)),
        ),
        ActivationKind(
            "silu", nn.SiLU, (functional.silu,),
            lambda x, _: x * _sigmoid(x), lambda _: nn.SiLU(),
        ),
        ActivationKind(
            "gelu", nn.GELU, (functional.gelu,), lambda x, _: _gelu(x), lambda _: nn.GELU(),
            required=(("approximate", "none"),),
        ),
    )
}  # fmt: skip


def activation_of_module(module: nn.Module) -> Activation | None:
    """Return the activation that ``module`` computes, or None when the table does not hold it."""
    if type(module) in (nn.Dropout, nn.Flatten):  # both leave a deployed vector of features as it is
        return Activation("identity")
    for kind in KINDS.values():
        if type(module) is kind.module:
            if any(getattr(module, name) != value for name, value in kind.required):
                return None
            parameter = getattr(module, kind.attribute) if kind.attribute else kind.default
            return Activation(kind.name, float(parameter))
    return None


def activation_of_call(function: object, arguments: Sequence[object], named: Mapping[str, object]) -> Activation | None:
    """Return the activation that a torch function or tensor method computes, or None.

    ``arguments`` and ``named`` are those after the tensor itself.
    """
    for kind in KINDS.values():
        if any(function is known or function == known for known in kind.functions):
            return _called(kind, function, arguments, named)
    return None


def _called(
    kind: ActivationKind, function: object, arguments: Sequence[object], named: Mapping[str, object]
) -> Activation | None:
    given = dict(named)
    if arguments:
        if not isinstance(function, FunctionType):
            return None
        given |= zip(list(signature(function).parameters)[1:], arguments, strict=False)
    given.pop("inplace", None)
    if any(given.pop(name, value) != value for name, value in kind.required):
        return None
    parameter = kind.default if kind.attribute is None else given.pop(kind.attribute, kind.default)
    if given or not isinstance(parameter, int | float):
        return None
    return Activation(kind.name, float(parameter))
