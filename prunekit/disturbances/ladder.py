"""The largest disturbance at which a claim still holds, at the confidence level of a single certificate.

Levels of a disturbance are tested one after the other, in an order that is fixed beforehand, until the first that is
not shown. Every level is tested at the full level alpha. Still, the probability that *anything* said is wrong is at
most alpha, without correction: for an error, the first level in the order whose claim is false must be reached and
shown, and showing it has a probability of at most alpha. Later levels do not matter, levels may share their episodes,
and nothing is assumed about how policies react to more noise: if a policy fails at 0.02 and not at 0.05, the ladder
ends below 0.02. The price is that nothing is known after the first miss. This is a fixed sequence procedure (Maurer,
Hothorn and Lehmacher 1995; Westfall and Krishen 2001).

The argument requires that neither the order nor the policy depends on the tested episodes. A policy that was chosen by
its certificate needs other seeds than that certificate. Its ladder is then a second claim, unless the certificate is
the ladder's own first level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Generic, Protocol, TypeVar, final

from prunekit.disturbances.record import Disturbance
from prunekit.errors import InputError


class Shown(Protocol):
    """The result of a test, such as a certificate."""

    @property
    def certified(self) -> bool:
        """Whether the claim was shown."""


_Found = TypeVar("_Found", bound=Shown)
_FIELDS = {"obs": "observation_noise", "action": "action_noise", "delay": "delay_steps", "drop": "drop"}


@final
@dataclass(frozen=True, kw_only=True)
class Rung(Generic[_Found]):
    """A tested level and its result."""

    disturbance: Disturbance
    found: _Found


def climb(levels: Sequence[Disturbance], test: Callable[[Disturbance], _Found | None]) -> list[Rung[_Found]]:
    """Test ``levels`` in order, each at the full confidence level, until the first that is not shown.

    Returns all tested levels, including the one that was not shown. A level of which ``test`` returns None cannot be
    tested, and ends the ladder too.
    """
    tested: list[Rung[_Found]] = []
    for disturbance in levels:
        found = test(disturbance)
        if found is None:
            break
        tested.append(Rung(disturbance=disturbance, found=found))
        if not tested[-1].found.certified:
            break
    return tested


def largest(rungs: Sequence[Rung[_Found]]) -> Rung[_Found] | None:
    """Return the last level that was shown; None if the first was not."""
    shown = [rung for rung in rungs if rung.found.certified]
    return shown[-1] if shown else None


def levels_named(text: str, base: Disturbance | None = None) -> list[Disturbance]:
    """Return ``base`` with one kind of disturbance at each value in ``text``, such as ``obs=0.01,0.02,0.05``.

    Kinds are obs, action, delay and drop. Raises InputError for another kind, for values out of range, and for values
    that do not increase.
    """
    kind, equals, listed = text.partition("=")
    field = _FIELDS.get(kind.strip())
    if field is None or not equals:
        raise InputError(f"'{text[:60]}' names no levels; write them as in obs=0.01,0.02,0.05 ({', '.join(_FIELDS)})")
    number: type[int | float] = int if field == "delay_steps" else float
    try:
        values: list[Any] = [number(value) for value in listed.split(",")]
    except ValueError:
        raise InputError(
            f"'{text[:60]}' has a level that is not a number; write them as in obs=0.01,0.02,0.05"
        ) from None
    if any(not later > earlier for earlier, later in pairwise(values)):
        raise InputError(f"'{text[:60]}' has levels that do not increase; give the smallest first")
    return [replace(base or Disturbance(), **{field: value}) for value in values]
