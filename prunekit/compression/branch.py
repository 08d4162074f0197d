"""A branch of the search: students that begin with given widths and get smaller as long as they are good.

A branch goes on in rounds, and is plain data between them. What a round comes to depends only on these data and on the
task, so any worker can play it, also again if another worker died.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
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
    """The state of a branch, which began with the widths ``start``; if it ``copies``, with those of the teacher.

    ``good`` is its smallest good student, of retention ``good_retention``; None before there is one. ``is_safe`` says
    whether any was safely good. ``student`` is what imitation works on, of the widths ``target``. ``taught`` counts its
    rounds that were not good, and ``phases`` those of fine-tuning. ``reached`` is the best retention of that size and
    ``best`` the student that reached it, which the last ``without_improvement`` rounds did not improve.
    ``hopeless_units`` is the largest number of units that was given up; it was tried from a good student of
    ``hopeless_from`` units.

    ``learning`` is the student in fine-tuning, ``tuner`` the saved state of the tuner, and ``is_tuning`` says whether
    that state is of ``learning``. ``unjudged`` are the networks of the last phase, which the next round judges.
    ``guide`` is the pickled actor of a fine-tuned student that now teaches in the teacher's place. ``batches`` and
    ``tuning_steps`` are what it took so far, ``seeds_used`` the episodes that the branch learned from, and ``failure``
    says how the environment failed.
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
    unjudged: tuple[Student, ...] = ()
    phases: int = 0
    batches: int = 0
    tuning_steps: int = 0
    seeds_used: int = 0
    failure: str = ""


@final
@dataclass(frozen=True, kw_only=True)
class RoundSettings:
    """What a round has to know about the search.

    Only networks with fewer than ``max_parameters`` help. With ``in_any_case`` the round teaches and judges its
    network, however long that takes. ``anything_good`` says whether the search has a good network; until it does, no
    fine-tuning is given up. With ``ahead`` the round fine-tunes for another phase, although the networks of the last
    one are not judged yet: ``joined`` brings the two rounds together.
    """

    search: SearchSettings
    baseline: Baseline
    clip_range: ReturnRange
    max_parameters: float = math.inf
    in_any_case: bool = False
    anything_good: bool = True
    ahead: bool = False


@final
@dataclass(frozen=True, kw_only=True)
class Round:
    """What a round came to: the branch after it, the networks that were judged, and the environment steps it took.

    ``tuned_steps`` of the steps were taken by fine-tuning. If ``stopped``, the round was cut short and its branch is
    not to be used. ``failed`` are the widths of a student under which the environment failed in an episode to learn
    from; all networks of these widths then count as failing, as it is not recorded which of them it was.
    """

    branch: Branch
    candidates: tuple[Candidate, ...]
    steps: int
    tuned_steps: int = 0
    stopped: bool = False
    failed: tuple[int, ...] | None = None


def branch_of_copies(copied: Student, number: int, dataset: ImitationDataset) -> Branch:
    """Return the branch that begins with ``copied``, which counts as safely good because it answers as its teacher."""
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
    """Return the seed of the episode that ``branch`` learns from after ``used`` others; only branches share seeds."""
    return FIRST_SEED + SEEDS_PER_SEARCH * settings.seed + 1_000 * (branch + 1) + used


def aim_of(branch: Branch) -> tuple[int, ...]:
    """Return the widths that the branch works on, or those it will work on next if it fine-tunes a good student."""
    if branch.good is not None and branch.good is branch.best:
        units = next_units(branch.good.hidden, branch.hopeless_units)
        return branch.good.hidden if units is None else shrunk(branch.good.hidden, units)
    at_work = branch.learning or branch.student  # which units went decides its widths
    return at_work.hidden if at_work is not None else branch.target or branch.start


def retarget(branch: Branch, outputs: int, observation: int, max_parameters: float) -> None:
    """Choose the next size: between the good and the hopeless one, and with fewer than ``max_parameters``.

    If there is none, the hopeless size is tried again, provided that the good student is now smaller than the one from
    which it was tried before: what a smaller network does is easier to imitate.
    """
    branch.student = branch.best = branch.learning = None
    branch.unjudged = ()
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
    branch.without_improvement, branch.phases, branch.is_tuning, branch.unjudged = 0, 0, False, ()


def joined(judged: Branch, ahead: Branch) -> Branch:
    """Return the branch after two rounds of it: one ``judged`` what was tuned, the other tuned ``ahead`` meanwhile."""
    if ahead.failure:
        return replace(judged, phase=Phase.DONE, failure=ahead.failure)
    return replace(
        judged,
        learning=ahead.learning,
        tuner=ahead.tuner,
        tuning_steps=ahead.tuning_steps,
        unjudged=ahead.unjudged,
    )
