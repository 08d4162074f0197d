"""What all rounds share: how students play and are judged, and how the next size is chosen."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import final

from prunekit.compression.branch import Branch, RoundSettings, retarget, seed_of
from prunekit.compression.candidates import Candidate, episodes_wanted
from prunekit.compression.judging import FreshEpisodes, judged, judged_again
from prunekit.compression.planning import ALPHAS
from prunekit.compression.playing import deployed
from prunekit.compression.sizes import parameters_of
from prunekit.compression.student import Student
from prunekit.compression.task import Worker
from prunekit.compression.teacher import Teacher, teacher_of_actor
from prunekit.errors import FailedEpisodeError
from prunekit.policy.actor import Actor
from prunekit.policy.program import Float32

# A good network is safe if a certificate should take at most so many episodes.
_MAX_WANTED = 250


@final
class RoundContext:
    """The worker, the branch and the settings of one round, and what the round comes to.

    ``candidates`` are the networks that were judged, and ``tuned_steps`` the environment steps of fine-tuning.
    ``failed`` are the widths of a student under which the environment failed in an episode to learn from.
    ``stopped()`` says whether learning has to end now.
    """

    def __init__(self, worker: Worker, branch: Branch, settings: RoundSettings) -> None:
        self.worker, self.branch, self.round = worker, branch, settings
        self.settings, self.spaces = settings.search, worker.runner.spaces
        self.stopped: Callable[[], bool] = (lambda: False) if settings.in_any_case else worker.runner.stopped
        self._over = worker.runner.stopped
        if settings.in_any_case:
            worker.runner.stopped = lambda: False
        self.candidates: list[Candidate] = []
        self.tuned_steps = 0
        self.failed: tuple[int, ...] | None = None
        branch.dataset.taught_by(self.guide() or worker.teacher)

    def judge(
        self,
        student: Student,
        seen: Callable[[Float32], object] = len,
        *,
        best: float = -math.inf,
        tuned: bool = False,
    ) -> Candidate:
        """Have ``student`` play the selection's episodes, and return it as a candidate; arguments as in ``judged``."""
        actor, branch, given = student.actor, self.branch, self.round
        over = self._over if given.in_any_case else lambda: False
        policy, runner = deployed(actor, self.spaces), self.worker.runner
        found = judged(policy, runner, given.search, given.baseline, given.clip_range, best=best, seen=seen, over=over)
        count = given.search.fresh_episodes
        if found.good and count and given.anything_good and student.parameters < given.max_parameters:
            fresh = FreshEpisodes(seeds=self._seeds(count), teacher=self.worker.teacher_plays)
            found = judged_again(found, policy, runner, given.search, given.baseline, fresh)
        self.candidates.append(
            Candidate(
                actor=actor,
                hidden=student.hidden,
                parameters=student.parameters,
                played=found.played,
                retention=found.retention,
                good=found.good,
                tuned=tuned or branch.guide is not None,
                batches=branch.batches,
                tuning_steps=branch.tuning_steps,
            )
        )
        return self.candidates[-1]

    def is_safe(self, candidate: Candidate) -> bool:
        """Return whether ``candidate`` is so good that to fine-tune it further would take longer than it can save."""
        given, settings = self.round, self.settings
        if not candidate.good or candidate.retention >= settings.safe:
            return candidate.good
        wanted = episodes_wanted(candidate.played, settings.keep, given.clip_range, ALPHAS[0], cautious=False)
        return wanted <= _MAX_WANTED

    def own_episodes(self, student: Student, count: int) -> list[Float32]:
        """Return the observations of ``student`` in the next ``count`` episodes to learn from, [steps, obs] each.

        Raises FailedEpisodeError.
        """
        act = deployed(student.actor, self.spaces)
        try:
            return [one.observations for one in self.worker.runner.play_all(act, self._seeds(count))]
        except FailedEpisodeError:
            self.failed = student.hidden
            raise

    def guide(self) -> Teacher | None:
        """Return the fine-tuned student that teaches in the teacher's place; None if there is none."""
        if self.branch.guide is None:
            return None
        actor = pickle.loads(self.branch.guide)  # of this program's own worker
        assert isinstance(actor, Actor)
        return teacher_of_actor(actor, "a tuned student", self.spaces)

    def give_up(self) -> None:
        """Record that the size in work is hopeless, and choose the next one."""
        branch = self.branch
        units = sum(branch.target or branch.start)
        if units >= branch.hopeless_units:
            branch.hopeless_units = units
            branch.hopeless_from = 0 if branch.good is None else sum(branch.good.hidden)
        self.next_target()

    def counted(self, hidden: tuple[int, ...]) -> int:
        """Return how many parameters a student of these widths has."""
        return parameters_of(hidden, self.spaces.observation, self.spaces.outputs)

    def next_target(self) -> None:
        """Choose the size to work on next; the branch is done if there is none."""
        retarget(self.branch, self.spaces.outputs, self.spaces.observation, self.round.max_parameters)

    def _seeds(self, count: int) -> range:
        first = seed_of(self.settings, self.branch.number, self.branch.seeds_used)
        self.branch.seeds_used += count
        return range(first, first + count)
