"""Activations from the names of JAX's functions, with the default values of their numbers."""

from __future__ import annotations

from prunekit.errors import InputError
from prunekit.formats.text import shown
from prunekit.graph.op import Op
from prunekit.ops.activation import Activation
from prunekit.ops.activation_kinds import KINDS

_MODULES = ("jax.", "jax._src.", "flax.")
# By JAX's name; the numbers are JAX's own defaults, in its order.
_FUNCTIONS: dict[str, tuple[str, dict[str, float]]] = {
    "relu": ("relu", {}),
    "tanh": ("tanh", {}),
    "sigmoid": ("sigmoid", {}),
    "silu": ("silu", {}),
    "swish": ("silu", {}),
    "elu": ("elu", {"alpha": 1.0}),
    "celu": ("celu", {"alpha": 1.0}),
    "selu": ("selu", {}),
    "leaky_relu": ("leaky_relu", {"negative_slope": 0.01}),
    "softplus": ("softplus", {}),
    "soft_sign": ("softsign", {}),
    "mish": ("mish", {}),
    "hard_sigmoid": ("hardsigmoid", {}),
    "hard_silu": ("hardswish", {}),
    "hard_swish": ("hardswish", {}),
    "relu6": ("relu6", {}),
    "hard_tanh": ("hardtanh", {}),
    "gelu": ("gelu_tanh", {}),
}
_IDENTITY = "identity"
# Whole numbers of a file may have any length.
_HUGE = 1e30


def activation_of(called: object) -> Op | None:
    """Return the op of a JAX function, given by its name and the arguments of a partial; None for the identity.

    Raises InputError for a user's own function, and for one without an op.
    """
    name, given = called if isinstance(called, tuple) else (called, {})
    text = name if isinstance(name, str) else ""
    short = text.rpartition(".")[2]
    if not text.startswith(_MODULES) or (short not in _FUNCTIONS and short != _IDENTITY):
        what = f"'{shown(text, 80)}'" if text else "a function of its own"
        raise InputError(
            f"its activation is {what}, which is not known; name what it computes with `activation` (elu, relu, ...)"
        )
    if short == _IDENTITY:
        return None
    kind, numbers = _FUNCTIONS[short]
    if short == "gelu" and set(given) == {"approximate"} and isinstance(given["approximate"], bool):
        kind, given = ("gelu_tanh" if given["approximate"] else "gelu"), {}
    if not set(given) <= set(numbers) or not all(_is_number(number) for number in given.values()):
        raise InputError(f"its activation '{short}' is given {shown(given, 60)}, which is not read")
    if kind in ("relu6", "hardtanh"):
        return _bounded(*((0.0, 6.0) if kind == "relu6" else (-1.0, 1.0)))
    ordered = [float({**numbers, **given}[name]) for name in numbers]
    if KINDS[kind].numbers and not ordered:
        ordered = list(KINDS[kind].numbers.values())
    return Activation(kind=kind, numbers=tuple(ordered))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _HUGE


def _bounded(low: float, high: float) -> Op:
    from prunekit.ops.clip import Clip

    return Clip(low=low, high=high)
