"""The pruner: masked training in any torch loop, through the optimizer's own hooks.

Two lines make a training loop a pruning one::

    pruner = Pruner(network, optimizer, total_steps=40_000)
    ...                                     # train as before
    small = shrink(network, pruner.masks)

Hooks do not survive a deepcopy, a pickle or another library's load: make a new Pruner at training start and
give it the old one's ``state_dict``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from prunekit.errors import CheckError, InputError
from prunekit.pruning.attachment import check_twins, parameter_group_of
from prunekit.pruning.groups import find_groups
from prunekit.pruning.guard import ReturnGuard
from prunekit.pruning.importance import Evidence, Scores, normalized
from prunekit.pruning.masks import DeadSlice, check_masks, dead_slices, full_masks, sparsity_of, zero_slices_
from prunekit.pruning.penalties import Pull, protection, scale_free_lambda, unit_size
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.recent import RecentInputs
from prunekit.pruning.removal import remove_below
from prunekit.pruning.schedules import Sparsity

# Enough, at 10% of a group's living units each, to remove 99% of 256 units after the window if need be.
_LATE_CHECKS = 64


def first_tensor(output: object) -> Tensor:
    """Return a network's decision scores [n, k]: its output, or the first of several."""
    if isinstance(output, tuple | list):
        output = output[0]
    if not isinstance(output, Tensor):
        raise InputError(f"the network returns {type(output).__name__}; pass decision= to pick its scores tensor")
    return output


