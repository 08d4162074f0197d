"""Gymnasium spaces from the text that Stable-Baselines3 writes beside a pickled one."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunekit.environments import Spaces
from prunekit.errors import InputError
from prunekit.spaces.box import BoxActions
from prunekit.spaces.discrete import DiscreteActions
from prunekit.spaces.kind import ActionKind
from prunekit.spaces.multi_binary import MultiBinaryActions
from prunekit.spaces.multi_discrete import MultiDiscreteActions

DISCRETE = "<class 'gymnasium.spaces.discrete.Discrete'>"
BOX = "<class 'gymnasium.spaces.box.Box'>"
MULTI_DISCRETE = "<class 'gymnasium.spaces.multi_discrete.MultiDiscrete'>"
MULTI_BINARY = "<class 'gymnasium.spaces.multi_binary.MultiBinary'>"
ACTIONS: dict[str, type[ActionKind]] = {
    DISCRETE: DiscreteActions,
    BOX: BoxActions,
    MULTI_DISCRETE: MultiDiscreteActions,
    MULTI_BINARY: MultiBinaryActions,
}
"""By the text of a space's class."""

# Bounds that differ by less may be the same, saved under a coarser numpy.set_printoptions.
_ROUNDED = 0.01
_LARGEST_BOUND = float(np.finfo(np.float32).max)
_FIX = "give with --env the one that it was trained in, wrappers of its actions included"
_INTEGER = re.compile(r"-?\d{1,10}")
_NUMBER = re.compile(r"-?(inf|\d+\.?\d*(e[+-]\d{2,3})?)")


def quoted(value: object) -> str:
    """Return ``value`` from a file in a form that fits into one line of an error."""
    return repr(value)[:100]


def observation_width(space: Mapping[str, Any]) -> int:
    """Return how many values an observation has: vectors, and arrays of floats, which are flattened row by row.

    Raises InputError for any other space. Arrays of integers are scaled as images are.
    """
    shape, dtype = space.get("_shape"), str(space.get("dtype"))
    if space.get(":type:") != BOX:
        raise InputError(f"observations of type {quoted(space.get(':type:'))} are not supported; only Box is")
    sizes = shape if isinstance(shape, list) and shape and all(type(size) is int for size in shape) else None
    if sizes is None or (len(sizes) > 1 and not dtype.startswith("float")):
        raise InputError(
            f"observations of shape {quoted(shape)} and type {quoted(space.get('dtype'))} are not supported; only "
            "vectors and arrays of floats are"
        )
    return math.prod(sizes)


def action_spaces(inputs: int, outputs: int, space: Mapping[str, Any]) -> Spaces:
    """Return the spaces of an actor from ``inputs`` values to ``outputs`` scores and the text of its action space.

    Text of an array has eight decimals, so a bound is taken only where no other float32 number has the same text.
    (Bounds that were saved under a coarser ``numpy.set_printoptions`` look like exact ones.)

    Raises InputError where the text does not say the space exactly or does not fit ``outputs``.
    """
    if space.get(":type:") == DISCRETE:
        count, start = (str(space.get(name)) for name in ("n", "start"))
        if count != str(outputs) or not _INTEGER.fullmatch(start):
            raise InputError(f"its {quoted(count)} actions from {quoted(start)} on do not fit {outputs} scores")
        return Spaces(inputs, DiscreteActions(count=outputs, start=int(start)))
    if space.get(":type:") == MULTI_DISCRETE:
        counts = _integers(space, "nvec")
        starts = _integers(space, "start") if "start" in space else (0,) * len(counts)
        if sum(counts) != outputs or space.get("_shape") != [len(counts)]:
            raise InputError(f"its {quoted(space.get('nvec'))} choices do not fit {outputs} scores")
        return Spaces(inputs, MultiDiscreteActions(counts=counts, starts=starts, dtype=str(space.get("dtype"))))
    if space.get(":type:") == MULTI_BINARY and space.get("_shape") == [outputs]:
        return Spaces(inputs, MultiBinaryActions(count=outputs))
    if space.get("_shape") != [outputs]:
        raise InputError(f"its actions of shape {quoted(space.get('_shape'))} do not fit {outputs} scores")
    low, high = (_bounds(space, side, outputs) for side in ("low", "high"))
    return Spaces(inputs, BoxActions(low=low, high=high))


