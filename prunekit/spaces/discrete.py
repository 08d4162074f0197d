"""One choice among several: ``gymnasium.spaces.Discrete``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import CheckError
from prunekit.graph.op import Array, Op
from prunekit.lazy import functional, torch
from prunekit.lazy import gymnasium as gym
from prunekit.ops.argmax import Argmax
from prunekit.spaces.curvature import Choices, Curvature
from prunekit.spaces.kind import (
    CERTAINTY,
    ActionKind,
    AnswerScale,
    Float64,
    Learning,
    no_squashing,
    register_kind,
    require_whole,
)

if TYPE_CHECKING:
    from torch import Tensor


@register_kind
@final
@dataclass(frozen=True, kw_only=True)
class DiscreteActions:
    """``count`` actions, numbered from ``start``; the action with the largest output is chosen."""

    count: int
    start: int = 0
    name: ClassVar[str] = "discrete"
    sort: ClassVar[str] = "discrete"
    spaces: ClassVar[str] = "Discrete"
    taught_by: ClassVar[str] = "outputs"

    def __post_init__(self) -> None:
        require_whole("the number of actions", [self.count], 1)
        require_whole("the first action", [self.start], -(2**63), 2**63 - 1)

    @staticmethod
    def of_space(space: gym.Space[Any]) -> DiscreteActions | None:
        """Return the actions of a Discrete."""
        if not isinstance(space, gym.spaces.Discrete):
            return None
        return DiscreteActions(count=int(space.n), start=int(space.start))

    @staticmethod
    def of_head(head: Op, width: int) -> DiscreteActions | None:
        """Return the actions of an Argmax head, or None."""
        return DiscreteActions(count=width, start=head.start) if isinstance(head, Argmax) else None

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> DiscreteActions:
        """Return what ``to_dict`` wrote."""
        return DiscreteActions(count=data["count"], start=data["start"])

    def to_dict(self) -> dict[str, Any]:
        """Return count and start."""
        return {"kind": self.name, "count": self.count, "start": self.start}

    @property
    def words(self) -> str:
        """The description in messages."""
        return f"action numbers from {self.start}"

    @property
    def outputs(self) -> int:
        """One output per action."""
        return self.count

    @property
    def choices(self) -> int:
        """One number."""
        return 1

    def head(self) -> Op:
        """Return the argmax."""
        return Argmax(start=self.start)

    def takes(self, head: Op) -> bool:
        """Return whether ``head`` numbers the same actions."""
        return isinstance(head, Argmax) and head.start == self.start

    def squashed(self) -> ActionKind:
        """Raise InputError."""
        raise no_squashing(self.sort)

    def action(self, answer: Any) -> np.int64:
        """Return the number ``answer``, counted from ``start``, as np.int64."""
        number = int(np.asarray(answer).item())
        if not self.start <= number < self.start + self.count:
            raise CheckError(f"action {number} is not one of {self.count} from {self.start}")
        return np.int64(number)

    def decided(self, outputs: Array) -> np.int64:
        """Return the action with the largest output."""
        return self.action(self.start + int(outputs.argmax()))

    def with_noise(self, action: Any, noise: float, generator: np.random.Generator) -> np.int64:
        """Return the action, or with probability ``noise`` a random one."""
        chance, other = generator.random(), int(generator.integers(self.count))
        return self.action(self.start + other if chance < noise else action)

    def outputs_of(self, choices: NDArray[np.integer[Any]]) -> Float64:
        """Return 1 for the chosen action, 0 for all others."""
        indices = choices[:, 0] - self.start
        strange = (indices < 0) | (indices >= self.count)
        if strange.any():
            raise CheckError(f"action {int(choices[strange.argmax(), 0])}, not one of {self.count} from {self.start}")
        return np.asarray(np.eye(self.count)[indices], np.float64)

    def answers(self, outputs: Float64) -> Float64:
        """Return the outputs as they are."""
        return outputs

    def scale(self, answers: Float64) -> AnswerScale:
        """Return the scale at which the mean gap between the two best outputs is ``CERTAINTY``."""
        half = torch.full((self.count,), choice_half(answers), dtype=torch.float64).float()
        return AnswerScale(torch.zeros(self.count), half, torch.zeros(self.count, dtype=torch.bool))

    def loss(self, outputs: Tensor, answers: Tensor, scale: AnswerScale) -> Tensor:  # noqa: ARG002
        """Return the cross-entropy."""
        return choice_loss(outputs, answers)

    def curvature(self, deviation: float) -> Curvature:  # noqa: ARG002
        """Return the curvature of one choice."""
        return Choices((self.count,))

    def for_learner(self) -> Learning:
        """Return the same actions, counted from 0."""
        space = gym.spaces.Discrete(self.count) if self.start else None
        return Learning(space, lambda index: self.action(self.start + int(index)))

    def for_student(self, scale: AnswerScale) -> Learning:  # noqa: ARG002
        """Return the same actions, counted from 0; outputs are logits, so their scale does not matter."""
        return Learning(gym.spaces.Discrete(self.count), self.for_learner().action)


def choice_half(outputs: Float64) -> float:
    """Return the divisor of outputs [n, k] that makes the mean gap between the two best ``CERTAINTY``."""
    gap = 1.0
    if outputs.shape[1] > 1:
        ordered = np.sort(outputs, axis=1)
        gap = float((ordered[:, -1] - ordered[:, -2]).mean())
    return max(gap, 1e-12) / CERTAINTY


def choice_loss(outputs: Tensor, answers: Tensor) -> Tensor:
    """Return the cross-entropy to the teacher's preferences, so a choice matters as much as its outputs differ."""
    return functional.cross_entropy(outputs, answers.softmax(dim=1))
