"""Parameters of an environment by dotted path: how to find, change and restore them.

``kwargs.NAME`` is an argument of the environment's constructor. Every other path begins at the unwrapped environment.
It has attributes by name, and entries of arrays and dicts in brackets: by number, or by MuJoCo's name of a body, a
geom, a joint, ....
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, final

import numpy as np

from prunekit.disturbances.randomization import Parameter
from prunekit.errors import InputError

KWARGS = "kwargs"
_SEGMENT = re.compile(r"([A-Za-z][A-Za-z0-9_]*)((?:\[[^\[\]]+\])*)")
_BRACKET = re.compile(r"\[([^\[\]]+)\]")
_MANY, _CLOSEST = 40, 8


@final
@dataclass(frozen=True, kw_only=True)
class Place:
    """A number or an array of numbers in an environment: its value now, and functions that set and restore it."""

    value: float | np.ndarray[Any, Any]
    put: Callable[[Any], None]
    put_back: Callable[[], None]


def place_of(environment: Any, path: str) -> Place:
    """Return the place at ``path`` in the unwrapped ``environment``.

    Raises InputError, naming the path, if it does not exist (listing what does) or is not a number.
    """
    owner: Any = environment
    segments = _segments(path)
    for depth, (name, keys) in enumerate(segments):
        where = ".".join(one for one, _ in segments[:depth]) or type(environment).__name__
        if not hasattr(owner, name):
            raise _unknown(path, f"{where} has no {name}", name, _names(owner))
        if depth < len(segments) - 1:
            owner = getattr(owner, name)
            for key in keys:
                owner = _entry(owner, key, name, owner, path)
            continue
        if keys:
            return _place_in(owner, name, keys, path)
        return _place_of_attribute(owner, name, path)
    raise InputError(f"{path}: is not a path")


def arguments_of(environment: Any, given: Mapping[str, Any]) -> dict[str, float]:
    """Return the numeric arguments of the constructor by name: those ``given``, and the defaults of all others."""
    found: dict[str, Any] = {}
    for kind in reversed(type(environment).__mro__):
        constructor = vars(kind).get("__init__")
        if constructor is None or kind is object:
            continue
        for name, parameter in inspect.signature(constructor).parameters.items():
            if parameter.default is not parameter.empty:
                found[name] = parameter.default
    found.update(given)
    return {name: value for name, value in found.items() if _is_number(value)}


def require_argument(path: str, known: Mapping[str, float]) -> None:
    """Raise InputError, listing the arguments, unless ``path`` names one of ``known``."""
    name = path.removeprefix(f"{KWARGS}.")
    if name not in known:
        raise _unknown(path, f"the environment's constructor has no number {name}", name, list(known))


def wanted(now: float | np.ndarray[Any, Any], parameter: Parameter, share: float) -> Any:
    """Return the new value in place of ``now``: the value of ``parameter`` at ``share``, times ``now`` if it is
    relative.

    All entries of an array are multiplied by the same factor. Raises InputError for one number in place of several.
    """
    if isinstance(now, np.ndarray):
        if not parameter.relative and now.size != 1:
            path = parameter.path
            raise InputError(
                f"{path}: has {now.size} values; name one of them, as in {path}[0], or write relative = true"
            )
        drawn = parameter.value(share, now.flat[0])
        values = now * drawn if parameter.relative else np.full(now.shape, drawn)
        return np.rint(values).astype(now.dtype) if np.issubdtype(now.dtype, np.integer) else values.astype(now.dtype)
    drawn = parameter.value(share, now)
    return now * drawn if parameter.relative else drawn


def _segments(path: str) -> list[tuple[str, list[str]]]:
    found = []
    position = 0
    while position < len(path):
        match = _SEGMENT.match(path, position)
        if match is None or (match.end() < len(path) and path[match.end()] != "."):
            break
        found.append((match[1], _BRACKET.findall(match[2])))
        position = match.end() + 1
    if not found or position != len(path) + 1:
        raise InputError(
            f"{path}: is not a path of names; write it as in length, model.opt.gravity[2] or kwargs.gravity"
        )
    return found


def _place_of_attribute(owner: Any, name: str, path: str) -> Place:
    value = getattr(owner, name)
    if isinstance(value, np.ndarray) and _is_numbers(value):
        if not value.flags.writeable:
            raise InputError(f"{path}: cannot be changed")
        before = value.copy()
        return Place(value=before, put=lambda new: np.copyto(value, new), put_back=lambda: np.copyto(value, before))
    if not _is_number(value):
        raise InputError(f"{path}: is {_sort(value)}, but only numbers can be randomized{_deeper(value)}")
    own = name in getattr(owner, "__dict__", {name: None})

    def put_back() -> None:
        if own:
            setattr(owner, name, value)
        elif name in vars(owner):
            delattr(owner, name)

    def put(new: Any) -> None:
        try:
            setattr(owner, name, new)
        except (AttributeError, TypeError, ValueError) as error:
            raise InputError(f"{path}: cannot be changed ({error})") from error

    return Place(value=value, put=put, put_back=put_back)


def _place_in(owner: Any, name: str, keys: list[str], path: str) -> Place:
    holder: Any = getattr(owner, name)
    for key in keys[:-1]:
        holder = _entry(holder, key, name, owner, path)
    value = _entry(holder, keys[-1], name, owner, path)
    if not (_is_number(value) or (isinstance(value, np.ndarray) and _is_numbers(value))):
        raise InputError(f"{path}: is {_sort(value)}, but only numbers can be randomized{_deeper(value)}")
    index = _key(holder, keys[-1], name, owner, path)
    before = value.copy() if isinstance(value, np.ndarray) else value

    def put(new: Any) -> None:
        try:
            holder[index] = new
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}: cannot be changed ({error})") from error

    return Place(value=before, put=put, put_back=lambda: put(before))


def _entry(holder: Any, key: str, name: str, owner: Any, path: str) -> Any:
    return holder[_key(holder, key, name, owner, path)]


def _key(holder: Any, key: str, name: str, owner: Any, path: str) -> Any:
    """Return the meaning of ``key`` in brackets for ``holder``, which is the attribute ``name`` of ``owner`` or an
    entry of it.
    """
    if isinstance(holder, Mapping):
        if key not in holder:
            raise _unknown(path, f"{name} has no '{key}'", key, [str(one) for one in holder])
        return key
    if not isinstance(holder, np.ndarray | list) or not len(np.shape(holder)):
        raise InputError(f"{path}: {name} is {_sort(holder)}, which has no entries")
    if not re.fullmatch(r"\d{1,9}", key):
        return _named_entry(holder, key, name, owner, path)
    if int(key) >= len(holder):
        raise InputError(f"{path}: {name} has the entries 0 to {len(holder) - 1}, not {key}")
    return int(key)


def _named_entry(holder: Any, key: str, name: str, owner: Any, path: str) -> int:
    """Return MuJoCo's index of the object ``key``; its kind is the beginning of ``name``."""
    kind = name.partition("_")[0]
    accessor = getattr(owner, "joint" if kind == "dof" else kind, None)
    if not _is_model(owner) or not callable(accessor):
        raise InputError(f"{path}: entries of {name} have no names; give a number from 0 to {len(holder) - 1}")
    try:
        found = accessor(key)
    except KeyError as error:
        names = re.findall(r"'([^']*)'", str(error).partition("Valid names:")[2])
        raise _unknown(path, f"there is no {kind} called '{key}'", key, names) from error
    if kind != "dof":
        return int(found.id)
    if owner.jnt_type[found.id] < 2:
        raise InputError(f"{path}: the joint '{key}' has several degrees of freedom; give the number of one")
    return int(owner.jnt_dofadr[found.id])


