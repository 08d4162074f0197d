"""The search: it chooses which branch goes on next, until nothing is worth it or the certificate needs the rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import final

from prunekit.compression.branch import Branch, Phase, Round, RoundSettings, aim_of, branch_of_copies, retarget
from prunekit.compression.budget import Budget
from prunekit.compression.candidates import Baseline, Candidate, CandidateSummary
from prunekit.compression.copies import copy_of
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
@dataclass(kw_only=True, eq=False)
class _Open:
    """A branch of the search, what its latest round cost, and the job and beginning of the round that runs."""

    branch: Branch
    cost: float = 0.0
    running: str | None = None
    began: float = 0.0


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
        self._pool, self._settings, self._baseline, self._clip_range = pool, settings, baseline, clip_range
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
        self.opened: list[_Open] = []
        self._found: dict[int, Round] = {}
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
            idle = not any(opened.running for opened in self.opened)
            if not self._is_over() and (idle or is_first or not self._budget.by_steps):
                self._launch_all()
            is_first = False
            if not any(opened.running for opened in self.opened):
                return
            self._pool.wait()
            if not self._budget.by_steps:
                self._take_all()
                if self._is_over() and self.candidates:
                    self._cancel_all()
            elif len(self._found) == sum(opened.running is not None for opened in self.opened):
                self._take_all()

    def _open(self) -> None:
        """Have the teacher show what it does, once for all branches."""
        search = self._settings.search
        spaces = self._pool.worker.runner.spaces
        first = search.first_seed
        dataset = ImitationDataset(self._pool.worker.teacher)
        for observations in self._pool.demonstrations(range(first, first + search.teacher_episodes)):
            dataset.add(observations)
        scale = Scale.of(dataset, spaces)
        for number, start in enumerate(search.starts):
            self.opened.append(
                _Open(branch=Branch(start=start, number=number, scale=scale, dataset=dataset, target=start))
            )
        copied = copy_of(self._pool.worker.teacher, dataset, scale, search.seed) if search.copies else None
        if copied is not None:
            self.opened.append(_Open(branch=branch_of_copies(copied, len(search.starts), dataset)))

    @property
    def _safest(self) -> _Open:
        """The branch that is likely to be good first: that of copies, or that of the largest start."""
        return self.opened[-1] if self.opened[-1].branch.copies else self.opened[0]

    def _launch_all(self) -> None:
        running = sum(opened.running is not None for opened in self.opened)
        slots = _TOGETHER if self._budget.by_steps else self._pool.slots
        while running < slots:
            waiting = [opened for opened in self.opened if not opened.running and self._fits(opened)]
            promising = [(self._promise(opened), -opened.branch.number) for opened in waiting]
            best = max(promising, default=(0.0, 0))
            if best[0] <= 0.0:
                return
            self._launch(next(one for one in self.opened if one.branch.number == -best[1]))
            running += 1

    def _launch(self, opened: _Open, *, in_any_case: bool = False) -> None:
        seconds = None
        if not self._budget.by_steps:
            seconds = max(self._budget.left - self._reserved(), 0.01)
        settings = RoundSettings(
            search=self._settings.search,
            baseline=self._baseline,
            clip_range=self._clip_range,
            max_parameters=self._smallest / (1.0 + _WORTH),
            in_any_case=in_any_case,
            anything_good=self._smallest < math.inf,
        )
        opened.began = self._budget.spent()
        opened.running = self._pool.submit_round(
            opened.branch, settings, lambda found: self._found.update({opened.branch.number: found}), seconds
        )

    def _cancel_all(self) -> None:
        for opened in self.opened:
            if opened.running is not None:
                self._pool.cancel(opened.running)
                opened.running = None

    def _take_all(self) -> None:
        """Take in the rounds that are over, in the order of the branches, so that timing does not matter."""
        for opened in self.opened:
            found = self._found.pop(opened.branch.number, None)
            if found is not None:
                self._take(opened, found)

    def _take(self, opened: _Open, found: Round) -> None:
        opened.running = None
        self._pool.steps += found.steps
        opened.cost = float(found.steps) if self._budget.by_steps else self._budget.spent() - opened.began
        if not found.stopped:
            opened.branch = found.branch
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

    def _promise(self, opened: _Open) -> float:
        """Return how much smaller ``opened`` should make the smallest network: log of parameters per second or step."""
        branch = opened.branch
        spaces = self._pool.worker.runner.spaces
        target = parameters_of(aim_of(branch), spaces.observation, spaces.outputs)
        at_stake = self._at_stake(branch)
        if branch.good is not None and not branch.failure and not at_stake and target * (1.0 + _WORTH) > self._smallest:
            retarget(branch, spaces.outputs, spaces.observation, self._smallest / (1.0 + _WORTH))
            target = parameters_of(aim_of(branch), spaces.observation, spaces.outputs)
        if branch.phase is Phase.DONE:
            return 0.0
        chance = self._chance(branch)
        if self._smallest == math.inf:  # something that is safely good is wanted first
            gain = 1.0 if opened is self._safest else 0.25
            chance = max(chance, _UNTRIED) if opened is self._safest else chance
        else:
            gain = max(math.log(self._smallest / target), at_stake)
            if gain < _WORTH:
                return 0.0
        cost = opened.cost or max((other.cost for other in self.opened), default=0.0) or 1.0
        return gain * chance / cost

    def _at_stake(self, branch: Branch) -> float:
        """Return how much larger the next good network is, as a logarithm, if ``branch`` is tuning the smallest one."""
        good = branch.good
        if branch.phase is not Phase.TUNE or good is None or good is not branch.best:
            return 0.0
        larger = [one.parameters for one in self.candidates if one.good and one.parameters > good.parameters]
        return math.log(min(larger) / good.parameters) if larger and good.parameters <= self._smallest else 0.0

    def _fits(self, opened: _Open) -> bool:
        """Return whether a round of ``opened`` leaves what certificates need; by steps, no round is cut short."""
        if not self._budget.by_steps:
            return True
        rounds = [opened, *(one for one in self.opened if one.running is not None)]
        return self._budget.left - self._reserved() >= sum(self._steps_of_tuning(one.branch) for one in rounds)

    def _steps_of_tuning(self, branch: Branch) -> int:
        if branch.phase is not Phase.TUNE:
            return 0
        search = self._settings.search
        return search.tuning_steps + (search.tuning_warmup if branch.tuner is None else 0)

    def _chance(self, branch: Branch) -> float:
        if branch.reached == -math.inf:
            return _UNTRIED
        enough = self._settings.search.enough
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
