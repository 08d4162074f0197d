"""Switches that are on or off: a ``gymnasium.spaces.MultiBinary`` of one axis."""

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
from prunekit.ops.threshold import Threshold
from prunekit.spaces.curvature import Curvature
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
class MultiBinaryActions:
    """``count`` switches, each on (1) where its output is above 0; int8, as the space has it."""

    count: int
    name: ClassVar[str] = "multi_binary"
    sort: ClassVar[str] = "multi-binary"
    spaces: ClassVar[str] = "1-D MultiBinary"
    taught_by: ClassVar[str] = "outputs"

    def __post_init__(self) -> None:
        require_whole("the number of switches", [self.count], 1)

    @staticmethod
    def of_space(space: gym.Space[Any]) -> MultiBinaryActions | None:
        """Return the actions of a MultiBinary of one axis."""
        if not isinstance(space, gym.spaces.MultiBinary) or len(space.shape) != 1:
            return None
        return MultiBinaryActions(count=int(space.shape[0]))

    @staticmethod
    def of_head(head: Op, width: int) -> MultiBinaryActions | None:
        """Return the switches of a head, or None."""
        return MultiBinaryActions(count=width) if isinstance(head, Threshold) else None

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> MultiBinaryActions:
        """Return what ``to_dict`` wrote."""
        return MultiBinaryActions(count=data["count"])

    def to_dict(self) -> dict[str, Any]:
        """Return the count."""
        return {"kind": self.name, "count": self.count}

    @property
    def words(self) -> str:
        """The description in messages."""
        return f"{self.count} switches"

    @property
    def outputs(self) -> int:
        """One output per switch."""
        return self.count

    @property
    def choices(self) -> int:
        """One number per switch."""
        return self.count

    def head(self) -> Op:
        """Return the threshold."""
        return Threshold()

    def takes(self, head: Op) -> bool:
        """Return whether ``head`` sets switches."""
        return isinstance(head, Threshold)

    def squashed(self) -> ActionKind:
        """Raise InputError."""
        raise no_squashing(self.sort)

    def action(self, answer: Any) -> NDArray[np.int8]:
        """Return zeros and ones as int8."""
        switches = np.asarray(answer)
        if switches.shape != (self.count,):
            raise CheckError(f"an action of shape {list(switches.shape)} is not one of {self.count} switches")
        _require_binary(switches[None])
        return switches.astype(np.int8)

    def decided(self, outputs: Array) -> NDArray[np.int8]:
        """Return 1 where outputs are above 0, otherwise 0."""
        return self.action(outputs > 0.0)

    def with_noise(self, action: Any, noise: float, generator: np.random.Generator) -> NDArray[np.int8]:
        """Return the switches; each is set to a random value with probability ``noise``."""
        chances, others = generator.random(self.count), generator.integers(2, size=self.count)
        return self.action(np.where(chances < noise, others, np.asarray(action)))

    def outputs_of(self, choices: NDArray[np.integer[Any]]) -> Float64:
        """Return 1 for a switch that is on, -1 for one that is off."""
        _require_binary(choices)
        return 2.0 * choices.astype(np.float64) - 1.0

    def answers(self, outputs: Float64) -> Float64:
        """Return the outputs as they are."""
        return outputs

    def scale(self, answers: Float64) -> AnswerScale:
        """Return the mean size of each output as ``CERTAINTY``: between on and off lie logits of so much."""
        half = np.maximum(np.abs(answers).mean(axis=0), 1e-12) / CERTAINTY
        free = torch.zeros(self.count, dtype=torch.bool)
        return AnswerScale(torch.zeros(self.count), torch.from_numpy(half).float(), free)

    def loss(self, outputs: Tensor, answers: Tensor, scale: AnswerScale) -> Tensor:  # noqa: ARG002
        """Return the sum of the switches' cross-entropies."""
        each = functional.binary_cross_entropy_with_logits(outputs, answers.sigmoid(), reduction="none")
        return each.sum(dim=1).mean()

    def curvature(self, deviation: float) -> Curvature:  # noqa: ARG002
        """Return that of independent switches."""
        return Switches()

    def for_learner(self) -> Learning:
        """Return a space that says its count as a number, as libraries ask for."""
        return Learning(gym.spaces.MultiBinary(self.count), self.action)

    def for_student(self, scale: AnswerScale) -> Learning:  # noqa: ARG002
        """Return the same: outputs are logits in any units."""
        return self.for_learner()


@final
@dataclass(frozen=True)
class Switches:
    """Outputs are logits of independent switches being on."""

    def root(self, outputs: Tensor, slopes: Tensor) -> Tensor:
        """Return the slopes by each switch's deviation."""
        return _variance(outputs).sqrt()[:, :, None] * slopes

    def product(self, outputs: Tensor, change: Tensor) -> Tensor:
        """Return the change by each switch's variance."""
        return _variance(outputs) * change


def _variance(outputs: Tensor) -> Tensor:
    return outputs.sigmoid() * (-outputs).sigmoid()


def _require_binary(switches: Array) -> None:
    """Raise CheckError, naming the first of ``switches`` [n, count] that is neither 0 nor 1."""
    strange = np.argwhere((switches != 0) & (switches != 1))
    if len(strange):
        row, at = strange[0]
        raise CheckError(f"action {switches[row, at]} for switch {at}, not one of 0 and 1")