def _is_model(owner: Any) -> bool:
    return type(owner).__name__ == "MjModel"


def _names(owner: Any) -> Iterator[str]:
    """Yield the public attributes of ``owner`` that are numbers, or may lead to some."""
    for name in dir(owner):
        value: object = None
        with suppress(Exception):  # a property may raise anything
            value = getattr(owner, name)
        plain = isinstance(value, str | bool | bytes | set | tuple | type(None)) or callable(value)
        numbers = not isinstance(value, np.ndarray) or _is_numbers(value)
        if not plain and numbers and not name.startswith("_") and not _is_of_gymnasium(name, value):
            yield name


def _is_of_gymnasium(name: str, value: object) -> bool:
    """Return whether it is an attribute that every environment has."""
    kept = ("gymnasium.spaces", "gymnasium.envs.registration", "numpy.random")
    return name == "unwrapped" or type(value).__module__.startswith(kept)


def _unknown(path: str, told: str, name: str, there: Iterable[str]) -> InputError:
    known = sorted(set(there))
    near = get_close_matches(name, known, _CLOSEST, 0.5)
    if len(known) > _MANY:
        shown = near or known[:_CLOSEST]
        return InputError(f"{path}: {told}; the closest of {len(known)} are {', '.join(shown)}")
    meant = f" did you mean {near[0]}?" if near else ""
    return InputError(f"{path}: {told};{meant} there are {', '.join(known) or 'none'}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _is_numbers(value: np.ndarray[Any, Any]) -> bool:
    return bool(np.issubdtype(value.dtype, np.number)) and value.size > 0


def _sort(value: object) -> str:
    return "true or false" if isinstance(value, bool) else f"of type {type(value).__name__}"


def _deeper(value: object) -> str:
    if isinstance(value, Mapping):
        return f"; it has the entries {', '.join(str(key) for key in list(value)[:_MANY])}"
    return ""
