"""A branch of the search: students of one start, made smaller as long as they are good, a round at a time.

A branch is plain data between its rounds. What a round comes to depends on that and on the task alone, so that any
worker may play it, and play it again where another one died.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import final

from prunekit.compression.candidates import Baseline, Candidate
from prunekit.compression.settings import FIRST_SEED, SEEDS_PER_SEARCH, SearchSettings
from prunekit.compression.sizes import first_units, next_units, parameters_of, shrunk, units_below
from prunekit.compression.student import ImitationDataset, Scale, Student
from prunekit.stats.clipping import ReturnRange


class Phase(Enum):
    """What a branch does in its next round."""

    START = "start"
    TEACH = "teach"
    SHRINK = "shrink"
    TUNE = "tune"
    DONE = "done"


@final
@dataclass(kw_only=True)
class Branch:
    """Where a branch is: its ``good`` student, if it has one, and the ``student`` of another size that it works on.

    With ``copies`` it began with a copy of the teacher's own network, of which ``start`` are the widths.

    ``reached`` is the best retention of that size, which was ``taught`` so many rounds, by the ``best`` student, for so
    many rounds ``without_improvement``; ``hopeless_units`` is the largest size that was given up, as what was made of a
    good student of ``hopeless_from`` units.
    """

    start: tuple[int, ...]
    number: int
    scale: Scale
    dataset: ImitationDataset
    copies: bool = False
    phase: Phase = Phase.START
    student: Student | None = None
    best: Student | None = None
    reached: float = -math.inf
    without_improvement: int = 0
    taught: int = 0
    good: Student | None = None
    good_retention: float = -math.inf
    target: tuple[int, ...] = ()
    hopeless_units: int = 0
    hopeless_from: int = 0
    is_safe: bool = False
    guide: bytes | None = None
    tuner: bytes | None = None
    learning: Student | None = None
    is_tuning: bool = False
    batches: int = 0
    tuning_steps: int = 0
    seeds_used: int = 0
    failure: str = ""


@final
@dataclass(frozen=True, kw_only=True)
class RoundSettings:
    """What a round has to know of the search: ``max_parameters`` are those that a network must have less of to help.

    ``in_any_case``: the network is taught and judged whatever time that takes. While the search has not
    ``anything_good``, no fine-tuning is given up.
    """

    search: SearchSettings
    baseline: Baseline
    clip_range: ReturnRange
    max_parameters: float = math.inf
    in_any_case: bool = False
    anything_good: bool = True


@final
@dataclass(frozen=True, kw_only=True)
class Round:
    """What a round came to: where the branch is now, the networks judged, the steps taken in the environment, of which
    ``tuned_steps`` were those of fine-tuning.

    ``stopped``: it was not played to its end, and the branch is where it was. Where the environment failed in an
    episode that a network of the widths ``failed`` played to learn, all of these widths fail: which it was is not kept.
    """

    branch: Branch
    candidates: tuple[Candidate, ...]
    steps: int
    tuned_steps: int = 0
    stopped: bool = False
    failed: tuple[int, ...] | None = None


def branch_of_copies(copied: Student, number: int, dataset: ImitationDataset) -> Branch:
    """Return the branch that begins with ``copied``, which is as good as its teacher: nothing has to be shown of it."""
    return Branch(
        start=copied.hidden,
        number=number,
        scale=copied.scale,
        dataset=dataset,
        copies=True,
        phase=Phase.SHRINK,
        good=copied,
        good_retention=1.0,
        is_safe=True,
        target=shrunk(copied.hidden, first_units(copied.hidden)),
    )


def seed_of(settings: SearchSettings, branch: int, used: int) -> int:
    """Return the seed of the next episode that ``branch`` learns from; branches may share seeds, nothing else does."""
    return FIRST_SEED + SEEDS_PER_SEARCH * settings.seed + 1_000 * (branch + 1) + used


def aim_of(branch: Branch) -> tuple[int, ...]:
    """Return the widths that the branch works on, or will next, where it fine-tunes what is good already."""
    if branch.good is not None and branch.good is branch.best:
        units = next_units(branch.good.hidden, branch.hopeless_units)
        return branch.good.hidden if units is None else shrunk(branch.good.hidden, units)
    at_work = branch.learning or branch.student  # which units went decides its widths
    return at_work.hidden if at_work is not None else branch.target or branch.start


def retarget(branch: Branch, outputs: int, observation: int, max_parameters: float) -> None:
    """Choose the size to work on next, between the ``good`` and the hopeless one and below ``max_parameters``.

    Where there is none between, the hopeless one is tried again, if the good one is smaller than that from which it was
    tried before: what a smaller network does is easier to imitate.
    """
    branch.student = branch.best = branch.learning = None
    branch.reached, branch.without_improvement, branch.taught = -math.inf, 0, 0
    branch.target, branch.phase = (), Phase.DONE
    if branch.good is None:
        return
    hidden = branch.good.hidden
    units = next_units(hidden, branch.hopeless_units)
    if units is None and branch.hopeless_from > sum(hidden) > branch.hopeless_units >= len(hidden) > 0:
        units = branch.hopeless_units
        branch.hopeless_units -= 1
    if units is not None and parameters_of(shrunk(hidden, units), observation, outputs) >= max_parameters:
        units = units_below(
            hidden,
            branch.hopeless_units,
            lambda widths: parameters_of(widths, observation, outputs) < max_parameters,
        )
    if units is not None:
        branch.target, branch.phase = shrunk(hidden, units), Phase.SHRINK


def begin_tuning(branch: Branch, student: Student) -> None:
    """Have ``branch`` fine-tune a copy of ``student`` in its next rounds."""
    branch.learning, branch.phase = student.copied(), Phase.TUNE
    branch.without_improvement, branch.is_tuning = 0, False
