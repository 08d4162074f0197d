"""Comparison of the actions in a file with those of the environment that the caller gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from prunekit.environments import Spaces
from prunekit.errors import InputError
from prunekit.spaces.box import BoxActions
from prunekit.spaces.kind import ActionKind
from prunekit.spaces.multi_discrete import MultiDiscreteActions

# Bounds that differ by less may be the same, saved under a coarser numpy.set_printoptions.
_ROUNDED = 0.01
_LARGEST_BOUND = float(np.finfo(np.float32).max)
_FIX = "give the one that it was trained in with `env`, including wrappers of its actions"

Float64 = NDArray[np.float64]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Rescaling:
    """A rescaling from the file's bounds to the environment's: action * ``scale`` + ``shift``, [n] each."""

    scale: Float64
    shift: Float64
    note: str


def check_fit(spaces: Spaces, inputs: int, outputs: int, kind: type[ActionKind]) -> None:
    """Raise InputError if the caller's ``spaces`` do not fit a policy with these widths and this kind of actions."""
    if type(spaces.actions) is not kind:
        raise InputError(
            f"chooses {kind.sort} actions, but the environment has {spaces.actions.sort} ones; give the policy's own "
            "environment with `env`"
        )
    if (spaces.observation, spaces.outputs) != (inputs, outputs):
        raise InputError(
            f"takes {inputs} values and gives {outputs}, but the environment has observations of {spaces.observation} "
            "values and "
            f"actions of {spaces.outputs}; give the policy's own environment with `env`"
        )


def rescaling(own: ActionKind, given: ActionKind) -> Rescaling | None:
    """Return the rescaling from the file's bounds to those in ``given``, or None if they are equal.

    Raises InputError if no rescaling maps one to the other.
    """
    match own, given:
        case BoxActions(), BoxActions():
            return _between(own, given)
        case MultiDiscreteActions(), MultiDiscreteActions() if own.counts != given.counts:
            raise InputError(f"chooses {own.words}, but the given environment needs {given.words}; {_FIX}")
        case _:
            return None


def _between(own: BoxActions, given: BoxActions) -> Rescaling | None:
    old, new = np.array([own.low, own.high]).T, np.array([given.low, given.high]).T
    scale, shift = np.ones(len(old)), np.zeros(len(old))
    first: int | None = None
    for index, (pair, wanted) in enumerate(zip(old, new, strict=True)):
        if pair[0] == pair[1]:  # digits that the text does not have
            continue
        # in training, missing bounds are the largest numbers
        held, needed = (np.clip(bounds, -_LARGEST_BOUND, _LARGEST_BOUND) for bounds in (pair, wanted))
        if np.isclose(held, needed, rtol=_ROUNDED, atol=0.0).all():
            continue
        if (np.abs([held, needed]) == _LARGEST_BOUND).any():
            raise InputError(f"{_differing(index, pair, wanted)}; {_FIX}")
        scale[index] = (wanted[1] - wanted[0]) / (pair[1] - pair[0])
        shift[index] = wanted[0] - pair[0] * scale[index]
        first = index if first is None else first
    if first is None:
        return None
    what = _differing(first, old[first], new[first])
    return Rescaling(scale=scale, shift=shift, note=f"{what}: rescaled, as a wrapper in training must have done")


def _differing(index: int, own: Float64, given: Float64) -> str:
    return (
        f"component {index} of its actions is within [{own[0]:g}, {own[1]:g}], but that of the given environment "
        f"within [{given[0]:g}, {given[1]:g}]"
    )
