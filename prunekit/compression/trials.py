"""The trials of a compression: the first, and another if the search went on with the time that was left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from prunekit.compression.candidates import Candidate
from prunekit.compression.trial import TrialSettings, trial, trial_of_smaller
from prunekit.stats.certificate import Certificate
from prunekit.stats.claim import ALPHA

# Multiples of what the first trial took: what must be left for the search to go on, and what it leaves for another.
_GOING_ON, _AGAIN = 2.5, 1.5
# The share of the whole budget that must be left, too. Later, the sizes that are left to try hardly ever become good.
_MIN_LEFT = 0.5


class ResumableSearch(Protocol):
    """A search that can go on: its ``candidates`` so far, and whether it ``promises`` more, given more time."""

    candidates: list[Candidate]

    @property
    def promises(self) -> bool:
        """Whether there was more to find."""

    def go_on(self, reserve: float) -> None:
        """Search until no more than ``reserve`` of the budget is left."""


def trials(search: ResumableSearch, given: TrialSettings) -> Sequence[tuple[Candidate, Certificate]]:
    """Return the networks that were tested, with their certificates: the smallest certified one last, or the largest.

    Certificates are planned with a reserve. If at least half of the budget is left after one that came early, and the
    search was cut short, the search goes on, and one smaller network is tested.
    """
    budget, before = given.plan.budget, given.plan.budget.spent()
    min_left = _MIN_LEFT * budget.total
    promises = search.promises and given.plan.allows_two and budget.left >= min_left
    tried = trial(search.candidates, given, another_follows=promises)
    took = budget.spent() - before
    chosen, certificate = tried[-1]
    has_level = len(tried) == 1 and certificate.alpha < ALPHA
    if not (promises and certificate.certified and has_level and budget.left >= max(_GOING_ON * took, min_left)):
        return tried
    search.go_on(_AGAIN * took)
    found = trial_of_smaller(chosen, search.candidates, given)
    return [*tried, *found] if found and found[-1][1].certified else [*found, *tried]
