"""The pruner: masked training in any torch loop, through the optimizer's own hooks.

Two lines make a training loop a pruning one::

    pruner = Pruner(network, optimizer, total_steps=40_000)
    ...                                     # train as before
    small = shrink(network, pruner.masks)

Hooks do not survive a deepcopy, a pickle or another library's load: make a new Pruner at training start and
give it the old one's ``state_dict``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from prunekit.errors import InputError
from prunekit.pruning.attachment import parameter_group_of
from prunekit.pruning.due import due_units
from prunekit.pruning.forward_pass import Taken
from prunekit.pruning.groups import state_units
from prunekit.pruning.guard import ReturnGuard
from prunekit.pruning.importance import UnitImportance
from prunekit.pruning.importance_tracker import ImportanceTracker
from prunekit.pruning.masks import sparsity_of
from prunekit.pruning.penalties import PenaltyWeights, median_norm, protection, scale_free_lambda
from prunekit.pruning.physical import refuse_replacing
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.recent import RecentInputs, living_states
from prunekit.pruning.reconstruction import reconstruction_of
from prunekit.pruning.removal import Removal, trust_region_of
from prunekit.pruning.schedules import Clock, Sparsity, growth
from prunekit.pruning.slices import Group
from prunekit.pruning.timetable import Timetable
from prunekit.pruning.trust_region import Divergence
from prunekit.pruning.units import Units

# The share of dead units at which they are removed physically; removals are bundled, because new shapes cost time.
_WORTH_REMOVING = 0.05
_STATES_STAY = (
    "a network with states cannot lose units while it trains, because the loop holds states of its width; train with "
    "live_shrink=False, and shrink(network, pruner.masks, states=...) at the end"
)


def first_tensor(output: object) -> Tensor:
    """Return a network's outputs [n, k]: what it returns, or the first of several."""
    if isinstance(output, tuple | list):
        output = output[0]
    if not isinstance(output, Tensor):
        raise InputError(f"the network returns {type(output).__name__}; pass `output_of` to pick its outputs")
    return output


