"""Checks of plain values from files, with errors that name the value.

A check takes a dotted name and a value, and raises ``WrongValueError`` if the value is not valid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from textwrap import shorten

from prunekit.errors import PrunekitError

Check = Callable[[str, object], None]


class WrongValueError(PrunekitError):
    """A value in a file is not valid; the message names it."""


def whole(low: int, high: int) -> Check:
    """Return a check for integers from ``low`` to ``high``; True and 1.0 are refused."""

    def check(name: str, value: object) -> None:
        if type(value) is not int or not low <= value <= high:
            raise wrong(name, value, f"an integer from {low} to {high}")

    return check


def number(low: float, high: float) -> Check:
    """Return a check for finite numbers from ``low`` to ``high``; True is refused."""

    def check(name: str, value: object) -> None:
        if type(value) not in (int, float) or not low <= value <= high or not math.isfinite(value):  # type: ignore[operator,arg-type]
            raise wrong(name, value, f"a number from {low:g} to {high:g}")

    return check


def positive(high: float) -> Check:
    """Return a check for finite numbers above 0, at most ``high``."""

    def check(name: str, value: object) -> None:
        number(0.0, high)(name, value)
        if value == 0:
            raise wrong(name, value, f"a number above 0, at most {high:g}")

    return check


def flag(name: str, value: object) -> None:
    """Check that ``value`` is True or False."""
    if type(value) is not bool:
        raise wrong(name, value, "true or false")


def text(name: str, value: object) -> None:
    """Check that ``value`` is text of at most 200 printable characters."""
    if type(value) is not str or not 0 < len(value) <= 200 or not value.isprintable():
        raise wrong(name, value, "a text of 1 to 200 characters that can be printed")


def one_of(*choices: object) -> Check:
    """Return a check for exactly one of ``choices``."""

    def check(name: str, value: object) -> None:
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            known = shorten(", ".join(map(str, choices)), 300, placeholder="...")
            near = get_close_matches(str(value), [choice for choice in choices if isinstance(choice, str)], 1)
            meant = f"; did you mean {near[0]}?" if near and isinstance(value, str) else ""
            raise wrong(name, value, f"one of {known}" if len(choices) > 1 else known, meant)

    return check


def or_none(inner: Check) -> Check:
    """Return a check that accepts None and whatever ``inner`` accepts."""
    return lambda name, value: None if value is None else inner(name, value)


def either(first: Check, second: Check) -> Check:
    """Return a check that accepts what ``first`` or ``second`` accepts; errors are those of ``second``."""

    def check(name: str, value: object) -> None:
        try:
            first(name, value)
        except WrongValueError:
            second(name, value)

    return check


def list_of(inner: Check, maximum: int, minimum: int = 0) -> Check:
    """Return a check for lists of ``minimum`` to ``maximum`` values that ``inner`` accepts."""

    def check(name: str, value: object) -> None:
        if not isinstance(value, list) or not minimum <= len(value) <= maximum:
            raise wrong(name, value, f"a list of {minimum} to {maximum} values")
        for index, entry in enumerate(value):
            inner(f"{name}[{index}]", entry)

    return check


def record(needed: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """Return a check for a mapping with the keys ``needed``, possibly those of ``optional``, and no others."""
    known = {**needed, **(optional or {})}

    def check(name: str, value: object) -> None:
        if not isinstance(value, dict):
            raise wrong(name, value, "an object with keys")
        for key in value:  # before what is missing, which may only be misspelled
            if key not in known:
                keys = shorten(", ".join(map(str, known)), 300, placeholder="...")
                near = get_close_matches(str(key), list(known), 1)
                meant = f"did you mean {near[0]}? The" if near else "the"
                raise WrongValueError(f"{_joined(name, key)} is not known; {meant} keys are {keys or 'none'}")
        for key in needed:
            if key not in value:
                raise WrongValueError(f"{_joined(name, key)} is missing")
        for key, entry in value.items():
            known[key](_joined(name, key), entry)

    return check


def wrong(name: str, value: object, wanted: str, more: str = "") -> WrongValueError:
    """Return an error that says what ``name`` is and must be, followed by ``more``."""
    told: object = (
        type(value).__name__ if isinstance(value, Mapping | Sequence) and not isinstance(value, str) else value
    )
    try:
        shown = shorten(ascii(told), 60, placeholder="...")
    except ValueError:  # an integer of thousands of digits
        shown = "a number of thousands of digits"
    return WrongValueError(f"{name or 'the whole'} must be {wanted}, not {shown}{more}")


def _joined(name: str, key: object) -> str:
    told = ascii(key)[1:-1] if isinstance(key, str) else ascii(key)
    return f"{name}.{shorten(told, 60, placeholder='...')}".lstrip(".")