@final
class Pruner:
    """Prunes ``network`` while ``optimizer`` trains it.

    ``total_steps`` counts optimizer steps of the whole training. ``twins`` are networks of the same shape
    (target networks) whose units die together with the online ones. ``observe`` is the module whose input is
    the network's input, where the training loop calls that and not ``network``. ``decision`` picks the scores
    [n, k] from the network's output. ``frozen`` says whether masks are final; it stays False where the steps were too
    few to reach a sparsity. Law 3: a dead unit's parameters are exactly zero after every step.

    Raises InputError where the optimizer does not hold the network's parameters or evaluates closures or where
    ``total_steps`` is below 1, and EmptyGroupError where the threshold leaves a group without ``min_units``.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        total_steps: int,
        plan: PruningPlan | None = None,
        *,
        twins: Sequence[nn.Module] = (),
        observe: nn.Module | None = None,
        decision: Callable[[object], Tensor] = first_tensor,
        guard: ReturnGuard | None = None,
    ) -> None:
        self.plan = plan or PruningPlan()
        self.network, self.optimizer, self.guard = network, optimizer, guard
        if total_steps < 1:
            raise InputError(f"total_steps counts optimizer steps and must be at least 1, got {total_steps}")
        self.total_steps = total_steps
        self.groups = find_groups(network)
        self._twins = tuple(twins)
        self._decision = decision
        self._parameter_group = parameter_group_of(network, optimizer)
        check_twins(self.groups, twins)
        self.plan.check_widths([group.width for group in self.groups])
        self.masks = full_masks(self.groups)
        self.scores: Scores = {}
        self.steps = 0
        self.frozen = not self.groups
        self.lambda_ = 0.0
        self._raw: Scores = {}
        self._streaks = {group.name: torch.zeros(group.width, dtype=torch.int64) for group in self.groups}
        self._deviation: Tensor | None = None
        self._recent = RecentInputs(observe or network, self.plan.states)
        self._recent.listening = not self.frozen
        self._dead: list[DeadSlice] = []
        self._pull: Pull | None = None
        window = (self.plan.phases.end - self.plan.phases.start) * total_steps
        self._interval = max(1, int(window / self.plan.checks + 1e-9))
        tail = (1.0 - self.plan.phases.end) * total_steps
        self._late_interval = max(1, min(self._interval, int(tail / _LATE_CHECKS)))
        self._handles = [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        ]

    @property
    def progress(self) -> float:
        """The share of training done, in [0, 1]."""
        return min(self.steps / self.total_steps, 1.0)

    @property
    def sparsity(self) -> float:
        """The share of hidden units removed so far."""
        return sparsity_of(self.masks)

    @property
    def paused(self) -> bool:
        """Whether the return guard holds pruning back. Past the window's end it no longer may."""
        return self.guard is not None and self.guard.paused and self.progress < self.plan.phases.end

    @property
    def _rate(self) -> float:
        """The learning rate in force; looked up each time, as loading an optimizer's state replaces its groups."""
        return float(self.optimizer.param_groups[self._parameter_group]["lr"])

    @property
    def phase(self) -> str:
        """``dense`` before the pruning window, then ``pruning`` or ``paused``, and ``frozen`` once masks are final."""
        if self.frozen:
            return "frozen"
        if self.progress < self.plan.phases.start:
            return "dense"
        return "paused" if self.paused else "pruning"

    @property
    def penalty_strength(self) -> float:
        """The lambda in force now; 0 outside the pruning phase."""
        return 0.0 if self._pull is None or self.paused else self.lambda_

    def detach(self) -> None:
        """Remove all hooks; masks stay readable, but dead units are no longer held at zero."""
        for handle in self._handles:
            handle.remove()
        self._recent.detach()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a new Pruner of the same plan needs to go on: tensors and plain numbers."""
        return {
            "steps": self.steps,
            "frozen": self.frozen,
            "lambda": self.lambda_,
            "masks": {name: keep.clone() for name, keep in self.masks.items()},
            "scores": {name: score.clone() for name, score in self.scores.items()},
            "raw": {name: score.clone() for name, score in self._raw.items()},
            "streaks": {name: streak.clone() for name, streak in self._streaks.items()},
            "deviation": self._deviation,
            "states": self._recent.batches(),
            "pull": None if self._pull is None else dict(self._pull.weight),
            "guard": None if self.guard is None else self.guard.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state written by ``state_dict`` and zero the dead units of network and twins.

        Raises InputError where the state is of a network with other groups.
        """
        check_masks(self.groups, state["masks"])
        self.steps, self.frozen, self.lambda_ = state["steps"], state["frozen"], state["lambda"]
        self.masks, self.scores = dict(state["masks"]), dict(state["scores"])
        self._raw, self._streaks = dict(state["raw"]), dict(state["streaks"])
        self._deviation = state["deviation"]
        self._recent.replace(state["states"])
        self._recent.listening = not self.frozen
        self._pull = None if state["pull"] is None else Pull(self.network, self.groups, state["pull"])
        if self.guard is not None and state["guard"] is not None:
            self.guard.load_state_dict(state["guard"])
        self._hold_masks()

    def _before_step(self, _: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if any(callable(value) for value in (*args, *kwargs.values())):
            raise InputError("the optimizer's step got a closure, which runs after the pruner's hook; step without one")
        if self._pull is not None and self.plan.penalty.before is not None and not self.paused:
            self.plan.penalty.before(self._pull, self._rate)

    def _after_step(self, *_: object) -> None:
        self.steps += 1
        if self._pull is not None and self.plan.penalty.after is not None and not self.paused:
            self.plan.penalty.after(self._pull, self._rate)
        started = self.progress >= self.plan.phases.start
        interval = self._late_interval if self.progress >= self.plan.phases.end else self._interval
        if started and not self.frozen and self.steps % interval == 0:
            self._check()
        zero_slices_(self._dead)

    def _check(self) -> None:
        self._measure()
        late = self.progress >= self.plan.phases.end
        if late and not isinstance(self.plan.threshold, Sparsity):
            self.frozen = True
        elif not self.paused:
            patience = 1 if late else self.plan.patience
            growth = self.plan.phases.growth(self.progress)
            self.masks, self._streaks = remove_below(
                self.plan, growth, patience, self.scores, self.masks, self._streaks
            )
            self._hold_masks()
            self.frozen = self._reached()
        if self.frozen:
            self._recent.replace([])
            self._recent.listening = False
        if self.frozen or late:
            self._pull = None
        else:
            self._renew_pull()

    def _reached(self) -> bool:
        threshold = self.plan.threshold
        if not isinstance(threshold, Sparsity):
            return False
        keeps = torch.cat(list(self.masks.values()))
        return int((~keeps).sum()) >= threshold.removals(keeps.numel())

    def _measure(self) -> None:
        if not len(self._recent):
            raise InputError("the pruner saw no inputs; pass observe= the module that the training loop calls")
        states = self._recent.latest()
        training = [module for module in self.network.modules() if module.training]
        self._recent.listening = False
        self.network.eval()  # dropout would add noise, and batch statistics would take these states in twice
        try:
            self._measure_on(states)
        finally:
            self._recent.listening = True
            for module in training:
                module.training = True

    def _measure_on(self, states: Tensor) -> None:
        with torch.no_grad():
            deviation = self._decision(self.network(states)).double().std(dim=0, unbiased=False).clamp_min(1e-8)
        previous, memory = self._deviation, self.plan.memory
        self._deviation = deviation if previous is None else memory * previous + (1 - memory) * deviation
        fresh = self.plan.importance(Evidence(self.network, self.groups, states, self._decision, self._deviation))
        for name, score in fresh.items():
            if not bool(score.isfinite().all()):
                raise CheckError(f"the importance of group '{name}' is not finite at optimizer step {self.steps}")
            old = self._raw.get(name)
            self._raw[name] = score.double() if old is None else memory * old + (1 - memory) * score.double()
        for name, score in normalized(self._raw, self.masks).items():
            keep = self.masks[name].to(score.device)
            self.scores[name] = torch.where(keep, score, self.scores.get(name, score))

    def _renew_pull(self) -> None:
        rate = self._rate
        if self.lambda_ == 0.0 and rate > 0.0:  # a warm-up may begin at rate 0, where no lambda has an effect
            updates = int((self.plan.phases.end - self.plan.phases.start) * self.total_steps)
            self.lambda_ = scale_free_lambda(self.network, self.groups, self.plan.strength, rate, updates)
        alpha = protection(self.scores, self.masks)
        weight = {
            group.name: self.lambda_ * alpha[group.name] * unit_size(self.network, group) ** 0.5
            for group in self.groups
        }
        self._pull = Pull(self.network, self.groups, weight)

    def _hold_masks(self) -> None:
        networks = (self.network, *self._twins)
        self._dead = [found for network in networks for found in dead_slices(network, self.groups, self.masks)]
        zero_slices_(self._dead)
