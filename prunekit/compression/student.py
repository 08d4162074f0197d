"""A student: a small network that learns its teacher's answers, and may lose units while it learns."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from prunekit.compression.teacher import Float64, Teacher
from prunekit.environments import Spaces
from prunekit.optim.gauss_newton import fit_gauss_newton
from prunekit.policy.actor import Actor, Normalizer
from prunekit.policy.heads import TanhHead, head_of
from prunekit.policy.program import Float32
from prunekit.pruning.groups import find_groups
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.pruner import Pruner
from prunekit.pruning.schedules import Phases, Sparsity
from prunekit.rollouts import StoppedError
from prunekit.spaces.kind import AnswerScale

_CLIP = 10.0
_BATCH = 512
_RATE = 3e-3
_LAST_RATE = 0.03
_CHECKS = 20
_STEPS_BETWEEN_LOOKS = 32
# The cost of a Gauss-Newton step grows with the square of the parameters: beyond this, batches teach a network more.
_MAX_GAUSS_NEWTON = 512
_MIN_DEVIATION = 1e-3
# The squared error is the negative log-likelihood of a normal distribution of variance 1/2, up to a constant.
_DEVIATION = math.sqrt(0.5)


@final
class ImitationDataset:
    """Observations [n, obs] and the teacher's answers [n, k] to them: at most the latest ``maximum``."""

    def __init__(self, teacher: Teacher, maximum: int = 200_000) -> None:
        self._teacher, self._maximum = teacher, maximum
        empty = np.zeros((0, teacher.spaces.observation), np.float32), np.zeros((0, teacher.spaces.outputs), np.float64)
        self._parts: list[tuple[Float32, Float64]] = [empty]

    def __len__(self) -> int:
        return len(self.states)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the teacher, which may not be picklable; ``taught_by`` gives a loaded dataset one again."""
        self._whole()
        return {"_maximum": self._maximum, "_parts": self._parts}

    def taught_by(self, teacher: Teacher) -> None:
        """Have ``teacher`` answer from now on; the answers so far stay."""
        self._teacher = teacher

    @property
    def states(self) -> Float32:
        """The observations, float32 [n, obs]."""
        return self._whole()[0]

    @property
    def answers(self) -> Float64:
        """The answers, float64 [n, k]."""
        return self._whole()[1]

    def add(self, states: Float32) -> None:
        """Keep ``states`` [n, obs] and the teacher's answers to them."""
        self._parts.append((states, self._teacher.responses(states)))
        if sum(len(part) for part, _ in self._parts) > 2 * self._maximum:
            self._whole()

    def follow(self, teacher: Teacher, states: Float32) -> None:
        """Have another ``teacher`` answer from now on; keep only ``states`` [n, obs] and its answers to them."""
        self._teacher = teacher
        self._parts = [(states, teacher.responses(states))]

    def _whole(self) -> tuple[Float32, Float64]:
        """Return all that is kept; it is joined only here, as episodes are added often and the whole is read rarely."""
        if len(self._parts) > 1:
            states, answers = (np.concatenate(parts)[-self._maximum :] for parts in zip(*self._parts, strict=True))
            self._parts = [(states, answers)]
        return self._parts[0]


@final
@dataclass(frozen=True, kw_only=True)
class Scale:
    """How a student's inputs and outputs are scaled: a normalizer of observations, and the scale of its answers.

    With ``squashing`` the network ends in a tanh, which is replaced by that head when the student is deployed.
    """

    normalizer: Normalizer
    answers: AnswerScale
    squashing: TanhHead | None = None

    @staticmethod
    def of(dataset: ImitationDataset, spaces: Spaces) -> Scale:
        """Return the scale of the observations in ``dataset``, and of the answers to actions of ``spaces``."""
        mean, deviation = dataset.states.mean(axis=0), dataset.states.std(axis=0)
        scale = 1.0 / np.maximum(deviation, _MIN_DEVIATION * np.maximum(np.abs(mean), 1.0))
        normalizer = Normalizer(mean.tolist(), scale.tolist(), _CLIP)
        return Scale(normalizer=normalizer, answers=spaces.actions.scale(dataset.answers))


