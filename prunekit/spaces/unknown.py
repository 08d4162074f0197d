"""Actions of which nothing is known: those of a file that does not say what its outputs are for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import CheckError, InputError
from prunekit.graph.op import Array, Op
from prunekit.lazy import gymnasium as gym
from prunekit.lazy import torch
from prunekit.ops.identity import Identity
from prunekit.spaces.curvature import Curvature, Normals
from prunekit.spaces.kind import ActionKind, AnswerScale, Float64, Learning, register_kind, require_whole

if TYPE_CHECKING:
    from torch import Tensor

_WIDEST = 10.0


@register_kind
@final
@dataclass(frozen=True, kw_only=True)
class UnknownActions:
    """``count`` outputs, which are the action as they are. No environment has such actions."""

    count: int
    name: ClassVar[str] = "unknown"
    sort: ClassVar[str] = "unknown"
    spaces: ClassVar[str] = ""
    taught_by: ClassVar[str] = "outputs"

    def __post_init__(self) -> None:
        require_whole("the number of outputs", [self.count], 1)

    @staticmethod
    def of_space(space: gym.Space[Any]) -> None:  # noqa: ARG004
        """Return None: a space that there is, is known."""
        return

    @staticmethod
    def of_head(head: Op, width: int) -> UnknownActions | None:
        """Return the outputs of a policy without a head."""
        return UnknownActions(count=width) if isinstance(head, Identity) else None

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> UnknownActions:
        """Return what ``to_dict`` wrote."""
        return UnknownActions(count=data["count"])

    def to_dict(self) -> dict[str, Any]:
        """Return the count."""
        return {"kind": self.name, "count": self.count}

    @property
    def words(self) -> str:
        """What messages say."""
        return "outputs as they are"

    @property
    def outputs(self) -> int:
        """As many as there are."""
        return self.count

    @property
    def choices(self) -> None:
        """There are none."""
        return

    def head(self) -> Op:
        """Return what changes nothing."""
        return Identity()

    def takes(self, head: Op) -> bool:
        """Whether it changes nothing."""
        return isinstance(head, Identity)

    def squashed(self) -> ActionKind:
        """Raise InputError."""
        raise InputError("actions whose bounds are not known cannot be squashed into them")

    def action(self, answer: Any) -> NDArray[np.float32]:
        """Return the outputs as float32."""
        values = np.asarray(answer, np.float32)
        if values.shape != (self.count,):
            raise CheckError(f"an action of shape {list(values.shape)} is not one of {self.count} outputs")
        return values

    def decided(self, outputs: Array) -> NDArray[np.float32]:
        """Return the outputs."""
        return self.action(outputs)

    def with_noise(self, action: Any, noise: float, generator: np.random.Generator) -> Any:  # noqa: ARG002
        """Raise InputError."""
        raise InputError(
            "has actions whose bounds are not known, which action noise is relative to; leave action noise out"
        )

    def outputs_of(self, choices: NDArray[np.integer[Any]]) -> Float64:
        """Raise CheckError."""
        raise CheckError(f"action number {int(choices.flat[0])}, but actions are {self.count} outputs")

    def answers(self, outputs: Float64) -> Float64:
        """Return the outputs."""
        return outputs

    def scale(self, answers: Float64) -> AnswerScale:
        """Return the scale of what was answered."""
        middle, half = answers.mean(axis=0), np.maximum(answers.std(axis=0), 1e-6)
        free = torch.zeros(self.count, dtype=torch.bool)
        return AnswerScale(torch.from_numpy(middle).float(), torch.from_numpy(half).float(), free)

    def loss(self, outputs: Tensor, answers: Tensor, scale: AnswerScale) -> Tensor:  # noqa: ARG002
        """Return the squared error."""
        return (outputs - answers).square().sum(dim=1).mean()

    def curvature(self, deviation: float) -> Curvature:
        """Return that of normal distributions."""
        return Normals(torch.full((self.count,), deviation))

    def for_learner(self) -> Learning:
        """Return the outputs, without bounds."""
        return Learning(None, self.action)

    def for_student(self, scale: AnswerScale) -> Learning:
        """Return outputs in the units of ``scale``."""
        middle, half = scale.middle.numpy(), scale.half.numpy()
        space = gym.spaces.Box(-_WIDEST, _WIDEST, (self.count,), np.float32)
        return Learning(space, lambda action: self.action(action * half + middle))
