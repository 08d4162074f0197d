"""Spaces of Gymnasium and gym, from the text that Stable-Baselines3 stores next to a pickled space."""

from __future__ import annotations

import base64
import itertools
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunekit.environments import Spaces
from prunekit.errors import InputError
from prunekit.formats.pickles import Record
from prunekit.readers.sb3.contents import quoted
from prunekit.readers.sb3.pickled import array_of, decoded, fields_of, number_of
from prunekit.spaces.box import BoxActions
from prunekit.spaces.discrete import DiscreteActions
from prunekit.spaces.kind import ActionKind
from prunekit.spaces.multi_binary import MultiBinaryActions
from prunekit.spaces.multi_discrete import MultiDiscreteActions

DISCRETE, BOX, MULTI_DISCRETE, MULTI_BINARY = "Discrete", "Box", "MultiDiscrete", "MultiBinary"
ACTIONS: dict[str, type[ActionKind]] = {
    DISCRETE: DiscreteActions,
    BOX: BoxActions,
    MULTI_DISCRETE: MultiDiscreteActions,
    MULTI_BINARY: MultiBinaryActions,
}
"""By the name of a space's class."""
_CLASS = re.compile(r"<class '(?:gym|gymnasium)\.spaces\.(\w+)\.(\w+)'>")

_AXES_OF_IMAGES = 3
_FIX = "name its environment with `env`, or give its spaces"
_INTEGER = re.compile(r"-?\d{1,10}")
_NUMBER = re.compile(r"-?(inf|\d+\.?\d*(e[+-]\d{2,3})?)")


def class_of(space: Mapping[str, Any]) -> str:
    """Return the class name of a space of Gymnasium or gym; for other classes, the whole text."""
    text = space.get(":type:")
    found = _CLASS.fullmatch(text) if isinstance(text, str) else None
    return found[2] if found is not None and found[1] == found[2].lower().replace("multi", "multi_") else quoted(text)


def shape_of(space: Mapping[str, Any]) -> object:
    """Return the text of a space's shape, whose key differs in older versions."""
    return space.get("_shape", space.get("shape"))


