"""Checks that arguments of functions are numbers."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real

from prunekit.errors import InputError


def require_numbers(
    *,
    real: Mapping[str, object] | None = None,
    whole: Mapping[str, object] | None = None,
    real_or_none: Mapping[str, object] | None = None,
    whole_or_none: Mapping[str, object] | None = None,
) -> None:
    """Raise InputError, naming the parameter, unless all values are numbers, whole ones, or None where it is allowed.

    >>> require_numbers(real={"minutes": 2}, whole_or_none={"steps": None})
    """
    for values, kind, word, optional in (
        (real, Real, "a number", False),
        (real_or_none, Real, "a number", True),
        (whole, Integral, "a whole number", False),
        (whole_or_none, Integral, "a whole number", True),
    ):
        for name, value in (values or {}).items():
            if (value is None and optional) or (isinstance(value, kind) and not isinstance(value, bool)):
                continue
            raise InputError(f"`{name}` is {word}{' or None' if optional else ''}, not {type(value).__name__}")
