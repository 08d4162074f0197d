"""The search: it chooses which branch goes on next, until nothing is worth it or the certificate needs the rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import final

from prunekit.compression.branch import Branch, Phase, Round, RoundSettings, aim_of, branch_of_copies, retarget
from prunekit.compression.budget import Budget
from prunekit.compression.candidates import Baseline, Candidate, CandidateSummary
from prunekit.compression.copies import copy_of
from prunekit.compression.opened import OpenBranch, RunningRound
from prunekit.compression.planning import Pace, Plan
from prunekit.compression.settings import CompressSettings
from prunekit.compression.sizes import parameters_of
from prunekit.compression.student import ImitationDataset, Scale
from prunekit.compression.workers import WorkerPool
from prunekit.stats.clipping import ReturnRange

# With a budget of steps, this number of branches goes on at a time, however many workers there are.
_TOGETHER = 2
# The shares of the whole budget that the search takes: at most, while nothing is good yet, and at least.
_MAX_SEARCH, _MIN_SEARCH = 0.85, 0.4
# The share of the budget that certificates get at least; and how much slower a machine is assumed to become at most.
_MIN_RESERVED, _MAX_BUSIER = 0.05, 4.0
# By how much more is planned for if other programs take the whole machine: what they take changes.
_UNSURE = 2.0
# The chance that an untried size becomes good. Of a size that was tried, the chance is the square of how near its best
# retention is to what is enough: 0 at _NOTHING, but no less than _MIN_NEAR, as one round may bring a great deal. Every
# round without improvement multiplies it by _TIRED.
_UNTRIED, _NOTHING, _MIN_NEAR, _TIRED = 0.5, 0.3, 0.3, 0.85
# A smaller size has to be smaller by this share of its parameters.
_WORTH = 0.05


@final
class Search:
    """A search for small networks. ``go`` finds at least one, unless the environment fails under all.

    ``candidates`` are the networks judged so far.
    """

    def __init__(
        self,
        pool: WorkerPool,
        settings: CompressSettings,
        baseline: Baseline,
        clip_range: ReturnRange,
        budget: Budget,
        pace: Pace,
        show: Callable[[Sequence[CandidateSummary]], object] = len,
    ) -> None:
        self._pool, self._search, self._baseline, self._clip_range = pool, settings.search, baseline, clip_range
        self._budget, self._show = budget, show
        self._plan = Plan(
            budget=budget,
            pace=pace,
            keep=settings.search.keep,
            clip_range=clip_range,
            episodes=settings.episodes,
            confirming=settings.search.confirmation_episodes,
            max_failures=settings.max_failures,
        )
        self._share = pool.core_share
        self.candidates: list[Candidate] = []
        self.opened: list[OpenBranch] = []
        self._found: dict[str, Round] = {}
        self._known_reserve: float | None = None

    def go(self) -> None:
        """Search until nothing more is worth trying, or only what certificates need is left.

        Raises FailedEpisodeError where the environment fails under the teacher.
        """
        self._open()
        self._launch(self._safest, in_any_case=True)
        self._go_on()

    def go_on(self, reserve: float) -> None:
        """Search until nothing more is worth trying, or only ``reserve`` of the budget is left."""
        self._known_reserve = reserve
        self._go_on()

    @property
    def plan(self) -> Plan:
        """How certificates are planned, at the present pace."""
        return replace(self._plan, pace=self._plan.pace.slowed(self._busier))

    @property
    def promises(self) -> bool:
        """Whether some branch is still worth going on with."""
        return any(self._promise(opened) > 0.0 for opened in self.opened)

    @property
    def failures(self) -> list[str]:
        """The reasons for which branches ended early."""
        return [opened.branch.failure for opened in self.opened if opened.branch.failure]

    def _go_on(self) -> None:
        is_first = True
        while True:
            if not self._is_over() and (not self._running or is_first or not self._budget.by_steps):
                self._launch_all()
            is_first = False
            if not self._running:
                return
            self._pool.wait()
            if not self._budget.by_steps:
                self._take_all()
                if self._is_over() and self.candidates:
                    self._cancel_all()
            elif len(self._found) == self._running:
                self._take_all()

    @property
    def _running(self) -> int:
        """How many rounds workers play now."""
        return sum(len(opened.rounds) for opened in self.opened)

    def _open(self) -> None:
        """Have the teacher show what it does, once for all branches."""
        search = self._search
        spaces = self._pool.worker.runner.spaces
        first = search.first_seed
        dataset = ImitationDataset(self._pool.worker.teacher)
        for observations in self._pool.demonstrations(range(first, first + search.teacher_episodes)):
            dataset.add(observations)
        scale = Scale.of(dataset, spaces)
        for number, start in enumerate(search.starts):
            self.opened.append(
                OpenBranch(branch=Branch(start=start, number=number, scale=scale, dataset=dataset, target=start))
            )
        copied = copy_of(self._pool.worker.teacher, dataset, scale, search.seed) if search.copies else None
        if copied is not None:
            self.opened.append(OpenBranch(branch=branch_of_copies(copied, len(search.starts), dataset)))

    @property
    def _safest(self) -> OpenBranch:
        """The branch that is likely to be good first: that of copies, or that of the largest start."""
        return self.opened[-1] if self.opened[-1].branch.copies else self.opened[0]

    def _launch_all(self) -> None:
        slots = _TOGETHER if self._budget.by_steps else self._pool.slots
        for _ in range(slots - self._running):
            waiting = [one for one in self.opened if not one.rounds and self._fits(one.next_tuning_steps(self._search))]
            if (best := _best_of(waiting, self._promise)) is not None:
                self._launch(best)
                continue
            judging = [one for one in self.opened if one.may_tune_ahead and self._fits(self._search.tuning_steps)]
            if (best := _best_of(judging, self._worth)) is None:
                return
            self._launch(best, ahead=True)

    def _launch(self, opened: OpenBranch, *, ahead: bool = False, in_any_case: bool = False) -> None:
        seconds = None
        if not self._budget.by_steps:
            seconds = max(self._budget.left - self._reserved(), 0.01)
        settings = RoundSettings(
            search=self._search,
            baseline=self._baseline,
            clip_range=self._clip_range,
            max_parameters=self._smallest / (1.0 + _WORTH),
            in_any_case=in_any_case,
            anything_good=self._smallest < math.inf,
            ahead=ahead,
        )
        running = RunningRound(
            job=self._pool.submit_round(opened.branch, settings, self._found.__setitem__, seconds),
            began=self._budget.spent(),
        )
        if ahead:
            opened.ahead = running
        else:
            opened.running = running

    def _cancel_all(self) -> None:
        for opened in self.opened:
            for running in opened.stop():
                self._pool.cancel(running.job)

    def _take_all(self) -> None:
        """Take in the rounds that are over, in the order of the branches, so that timing does not matter."""
        for opened in self.opened:
            for running in opened.rounds:
                found = self._found.pop(running.job, None)
                if found is not None:
                    self._take(opened, running, found)
            in_vain = opened.join()
            if in_vain is not None:
                self._pool.cancel(in_vain.job)

    def _take(self, opened: OpenBranch, running: RunningRound, found: Round) -> None:
        self._pool.steps += found.steps
        if running is opened.ahead:
            opened.take_ahead(found)
        else:
            opened.take(found, found.steps if self._budget.by_steps else self._budget.spent() - running.began)
        self.candidates += found.candidates
        if found.failed is not None:
            self.candidates = [
                replace(one, failure=found.branch.failure, good=False) if one.hidden == found.failed else one
                for one in self.candidates
            ]
        if found.candidates:
            self._show([candidate.summary for candidate in self.candidates])

    @property
    def _smallest(self) -> float:
        """The parameters of the smallest good network; infinity where there is none."""
        return min((one.parameters for one in self.candidates if one.good), default=math.inf)

    def _promise(self, opened: OpenBranch) -> float:
        """Return what the next round of ``opened`` is worth; it aims at a smaller size if its own no longer helps."""
        branch, spaces = opened.branch, self._pool.worker.runner.spaces
        is_large = self._parameters_of_aim(branch) * (1.0 + _WORTH) > self._smallest
        if branch.good is not None and not branch.failure and not self._at_stake(branch) and is_large:
            retarget(branch, spaces.outputs, spaces.observation, self._smallest / (1.0 + _WORTH))
        return self._worth(opened)

    def _worth(self, opened: OpenBranch) -> float:
        """Return how much smaller ``opened`` should make the smallest network: log of parameters per second or step."""
        branch = opened.branch
        if branch.phase is Phase.DONE:
            return 0.0
        target, at_stake, chance = self._parameters_of_aim(branch), self._at_stake(branch), self._chance(branch)
        if self._smallest == math.inf:  # something that is safely good is wanted first
            gain = 1.0 if opened is self._safest else 0.25
            chance = max(chance, _UNTRIED) if opened is self._safest else chance
        else:
            gain = max(math.log(self._smallest / target), at_stake)
            if gain < _WORTH:
                return 0.0
        cost = opened.cost or max((other.cost for other in self.opened), default=0.0) or 1.0
        return gain * chance / cost

    def _parameters_of_aim(self, branch: Branch) -> int:
        spaces = self._pool.worker.runner.spaces
        return parameters_of(aim_of(branch), spaces.observation, spaces.outputs)

    def _at_stake(self, branch: Branch) -> float:
        """Return how much larger the next good network is, as a logarithm, if ``branch`` is tuning the smallest one."""
        good = branch.good
        if branch.phase is not Phase.TUNE or good is None or good is not branch.best:
            return 0.0
        larger = [one.parameters for one in self.candidates if one.good and one.parameters > good.parameters]
        return math.log(min(larger) / good.parameters) if larger and good.parameters <= self._smallest else 0.0

    def _fits(self, tuning_steps: int) -> bool:
        """Return whether a round of so many ``tuning_steps`` leaves what certificates need.

        Without a budget of steps it does: rounds are cut short then.
        """
        if not self._budget.by_steps:
            return True
        running = sum(opened.tuning_steps(self._search) for opened in self.opened)
        return self._budget.left - self._reserved() >= running + tuning_steps

    def _chance(self, branch: Branch) -> float:
        if branch.reached == -math.inf:
            return _UNTRIED
        enough = self._search.enough
        near = min(max((branch.reached - _NOTHING) / (enough - _NOTHING), _MIN_NEAR), 1.0)
        return near**2 * _TIRED**branch.without_improvement

    def _is_over(self) -> bool:
        return self._budget.left <= self._reserved()

    def _reserved(self) -> float:
        """Return what certificates should take of the budget, at the present pace."""
        if self._known_reserve is not None:
            return self._known_reserve
        total = self._budget.total
        good = [one for one in self.candidates if one.good]
        if not good:
            return (1.0 - _MAX_SEARCH) * total
        unsure = 1.0
        if not self._budget.by_steps:
            unsure += _UNSURE * (1.0 - min(self._pool.recent_core_share, 1.0))
        plan, maximum = self.plan, (1.0 - _MIN_SEARCH) * total
        reserved = replace(plan, pace=plan.pace.slowed(unsure)).reserve(good, maximum)
        return max(reserved, _MIN_RESERVED * total)

    @property
    def _busier(self) -> float:
        """By how much slower the machine is than when the pace was measured: other programs may take more of it."""
        if self._budget.by_steps:
            return 1.0
        share = self._pool.recent_core_share
        return min(max(self._share / max(share, 0.01), 1.0), _MAX_BUSIER)


def _best_of(opened: Sequence[OpenBranch], promise: Callable[[OpenBranch], float]) -> OpenBranch | None:
    """Return the branch of the largest ``promise``, the first of equals; None where none promises anything."""
    promised = [(promise(one), one) for one in opened]
    best = max((value for value, _ in promised), default=0.0)
    return next(one for value, one in promised if value == best) if best > 0.0 else None