def observation_shape(space: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the shape of an observation that the library flattens row by row and converts to floats.

    Raises InputError for any other space, such as images.
    """
    name, shape = class_of(space), shape_of(space)
    if name not in (BOX, MULTI_BINARY):
        raise InputError(f"observations of type {name} are not supported; only Box and MultiBinary are")
    if not isinstance(shape, list) or not all(type(size) is int and size > 0 for size in shape):
        raise InputError(f"observations of shape {quoted(shape)} are not supported; only arrays of fixed sizes are")
    if len(shape) == _AXES_OF_IMAGES and space.get("dtype") == "uint8":
        raise InputError(f"its observations are images of shape {shape}, which are not read yet; only vectors are")
    return tuple(shape)


def action_spaces(inputs: int, outputs: int, space: Mapping[str, Any]) -> Spaces:
    """Return the spaces of an actor with ``inputs`` values and ``outputs`` outputs, from the text of its action space.

    Bounds come from the bytes of the pickle next to the text, if these can be decoded. Text of an array has eight
    decimals, so a bound is taken from the text only if no other float32 has the same text. (Bounds that were saved
    under a coarser ``numpy.set_printoptions`` look exact and are not.)

    Raises InputError if neither gives the space exactly, or if it does not fit ``outputs``.
    """
    if class_of(space) == DISCRETE:
        count, start = str(space.get("n")), str(space.get("start", 0))  # older spaces begin at 0
        if count != str(outputs) or not _INTEGER.fullmatch(start):
            raise InputError(f"its {quoted(count)} actions, starting at {quoted(start)}, do not fit {outputs} outputs")
        return Spaces(observation=inputs, actions=DiscreteActions(count=outputs, start=int(start)))
    if class_of(space) == MULTI_DISCRETE:
        counts = integers_in(space, "nvec", "actions")
        starts = integers_in(space, "start", "actions") if "start" in space else (0,) * len(counts)
        if sum(counts) != outputs or shape_of(space) != [len(counts)]:
            raise InputError(f"its {quoted(space.get('nvec'))} choices do not fit {outputs} outputs")
        return Spaces(
            observation=inputs,
            actions=MultiDiscreteActions(counts=counts, starts=starts, dtype=str(space.get("dtype"))),
        )
    if class_of(space) == MULTI_BINARY and shape_of(space) == [outputs]:
        return Spaces(observation=inputs, actions=MultiBinaryActions(count=outputs))
    shape = shape_of(space)
    sizes = [size for size in shape if type(size) is int and 0 < size <= outputs] if isinstance(shape, list) else []
    if not isinstance(shape, list) or len(sizes) != len(shape) or len(shape) > 8 or math.prod(sizes) != outputs:
        raise InputError(f"its actions of shape {quoted(shape)} do not fit {outputs} outputs")
    low, high = (_bounds(space, side, outputs) for side in ("low", "high"))
    return Spaces(observation=inputs, actions=BoxActions(low=low, high=high))


def parts_of(space: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the entries of a Dict space by name, in the library's order, each as the text next to a pickle.

    They come from the pickle, which is decoded without running code. Raises InputError if they are not in it.
    """
    try:
        inner = fields_of(decoded(base64.b64decode(space[":serialized:"], validate=True))).get("spaces")
    except Exception:  # a damaged pickle raises many types
        inner = None
    if not isinstance(inner, dict) or not all(isinstance(name, str) for name in inner):
        raise InputError(f"its observations are a Dict, whose entries its 'data' does not list; {_FIX}")
    return {name: _as_text(part) for name, part in inner.items()}


def _as_text(part: object) -> dict[str, Any]:
    fields = fields_of(part)
    shape, dtype = fields.get("_shape", fields.get("shape")), fields.get("dtype")
    code = dtype.arguments[0] if isinstance(dtype, Record) and dtype.arguments else None
    text = {
        ":type:": f"<class '{part.name}'>" if isinstance(part, Record) else None,
        "_shape": list(shape) if isinstance(shape, tuple) else None,
        "dtype": "uint8" if code == "u1" else str(code),
    }
    for name in ("n", "start"):
        number = number_of(fields[name]) if name in fields else None
        text |= {} if number is None else {name: str(int(number) if number.is_integer() else number)}
    return text


def action_notes(space: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a note if actions are not vectors, because they are given as one row."""
    shape = shape_of(space)
    if class_of(space) != BOX or not isinstance(shape, list) or len(shape) == 1:
        return ()
    return (f"actions of shape {shape} are flattened to a vector",)


def integers_in(space: Mapping[str, Any], name: str, called: str) -> tuple[int, ...]:
    """Return the integers in the text ``name`` of a space; ``called`` names the space in messages.

    Raises InputError if they are incomplete.
    """
    words = _words(str(space.get(name)))
    if not words or not all(map(_INTEGER.fullmatch, words)):
        raise InputError(f"its {called}' '{name}' cannot be read from the text {quoted(space.get(name))}")
    return tuple(map(int, words))


def _bounds(space: Mapping[str, Any], side: str, count: int) -> tuple[float, ...]:
    text, short, dtype = (space.get(name) for name in (side, f"{side}_repr", "dtype"))
    exact = isinstance(short, str) and _NUMBER.fullmatch(short) is not None  # a lone number has all of its digits
    words = [str(short)] * count if exact else _words(str(text))
    if dtype in ("float32", "float64"):
        digits = _pickled(space, side)
        if digits is not None and digits.size == count:
            return tuple(digits.ravel().tolist())
        if len(words) == count and all(map(_NUMBER.fullmatch, words)):
            with np.errstate(over="ignore"):
                bounds = np.array([float(word) for word in words], np.dtype(str(dtype)))
                if exact or _is_only_reading(bounds, words):
                    return tuple(bounds.tolist())
    raise InputError(
        f"its actions' bound '{side}' cannot be read exactly from the text {quoted(text)} ({quoted(dtype)}); {_FIX}"
    )


def _pickled(space: Mapping[str, Any], side: str) -> NDArray[np.float64] | None:
    """Return exact bounds from the bytes of the space's pickle, which is decoded without running code; None if there
    are none.
    """
    try:
        return array_of(fields_of(decoded(base64.b64decode(space[":serialized:"], validate=True))).get(side))
    except Exception:  # a damaged pickle raises many types, and the text may be enough without it
        return None


def _is_only_reading(bounds: NDArray[Any], words: list[str]) -> bool:
    """Return whether ``bounds`` print as ``words``, and no other float32 array does."""
    if _printed(bounds) != words:
        return False
    for index, end in itertools.product(range(len(bounds)), (-math.inf, math.inf)):
        here = np.float32(bounds[index])
        beside = np.nextafter(here, np.float32(end))
        other = bounds.copy()  # the nearest number that a float32 actor can distinguish from this one
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
    return text.replace("[", " ").replace("]", " ").split()
