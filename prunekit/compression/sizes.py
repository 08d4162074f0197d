"""Sizes of students: the number of parameters of given widths, and which widths to try next."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

# The share of a good network's units that the next one has, while no size was hopeless.
_LESS = 0.5
_LESS_THAN_OTHERS = 0.7
# At most so many units of a copy are left in its first round.
_SMALL = 64


def parameters_of(hidden: tuple[int, ...], observation: int, outputs: int, *, biases: bool = True) -> int:
    """Return the number of parameters of a network with these ``hidden`` widths, with or without ``biases``."""
    widths = (observation, *hidden, outputs)
    return sum((before + biases) * after for before, after in pairwise(widths))


def first_units(hidden: tuple[int, ...]) -> int:
    """Return how many units a copy of a network with these ``hidden`` widths has in its first round.

    That is half of the units of a small network, and down to a third of those of a large one.
    """
    units = sum(hidden)
    return max(len(hidden), units // 3, min(units // 2, _SMALL))


def next_units(hidden: tuple[int, ...], hopeless: int) -> int | None:
    """Return how many units to try after a good network with these ``hidden`` widths; None if there is no such number.

    That is half of its units at first, and once a number was ``hopeless``, the geometric mean of the two.
    """
    units, minimum = sum(hidden), max(hopeless + 1, len(hidden))
    if not hidden or units <= minimum - 1 or units == len(hidden):
        return None
    wanted = math.sqrt(units * hopeless) if hopeless else _LESS * units
    found = min(max(round(wanted), minimum), units - 1)
    return found if found >= minimum else None


def units_below(hidden: tuple[int, ...], hopeless: int, helps: Callable[[tuple[int, ...]], bool]) -> int | None:
    """Return how many units to try if another branch has found a smaller network; None if there is no such number.

    ``helps`` says whether widths would be smaller still. The number is well below the largest that helps, as otherwise
    both branches would try the same sizes.
    """
    largest = largest_below(hidden, hopeless, helps)
    return None if largest is None else max(hopeless + 1, len(hidden), round(_LESS_THAN_OTHERS * largest))


def largest_below(hidden: tuple[int, ...], hopeless: int, helps: Callable[[tuple[int, ...]], bool]) -> int | None:
    """Return the largest number of units between ``hopeless`` and those of ``hidden`` whose widths ``helps`` accepts.

    None if there is no such number.
    """
    minimum = max(hopeless + 1, len(hidden))
    return next((units for units in range(sum(hidden) - 1, minimum - 1, -1) if helps(shrunk(hidden, units))), None)


def shrunk(hidden: tuple[int, ...], units: int) -> tuple[int, ...]:
    """Return ``hidden`` widths reduced in proportion to ``units`` in all, with at least one per layer."""
    total = sum(hidden)
    widths = [max(1, width * units // total) for width in hidden]
    while sum(widths) < units:  # what rounding took goes to the layers that lost most of their units
        index = min(range(len(hidden)), key=lambda index: widths[index] / hidden[index])
        widths[index] += 1
    return tuple(widths)