@final
class Student:
    """A network that learns to imitate: ``network`` if given, or a new one with ``hidden`` units in its tanh layers."""

    def __init__(
        self,
        hidden: tuple[int, ...],
        scale: Scale,
        spaces: Spaces,
        seed: int,
        *,
        network: nn.Sequential | None = None,
    ) -> None:
        self.scale, self.spaces = scale, spaces
        self._generator = torch.Generator().manual_seed(seed)
        if network is not None:
            self.network = network
            return
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = _mlp((spaces.observation, *hidden, spaces.outputs))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_generator": self._generator.get_state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        generator = torch.Generator()
        generator.set_state(state["_generator"])
        self.__dict__.update(state, _generator=generator)

    @property
    def hidden(self) -> tuple[int, ...]:
        """Hidden units per layer."""
        return tuple(group.width for group in find_groups(self.network))

    @property
    def parameters(self) -> int:
        """The number of its parameters."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    @property
    def actor(self) -> Actor:
        """A copy of the student as it is deployed: its last layer or its head has the scale of the answers."""
        network = copy.deepcopy(self.network)
        if self.scale.squashing is not None:
            return Actor(network[:-1], self.scale.squashing, self.scale.normalizer)
        last = network[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.weight.mul_(self.scale.answers.half[:, None])
            last.bias.mul_(self.scale.answers.half).add_(self.scale.answers.middle)
        return Actor(network, head_of(self.spaces.actions), self.scale.normalizer)

    def copied(self) -> Student:
        """Return an independent copy of the student, with the state of its random generator."""
        return copy.deepcopy(self)

    def fit(
        self,
        dataset: ImitationDataset,
        steps: int,
        fewer: int = 0,
        after_backward: Callable[[], object] = lambda: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Learn for ``steps`` batches, and lose ``fewer`` hidden units during the first half of them.

        ``after_backward`` may change the gradients before each step. Raises StoppedError once ``stopped()`` is true.
        """
        states, answers = self._scaled(dataset)
        optimizer = torch.optim.Adam(self.network.parameters(), lr=_RATE, fused=True)
        pruner = self._pruner(optimizer, steps, fewer) if fewer else None
        for step in range(steps):
            if step % _STEPS_BETWEEN_LOOKS == 0 and stopped():
                raise StoppedError("stopped")
            optimizer.param_groups[0]["lr"] = _RATE * _falling(step / steps)
            rows = torch.randint(len(states), (_BATCH,), generator=self._generator)
            loss = self._loss(self.network(states[rows]), answers[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            after_backward()
            optimizer.step()
        if pruner is not None:
            pruner.shrink_()
            pruner.detach()

    @property
    def takes_gauss_newton(self) -> bool:
        """Whether the network is small enough for Gauss-Newton steps."""
        return self.parameters <= _MAX_GAUSS_NEWTON

    def fit_gauss_newton(self, dataset: ImitationDataset, iterations: int) -> None:
        """Fit ``dataset`` by so many Gauss-Newton ``iterations``; do nothing if the network is too large for them."""
        if not self.takes_gauss_newton:
            return
        states, answers = self._scaled(dataset)
        fit_gauss_newton(
            self.network,
            states,
            lambda outputs: self._loss(outputs, answers),
            iterations,
            self._generator,
            self.spaces.actions.curvature(_DEVIATION),
        )

    def _scaled(self, dataset: ImitationDataset) -> tuple[Tensor, Tensor]:
        """Return the observations and answers of ``dataset`` on the student's scale."""
        with torch.no_grad():
            states = self.scale.normalizer(torch.from_numpy(dataset.states))
            middle, half, _ = self.scale.answers
            answers = ((torch.from_numpy(dataset.answers).float() - middle) / half).contiguous()
        return states, answers

    def _loss(self, outputs: Tensor, answers: Tensor) -> Tensor:
        return self.spaces.actions.loss(outputs, answers, self.scale.answers)

    def _pruner(self, optimizer: torch.optim.Optimizer, steps: int, fewer: int) -> Pruner:
        plan = PruningPlan(
            threshold=Sparsity(fewer / sum(self.hidden)),
            phases=Phases(start=0.0, end=0.5),
            checks=_CHECKS,
            patience=1,
            memory=0.5,
        )
        return Pruner(self.network, optimizer, steps, plan, live_shrink=True)


def _mlp(widths: tuple[int, ...]) -> nn.Sequential:
    modules: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        modules += [nn.Linear(fan_in, fan_out), nn.Tanh()]
    return nn.Sequential(*modules[:-1])


def _falling(progress: float) -> float:
    """Return the factor on the learning rate: 1 in the first half, then falling linearly to its last value."""
    return 1.0 if progress < 0.5 else _LAST_RATE + (1.0 - _LAST_RATE) * 2.0 * (1.0 - progress)
