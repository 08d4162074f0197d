"""Checks of a model file's provenance: plain data, and widths that fit the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from prunekit.errors import InputError

_MAX_WIDTH = 2**24


def require_plain(value: object) -> None:
    """Raise InputError unless the size-limited data ``value`` can be stored as JSON."""
    if isinstance(value, dict):
        for key, entry in value.items():
            if type(key) is not str:
                raise InputError(f"its provenance has the key {str(key)[:60]!r}, which is not a string")
            require_plain(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            require_plain(entry)
    elif not (value is None or isinstance(value, str | bool | int) or (type(value) is float and isfinite(value))):
        raise InputError(
            f"its provenance holds {type(value).__name__} {str(value)[:60]!r}, which is not plain JSON data"
        )


def require_original(provenance: Mapping[str, Any], hidden: Sequence[int]) -> None:
    """Raise InputError if the widths before pruning, which ``shrink`` reports, cannot have become ``hidden``."""
    told = provenance.get("original_hidden", hidden)
    widths = told if isinstance(told, list | tuple) and len(told) == len(hidden) else [None]
    known = all(type(one) is int and now <= one <= _MAX_WIDTH for one, now in zip(widths, hidden, strict=False))
    if len(widths) != len(hidden) or not known:
        raise InputError(f"its provenance says that its hidden widths were {str(told)[:60]!r}, but they are {hidden}")
