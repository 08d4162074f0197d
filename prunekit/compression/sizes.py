"""Sizes of students: how many parameters widths have, and which widths to try next."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

# Of the units of a good network, what the next one has while no size was hopeless yet.
_LESS = 0.5
_LESS_THAN_OTHERS = 0.7
# What is left of a copy in its first round, in units, where half of it would be more.
_SMALL = 64


def parameters_of(hidden: tuple[int, ...], observation: int, outputs: int, *, biases: bool = True) -> int:
    """Return the number of parameters, with ``biases``, of a network with these hidden widths."""
    widths = (observation, *hidden, outputs)
    return sum((before + biases) * after for before, after in pairwise(widths))


def first_units(hidden: tuple[int, ...]) -> int:
    """Return how many units to try first of a copy of a network of these widths.

    That is half of those of a small network, and down to an eighth of those of a large one.
    """
    units = sum(hidden)
    return max(len(hidden), units // 8, min(units // 2, _SMALL))


def next_units(hidden: tuple[int, ...], hopeless: int) -> int | None:
    """Return how many units to try, between those of a good network and a ``hopeless`` number; None where none is.

    That is half of the good ones at first, and the geometric mean of both ends once there is a hopeless one.
    """
    units, minimum = sum(hidden), max(hopeless + 1, len(hidden))
    if not hidden or units <= minimum - 1 or units == len(hidden):
        return None
    wanted = math.sqrt(units * hopeless) if hopeless else _LESS * units
    found = min(max(round(wanted), minimum), units - 1)
    return found if found >= minimum else None


def units_below(hidden: tuple[int, ...], hopeless: int, helps: Callable[[tuple[int, ...]], bool]) -> int | None:
    """Return how many units to try where only widths that ``helps`` says are worth it; None where none are.

    Another branch has found something smaller: this one tries a good deal less, as both would do the same otherwise.
    """
    largest = largest_below(hidden, hopeless, helps)
    return None if largest is None else max(hopeless + 1, len(hidden), round(_LESS_THAN_OTHERS * largest))


def largest_below(hidden: tuple[int, ...], hopeless: int, helps: Callable[[tuple[int, ...]], bool]) -> int | None:
    """Return the largest number of units between those of ``hidden`` and a ``hopeless`` one whose widths ``helps`` says
    are worth it; None where none are.
    """
    minimum = max(hopeless + 1, len(hidden))
    return next((units for units in range(sum(hidden) - 1, minimum - 1, -1) if helps(shrunk(hidden, units))), None)


def shrunk(hidden: tuple[int, ...], units: int) -> tuple[int, ...]:
    """Return about the widths that a network of ``hidden`` has when ``units`` are left of it, one a layer at least."""
    total = sum(hidden)
    widths = [max(1, width * units // total) for width in hidden]
    while sum(widths) < units:  # what rounding took goes to the layers that lost most of their units
        index = min(range(len(hidden)), key=lambda index: widths[index] / hidden[index])
        widths[index] += 1
    return tuple(widths)
