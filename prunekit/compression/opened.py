"""An open branch of the search: its state, the rounds of it that workers play now, and what its rounds cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from prunekit.compression.branch import Branch, Phase, Round, joined
from prunekit.compression.settings import SearchSettings


@final
@dataclass(frozen=True, kw_only=True)
class RunningRound:
    """The job of a round, and what of the budget was spent when it began."""

    job: str
    began: float


@final
@dataclass(kw_only=True, eq=False)
class OpenBranch:
    """A branch, its next round if that ``running``, and the phase ``ahead`` of it: fine-tuning while a worker judges.

    ``cost`` is what its latest round took, in seconds or environment steps: a phase of fine-tuning with its judgement.
    """

    branch: Branch
    cost: float = 0.0
    running: RunningRound | None = None
    ahead: RunningRound | None = None
    _tuning_cost: float = 0.0
    _tuned_ahead: Branch | None = None

    @property
    def rounds(self) -> list[RunningRound]:
        """The rounds that workers play now."""
        return [one for one in (self.running, self.ahead) if one is not None]

    @property
    def may_tune_ahead(self) -> bool:
        """Whether fine-tuning can go on while what it came to is judged."""
        judging = self.running is not None and bool(self.branch.unjudged)
        return judging and self.ahead is None and self._tuned_ahead is None

    def take(self, found: Round, cost: float) -> None:
        """Take in the round that was ``running``."""
        self.running = None
        judging = bool(self.branch.unjudged)
        if found.branch.unjudged:
            self._tuning_cost = cost
        else:
            self.cost = cost + (self._tuning_cost if judging else 0.0)
        if not found.stopped:
            self.branch = found.branch

    def take_ahead(self, found: Round) -> None:
        """Take in the phase that was tuned ``ahead``."""
        self.ahead = None
        if not found.stopped:
            self._tuned_ahead = found.branch

    def join(self) -> RunningRound | None:
        """Go on from the phase that was tuned ahead, once the one before it is judged.

        Return the round that is tuned ahead in vain, if there is one: the judgement ended the fine-tuning.
        """
        if self.running is not None:
            return None
        if self.branch.phase is not Phase.TUNE or self.branch.unjudged:
            vain, self.ahead, self._tuned_ahead = self.ahead, None, None
            return vain
        if self._tuned_ahead is not None:
            self.branch, self._tuned_ahead = joined(self.branch, self._tuned_ahead), None
        return None

    def stop(self) -> list[RunningRound]:
        """Give up the rounds that workers play now, and return them."""
        rounds = self.rounds
        self.running = self.ahead = self._tuned_ahead = None
        return rounds

    def tuning_steps(self, search: SearchSettings) -> int:
        """Return the environment steps of fine-tuning in the rounds that workers play now."""
        return (self.next_tuning_steps(search) if self.running else 0) + (search.tuning_steps if self.ahead else 0)

    def next_tuning_steps(self, search: SearchSettings) -> int:
        """Return those of the next round."""
        if self.branch.phase is not Phase.TUNE or self.branch.unjudged:
            return 0
        return search.tuning_steps + (search.tuning_warmup if self.branch.tuner is None else 0)
