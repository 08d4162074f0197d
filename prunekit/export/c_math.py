"""The activations of ``prunekit.activations`` in C, and their twins; as graphs have them they are in ``ops``."""

from __future__ import annotations

from collections.abc import Iterable

from prunekit.activations import Activation
from prunekit.graph.c.literals import Float32
from prunekit.ops import activation_c
from prunekit.ops.activation_kinds import KINDS


def c_names(activations: Iterable[Activation]) -> dict[Activation, str]:
    """Return what C calls each activation: its name, with a number where others have it with other parameters."""
    names: dict[Activation, str] = {}
    for activation in activations:
        namesakes = sum(other.name == activation.name for other in names)
        names.setdefault(activation, f"{activation.name}_{namesakes + 1}" if namesakes else activation.name)
    return names


def activation_to_c(activation: Activation, prefix: str, called: str) -> str:
    """Return the C functions of ``activation``, ``<prefix>_<called>`` the last; raises InputError if C has none."""
    return activation_c.activation_to_c(activation.name, _numbers(activation), prefix, called)


def activation_in_float32(activation: Activation, x: Float32) -> Float32:
    """Return ``activation`` of ``x`` (any shape) to the bit that the C gives."""
    return activation_c.activation_in_float32(activation.name, _numbers(activation), x)


def _numbers(activation: Activation) -> tuple[float, ...]:
    if activation.name == "softplus":
        return (activation.parameter or 1.0,)
    return (activation.parameter,) * (activation.name in KINDS and len(KINDS[activation.name].numbers))
