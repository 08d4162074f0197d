"""Several choices at once: a ``gymnasium.spaces.MultiDiscrete`` of one axis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import CheckError, InputError
from prunekit.graph.op import Array, Op
from prunekit.lazy import gymnasium as gym
from prunekit.lazy import torch
from prunekit.ops.argmax_per_part import ArgmaxPerPart
from prunekit.spaces.curvature import Choices, Curvature
from prunekit.spaces.discrete import choice_half, choice_loss
from prunekit.spaces.kind import (
    ActionKind,
    AnswerScale,
    Float64,
    Learning,
    integer_dtype,
    no_squashing,
    register_kind,
    require_whole,
)

if TYPE_CHECKING:
    from torch import Tensor


@register_kind
@final
@dataclass(frozen=True, kw_only=True)
class MultiDiscreteActions:
    """Parts of ``counts`` choices each, numbered from ``starts``, integers of ``dtype``.

    Outputs are those of the first part's choices, then of the second's, and so on; of each the largest is taken.
    """

    counts: tuple[int, ...]
    starts: tuple[int, ...]
    dtype: str = "int64"
    name: ClassVar[str] = "multi_discrete"
    sort: ClassVar[str] = "multi-discrete"
    spaces: ClassVar[str] = "1-D MultiDiscrete"
    taught_by: ClassVar[str] = "outputs"

    def __post_init__(self) -> None:
        require_whole("numbers of choices", self.counts, 1)
        require_whole("first choices", self.starts, -(2**31) + 1)
        if len(self.counts) != len(self.starts):
            raise InputError(f"has {len(self.counts)} counts of choices, but {len(self.starts)} starts")
        held = np.iinfo(integer_dtype(self.dtype))
        if any(s < held.min or s + n - 1 > held.max for n, s in zip(self.counts, self.starts, strict=True)):
            raise InputError(f"has actions of {self.dtype}, which cannot hold all their values")

    @staticmethod
    def of_space(space: gym.Space[Any]) -> MultiDiscreteActions | None:
        """Return the actions of a MultiDiscrete of one axis; raises InputError for one without choices."""
        if not isinstance(space, gym.spaces.MultiDiscrete) or len(space.shape) != 1:
            return None
        if space.shape[0] == 0:
            raise InputError("has empty actions; give them at least one value")
        counts, starts = (tuple(int(number) for number in numbers) for numbers in (space.nvec, space.start))
        return MultiDiscreteActions(counts=counts, starts=starts, dtype=str(space.dtype))

    @staticmethod
    def of_head(head: Op, width: int) -> MultiDiscreteActions | None:  # noqa: ARG004
        """Return the actions that a head chooses from."""
        if not isinstance(head, ArgmaxPerPart):
            return None
        return MultiDiscreteActions(counts=head.counts, starts=head.starts)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> MultiDiscreteActions:
        """Return what ``to_dict`` wrote."""
        return MultiDiscreteActions(
            counts=tuple(data["counts"]), starts=tuple(data["starts"]), dtype=data.get("dtype", "int64")
        )

    def to_dict(self) -> dict[str, Any]:
        """Return counts, starts and dtype."""
        return {"kind": self.name, "counts": list(self.counts), "starts": list(self.starts), "dtype": self.dtype}

    @property
    def words(self) -> str:
        """What messages say."""
        parts = (f"{count} from {start}" for count, start in zip(self.counts, self.starts, strict=True))
        return f"one number each of {', '.join(parts)}"

    @property
    def outputs(self) -> int:
        """One per choice of each part."""
        return sum(self.counts)

    @property
    def choices(self) -> int:
        """One number per part."""
        return len(self.counts)

    def head(self) -> Op:
        """Return the argmax of each part."""
        return ArgmaxPerPart(counts=self.counts, starts=self.starts)

    def takes(self, head: Op) -> bool:
        """Whether it numbers the same choices."""
        return head == self.head()

    def squashed(self) -> ActionKind:
        """Raise InputError."""
        raise no_squashing(self.sort)

    def action(self, answer: Any) -> NDArray[np.integer[Any]]:
        """Return the numbers, each counted from its start, in the dtype of the space."""
        numbers = np.asarray(answer).astype(np.int64)
        if numbers.shape != (len(self.counts),):
            raise CheckError(f"an action of shape {list(numbers.shape)} is not one of {len(self.counts)} choices")
        self._require_within(numbers[None])
        return numbers.astype(integer_dtype(self.dtype))

    def decided(self, outputs: Array) -> NDArray[np.integer[Any]]:
        """Return the choices of the largest outputs."""
        return self.action(self.head().reference((outputs,))[0])

    def with_noise(self, action: Any, noise: float, generator: np.random.Generator) -> NDArray[np.integer[Any]]:
        """Return the numbers, each with the probability ``noise`` any."""
        chances, others = generator.random(len(self.counts)), generator.integers(self.counts) + np.asarray(self.starts)
        return self.action(np.where(chances < noise, others, np.asarray(action)))

    def outputs_of(self, choices: NDArray[np.integer[Any]]) -> Float64:
        """Return 1 for what is chosen, 0 for all others."""
        self._require_within(choices)
        indices = choices - np.asarray(self.starts)
        parts = [np.eye(count)[indices[:, part]] for part, count in enumerate(self.counts)]
        return np.concatenate(parts, axis=1).astype(np.float64)

    def answers(self, outputs: Float64) -> Float64:
        """Return the outputs as they are."""
        return outputs

    def scale(self, answers: Float64) -> AnswerScale:
        """Return the mean gap between the two best outputs of each part as ``CERTAINTY``."""
        parts = np.split(answers, list(accumulate(self.counts))[:-1], axis=1)
        half = np.concatenate([np.full(part.shape[1], choice_half(part)) for part in parts])
        free = torch.zeros(self.outputs, dtype=torch.bool)
        return AnswerScale(torch.zeros(self.outputs), torch.from_numpy(half).float(), free)

    def loss(self, outputs: Tensor, answers: Tensor, scale: AnswerScale) -> Tensor:  # noqa: ARG002
        """Return the sum of the parts' cross-entropies."""
        sizes = list(self.counts)
        parts = zip(torch.split(outputs, sizes, dim=1), torch.split(answers, sizes, dim=1), strict=True)
        return torch.stack([choice_loss(*part) for part in parts]).sum()

    def curvature(self, deviation: float) -> Curvature:  # noqa: ARG002
        """Return that of independent choices."""
        return Choices(self.counts)

    def for_learner(self) -> Learning:
        """Return choices that are counted from 0."""
        space = gym.spaces.MultiDiscrete(list(self.counts)) if any(self.starts) else None
        return Learning(space, lambda indices: self.action(np.asarray(indices) + np.asarray(self.starts)))

    def for_student(self, scale: AnswerScale) -> Learning:  # noqa: ARG002
        """Return choices that are counted from 0: outputs are logits in any units."""
        return Learning(gym.spaces.MultiDiscrete(list(self.counts)), self.for_learner().action)

    def _require_within(self, numbers: NDArray[np.integer[Any]]) -> None:
        """Raise CheckError, naming the first of ``numbers`` [n, parts] that is not one."""
        indices = numbers - np.asarray(self.starts)
        strange = np.argwhere((indices < 0) | (indices >= np.asarray(self.counts)))
        if len(strange):
            row, part = strange[0]
            raise CheckError(
                f"action {int(numbers[row, part])} for part {part}, not one of {self.counts[part]} from "
                f"{self.starts[part]}"
            )