@final
class Pruner:
    """Prunes ``network`` while ``optimizer`` trains it.

    ``total_steps`` is the number of optimizer steps of the whole training. ``twins`` are the target networks of
    ``network``, which have its shape; their units die together with those of ``network``. ``observe`` is the module
    that the training loop calls with observations, if it is not ``network``. ``output_of`` picks the outputs [n, k]
    from what the network returns. ``frozen`` is True when masks are final; it stays False if there were too few steps
    to reach the sparsity. A dead unit's parameters are exactly zero after every step.

    ``live_shrink`` removes dead units physically during training, from network, target networks and the optimizer's
    state, so that training gets cheaper. The weights are those of training with masks, up to rounding (which
    ``plan.reconstruction`` amplifies). Parameters are replaced by smaller ones, so a loop must ask modules for their
    parameters and keep no list of them. Groups named together in ``equal_widths`` stay equally wide: the narrower
    groups keep some of their dead units, at zero. ``on_shrink`` is called after every removal.

    The last ``states`` inputs of the network's forward are states (of a ``nn.GRUCell``, say), which the network returns
    for the next call after its outputs; the loop calls it step by step. A unit's importance is then its effect on the
    outputs of one step, directly and through the state that the step began with. ``live_shrink`` is refused for such
    networks; ``shrink`` makes them smaller at the end.

    ``plan.max_divergence`` needs ``divergence``: a function of the outputs before and after a removal, [n, k] each,
    that returns how far the two are apart, [n]. ``distribution_of`` picks these outputs, if ``output_of`` picks others.
    For Gaussian actions with the standard deviations ``std`` it is the KL divergence::

        divergence=lambda before, after: ((after - before) / std).square().sum(dim=1) / 2

    ``plan.reconstruction`` keeps these outputs, and no others: a network with several heads, of which all must be kept,
    needs a ``distribution_of`` that joins them. It calls the network under ``torch.func``, its forward hooks included.

    ``keep`` has one bool [original width] per group, and ``masks`` one bool per unit that the network still has.

    Raises CouplingError for networks that cannot be traced, InputError where parameters are not all float32 or all
    float64, where the optimizer does not hold them or evaluates closures, where ``total_steps`` is below 1, where
    ``plan.max_divergence`` has no ``divergence``, or where ``torch.func`` cannot differentiate a network that
    ``plan.reconstruction`` is for; and EmptyGroupError where the threshold leaves a group without ``min_units``.
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
        output_of: Callable[[object], Tensor] = first_tensor,
        decision: Callable[[object], Tensor] | None = None,  # the name of output_of for one release
        guard: ReturnGuard | None = None,
        live_shrink: bool = False,
        equal_widths: Sequence[Sequence[str]] = (),
        on_shrink: Callable[[], None] = lambda: None,
        states: int = 0,
        divergence: Divergence | None = None,
        distribution_of: Callable[[object], Tensor] | None = None,
    ) -> None:
        if decision is not None:  # for one release
            warnings.warn("decision= is called output_of= now", DeprecationWarning, stacklevel=2)  # for one release
            output_of = decision  # for one release
        self.plan = plan or PruningPlan()
        if states and live_shrink:
            raise InputError(_STATES_STAY)
        self.network, self.optimizer, self.guard, self.live_shrink = network, optimizer, guard, live_shrink
        self._timetable = Timetable(total_steps=total_steps, phases=self.plan.phases, checks=self.plan.checks)
        self._parameter_group = parameter_group_of(network, optimizer)
        self._units = Units((network, *twins), optimizer, equal_widths, on_shrink, states=states)
        self._states = state_units(network, states=states) if states else ()
        if live_shrink:
            refuse_replacing(network, self.groups)
        self.plan.check_widths([group.width for group in self.groups])
        self.steps = 0
        self.frozen = not self.groups
        self.lambda_ = 0.0
        self._median_norm = 0.0
        self._tracker = ImportanceTracker(
            self.plan.importance, self.plan.memory, output_of, common_scale=self.plan.common_scale
        )
        self._streaks = {group.name: torch.zeros(group.width, dtype=torch.int64) for group in self.groups}
        self._clock = Clock()
        compared = distribution_of or output_of
        self._region = trust_region_of(self.plan, divergence, compared)
        reconstruction = reconstruction_of(self.plan.reconstruction, network, compared, states=states)
        self._recent = RecentInputs(observe or network, self.plan.states, 1 + states)
        self._removal = Removal(
            plan=self.plan,
            network=network,
            units=self._units,
            recent=self._recent,
            states=self._states,
            region=self._region,
            reconstruction=reconstruction,
        )
        self._penalty_weights: PenaltyWeights | None = None
        self._weight: dict[str, Tensor] | None = None
        self._listen()
        self._handles = [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        ]

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups of the network as it is now."""
        return self._units.groups

    @property
    def keep(self) -> dict[str, Tensor]:
        """Which of the original units are alive, bool [original width] per group."""
        return self._units.keep

    @property
    def masks(self) -> dict[str, Tensor]:
        """Masks over the units that the network has now: the argument of ``shrink``."""
        return self._units.masks

    @property
    def importance(self) -> UnitImportance:
        """Normalized importance [original width] per group; a removed unit keeps its last value."""
        return self._tracker.values

    @property
    def scores(self) -> UnitImportance:  # for one release
        """The old name of ``importance``."""
        warnings.warn("Pruner.scores is called importance now", DeprecationWarning, stacklevel=2)  # for one release
        return self.importance

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole training."""
        return self._timetable.total_steps

    @property
    def progress(self) -> float:
        """The share of the training that is done, in [0, 1]."""
        return self._timetable.progress(self.steps)

    @property
    def sparsity(self) -> float:
        """The share of hidden units removed so far."""
        return sparsity_of(self.keep)

    @property
    def divergence(self) -> float | None:
        """The largest divergence of a check since ``reset_divergence_``; None without ``plan.max_divergence``."""
        return None if self._region is None else self._region.largest

    @property
    def waiting(self) -> int | None:
        """How many units are due and still alive; None without ``plan.max_divergence``."""
        return None if self._region is None else self._region.waiting

    def reset_divergence_(self) -> None:
        """Set ``divergence`` to 0."""
        if self._region is not None:
            self._region.largest = 0.0

    @property
    def paused(self) -> bool:
        """Whether the return guard is pausing pruning.

        It does not pause after the end of the window, or if the sparsity could not be reached in time otherwise.
        """
        waiting = self.guard is not None and self.guard.paused and not self._timetable.late(self.steps)
        return waiting and not (self._clock.late and isinstance(self.plan.threshold, Sparsity))

    @property
    def overruled(self) -> bool:
        """Whether units are removed though the return guard would pause, because the sparsity has to be reached."""
        wanted = self.guard is not None and self.guard.paused and not self.paused
        begun = self._timetable.begun(self.steps) and not self.frozen
        return wanted and begun and isinstance(self.plan.threshold, Sparsity)

    @property
    def phase(self) -> str:
        """``dense`` before the pruning window, then ``pruning``, ``paused`` or ``overruled`` (removing units though the
        return guard would pause), and ``frozen`` once masks are final.
        """
        if self.frozen:
            return "frozen"
        if not self._timetable.begun(self.steps):
            return "dense"
        if self.paused:
            return "paused"
        return "overruled" if self.overruled else "pruning"

    @property
    def penalty_strength(self) -> float:
        """The current penalty strength lambda; 0 outside the pruning phase."""
        pulling = self._penalty_weights is not None and not self._timetable.late(self.steps) and not self.paused
        return self.lambda_ if pulling else 0.0

    def shrink_(self) -> None:
        """Remove the dead units physically from the network, its twins and the optimizer's state.

        Raises InputError, before anything is changed, for an optimizer whose state does not allow it, and for networks
        with states.
        """
        if self._states:
            raise InputError(_STATES_STAY)
        self._units.shrink_()
        self._renew_penalty_weights()

    def detach(self) -> None:
        """Remove all hooks; masks stay readable, but dead units are no longer held at zero."""
        for handle in self._handles:
            handle.remove()
        self._recent.detach()

    def state_dict(self) -> dict[str, Any]:
        """Return the state from which a new Pruner with the same plan can continue: tensors and plain numbers."""
        return {
            "steps": self.steps,
            "frozen": self.frozen,
            "lambda": self.lambda_,
            "usual_norm": self._median_norm,
            "units": self._units.state_dict(),
            "streaks": {name: streak.clone() for name, streak in self._streaks.items()},
            "gauge": self._tracker.state_dict(),
            "states": self._recent.batches(),
            "clock": (self._clock.position, self._clock.elapsed),
            "weight": None if self._weight is None else dict(self._weight),
            "guard": None if self.guard is None else self.guard.state_dict(),
            **({} if self._region is None else {"trust_region": self._region.state_dict()}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state from ``state_dict`` and zero the dead units of the network and its twins.

        A network of the original widths is first shrunk to the saved widths, so that its weights can be loaded.
        Raises InputError if the state belongs to a network with other groups.
        """
        self._units.load_state_dict(state["units"])
        self.steps, self.frozen, self.lambda_ = state["steps"], state["frozen"], state["lambda"]
        self._median_norm, self._weight = state["usual_norm"], state["weight"]
        self._streaks = dict(state["streaks"])
        self._tracker.load_state_dict(state["gauge"])
        position, elapsed = state["clock"]
        self._clock = Clock(position=position, elapsed=elapsed)
        self._recent.replace(state["states"])
        if self.guard is not None and state["guard"] is not None:
            self.guard.load_state_dict(state["guard"])
        if self._region is not None and "trust_region" in state:  # a shared beginning of runs has none
            self._region.load_state_dict(state["trust_region"])
        self._renew_penalty_weights()
        self._listen()

    @property
    def _rate(self) -> float:
        """The current learning rate. It is looked up each time, because loading an optimizer's state replaces its
        groups.
        """
        return float(self.optimizer.param_groups[self._parameter_group]["lr"])

    def _before_step(self, _: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if any(callable(value) for value in (*args, *kwargs.values())):
            raise InputError("the optimizer's step got a closure, which runs after the pruner's hook; step without one")
        if self._penalty_weights is not None and self.plan.penalty.before is not None and self.penalty_strength > 0.0:
            self.plan.penalty.before(self._penalty_weights, self._rate)

    def _after_step(self, *_: object) -> None:
        self._units.zero_dead_()  # first, because momentum moves dead units, and norms and importance must not see that
        if self._penalty_weights is not None and self.plan.penalty.after is not None and self.penalty_strength > 0.0:
            self.plan.penalty.after(self._penalty_weights, self._rate)
        self.steps += 1
        if not self.frozen:
            self._listen()
            if self._timetable.due(self.steps):
                self._check()

    def _listen(self) -> None:
        """Keep inputs only from shortly before the first check until masks are final; each step gives at least one."""
        self._recent.listening = not self.frozen and self._timetable.begun(self.steps + self.plan.states)

    def _check(self) -> None:
        measured = self._measure()
        paused, late = self.paused, self._timetable.late(self.steps)
        self._clock.advance(self.plan.phases.elapsed(self.progress), paused=paused)
        if late and not isinstance(self.plan.threshold, Sparsity):
            self.frozen = True
        elif not paused:
            patience, taken = 1 if late else self.plan.patience, measured if self.plan.compensate else None
            grown = growth(self._clock.position)
            due = due_units(self.plan, grown, patience, self.importance, self.keep, self._streaks)
            self._streaks = due.streaks
            late_checks = self._timetable.late_checks(self.steps) if late else None
            self._removal.remove_(due, taken, step=self.steps, late_checks=late_checks)
            self.frozen = self._reached()
        if self.frozen:
            self._recent.replace([])
            self._listen()
        pulls = self.plan.strength > 0.0 and not self.frozen and not late
        self._weight = self._renewed_weight() if pulls else None
        self._renew_penalty_weights()
        removable = self._units.removable() if self.live_shrink else 0.0
        if removable >= _WORTH_REMOVING or (self.frozen and removable > 0.0):
            self.shrink_()

    def _reached(self) -> bool:
        threshold = self.plan.threshold
        if not isinstance(threshold, Sparsity):
            return False
        keeps = torch.cat(list(self.keep.values()))
        return int((~keeps).sum()) >= threshold.removals(keeps.numel())

    def _measure(self) -> Mapping[str, Sequence[Taken]]:
        """Update the importance, and return the values of the living units over recent states, per group."""
        if not len(self._recent):
            raise InputError("the pruner saw no inputs; pass observe= the module that the training loop calls")
        if self._median_norm == 0.0:
            self._median_norm = median_norm(self.network, self.groups)
        network, groups = self._units.living()  # dead units would only cost time
        with self._recent.deaf():
            rows, widths = living_states(self._recent.latest(), self._states, self.keep)
            return self._tracker.measure(network, groups, rows, self.keep, self.steps, widths)

    def _renewed_weight(self) -> dict[str, Tensor]:
        rate = self._rate
        if self.lambda_ == 0.0 and rate > 0.0:  # a warm-up may begin at rate 0, at which no lambda has an effect
            updates = int((self.plan.phases.end - self.plan.phases.start) * self._timetable.total_steps)
            self.lambda_ = scale_free_lambda(self._median_norm, self.plan.strength, rate, updates)
        alpha = protection(self.importance, self.keep)
        return {name: self.lambda_ * alpha[name] * size**0.5 for name, size in self._units.sizes.items()}

    def _renew_penalty_weights(self) -> None:
        weight = self._weight
        self._penalty_weights = (
            None
            if weight is None
            else PenaltyWeights(network=self.network, groups=self.groups, weight=self._units.of_present(weight))
        )
