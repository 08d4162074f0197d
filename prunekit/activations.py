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
@dataclass(frozen=True, kw_only=True)
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
@dataclass(frozen=True, kw_only=True)
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
            name="identity", module=nn.Identity, functions=(), reference=lambda x, _: x, build=lambda _: nn.Identity()
        ),
        ActivationKind(
            name="tanh",
            module=nn.Tanh,
            functions=(torch.tanh, functional.tanh, "tanh"),
            reference=lambda x, _: np.tanh(x),
            build=lambda _: nn.Tanh(),
        ),
        ActivationKind(
            name="relu",
            module=nn.ReLU,
            functions=(torch.relu, functional.relu, "relu"),
            reference=lambda x, _: np.maximum(x, 0.0),
            build=lambda _: nn.ReLU(),
        ),
        ActivationKind(
            name="leaky_relu",
            module=nn.LeakyReLU,
            functions=(functional.leaky_relu,),
            reference=lambda x, slope: np.where(x >= 0, x, slope * x),
            build=nn.LeakyReLU,
            attribute="negative_slope",
            default=0.01,
        ),
        ActivationKind(
            name="elu",
            module=nn.ELU,
            functions=(functional.elu,),
            reference=_elu,
            build=nn.ELU,
            attribute="alpha",
            default=1.0,
        ),
        ActivationKind(
            name="sigmoid",
            module=nn.Sigmoid,
            functions=(torch.sigmoid, functional.sigmoid, "sigmoid"),
            reference=lambda x, _: _sigmoid(x),
            build=lambda _: nn.Sigmoid(),
        ),
        ActivationKind(
            name="softplus",
            module=nn.Softplus,
            functions=(functional.softplus,),
            reference=lambda x, _: _softplus(x),
            build=lambda _: nn.Softplus(),
            required=(("beta", 1.0), ("threshold", 20.0)),
        ),
        ActivationKind(
            name="silu",
            module=nn.SiLU,
            functions=(functional.silu,),
            reference=lambda x, _: x * _sigmoid(x),
            build=lambda _: nn.SiLU(),
        ),
        ActivationKind(
            name="gelu",
            module=nn.GELU,
            functions=(functional.gelu,),
            reference=lambda x, _: _gelu(x),
            build=lambda _: nn.GELU(),
            required=(("approximate", "none"),),
        ),
    )
}


def activation_of_module(module: nn.Module) -> Activation | None:
    """Return the activation that ``module`` computes, or None when the table does not hold it."""
    if type(module) in (nn.Dropout, nn.Flatten):  # both leave a deployed vector of features as it is
        return Activation(name="identity")
    for kind in KINDS.values():
        if type(module) is kind.module:
            if any(getattr(module, name) != value for name, value in kind.required):
                return None
            parameter = getattr(module, kind.attribute) if kind.attribute else kind.default
            return Activation(name=kind.name, parameter=float(parameter))
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
    return Activation(name=kind.name, parameter=float(parameter))