def check_fit(spaces: Spaces, inputs: int, outputs: int, kind: type[ActionKind], path: Path) -> None:
    """Raise InputError, naming ``path``, where ``spaces`` that a caller gave do not fit the policy in that file."""
    if type(spaces.actions) is not kind:
        raise InputError(f"{path}: chooses {kind.sort} actions, but the given spaces have {spaces.actions.sort} ones")
    if (spaces.observation, spaces.outputs) != (inputs, outputs):
        raise InputError(
            f"{path}: maps {inputs} values to {outputs}, but the given spaces have {spaces.observation} and "
            f"{spaces.outputs}"
        )


def check_same(own: ActionKind, given: ActionKind, path: Path) -> None:
    """Raise InputError, naming ``path``, where its text says others than the ``given`` actions of the same kind."""
    match own, given:
        case BoxActions(), BoxActions():
            _check_bounds(own, given, path)
        case MultiDiscreteActions(), MultiDiscreteActions() if own.counts != given.counts:
            raise InputError(f"{path}: chooses {own.words}, but the given environment needs {given.words}; {_FIX}")
        case _:
            pass


def _check_bounds(own: BoxActions, given: BoxActions, path: Path) -> None:
    sides = zip(own.low, own.high, given.low, given.high, strict=True)
    for index, (low, high, given_low, given_high) in enumerate(sides):
        if low == high:  # digits that the text does not have
            continue
        # training gives a learner the largest numbers for bounds that there are not
        own_pair, pair = np.clip([(low, high), (given_low, given_high)], -_LARGEST_BOUND, _LARGEST_BOUND)
        if not np.isclose(own_pair, pair, rtol=_ROUNDED, atol=0.0).all():
            raise InputError(
                f"{path}: component {index} of its actions is within [{low:g}, {high:g}], but that of the given "
                f"environment within [{given_low:g}, {given_high:g}]; {_FIX}"
            )


def _integers(space: Mapping[str, Any], name: str) -> tuple[int, ...]:
    """Return the integers in the text ``name``; raises InputError where they are not all there."""
    words = _words(str(space.get(name)))
    if not words or not all(map(_INTEGER.fullmatch, words)):
        raise InputError(f"its actions' '{name}' cannot be read from the text {quoted(space.get(name))}")
    return tuple(map(int, words))


def _bounds(space: Mapping[str, Any], side: str, count: int) -> tuple[float, ...]:
    text, short, dtype = (space.get(name) for name in (side, f"{side}_repr", "dtype"))
    exact = isinstance(short, str) and _NUMBER.fullmatch(short) is not None  # a lone number has all of its digits
    words = [str(short)] * count if exact else _words(str(text))
    if len(words) == count and dtype in ("float32", "float64") and all(map(_NUMBER.fullmatch, words)):
        with np.errstate(over="ignore"):
            bounds = np.array([float(word) for word in words], np.dtype(str(dtype)))
            if exact or _is_only_reading(bounds, words):
                return tuple(bounds.tolist())
    raise InputError(
        f"its actions' bound '{side}' cannot be read exactly from the text {quoted(text)} ({quoted(dtype)}); give the "
        "spaces of its environment as read_sb3's argument 'spaces'"
    )


def _is_only_reading(bounds: NDArray[Any], words: list[str]) -> bool:
    """Whether ``words`` print ``bounds``, and no array that differs from them as float32 numbers."""
    if _printed(bounds) != words:
        return False
    for index, end in itertools.product(range(len(bounds)), (-math.inf, math.inf)):
        here = np.float32(bounds[index])
        beside = np.nextafter(here, np.float32(end))
        other = bounds.copy()  # the nearest number that an actor, which computes in float32, would tell from this one
        other[index] = beside if bounds.dtype == np.float32 else (float(here) + float(beside)) / 2
        if other[index] != bounds[index] and _printed(other) == words:
            return False
    return True


def _printed(bounds: NDArray[Any]) -> list[str]:
    with np.printoptions(
        precision=8, threshold=1000, suppress=False, floatmode="maxprec", sign="-", formatter=None, legacy=False
    ):
        return _words(str(bounds))


def _words(text: str) -> list[str]:
    return text.strip("[]").split()
