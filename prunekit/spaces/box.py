"""Continuous actions within bounds: a ``gymnasium.spaces.Box`` of one axis and of floats."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import CheckError, InputError
from prunekit.graph.op import Array, Op, Spec
from prunekit.lazy import gymnasium as gym
from prunekit.lazy import torch
from prunekit.ops.clip_to_bounds import ClipToBounds
from prunekit.ops.identity import Identity
from prunekit.ops.tanh_to_bounds import TanhToBounds
from prunekit.spaces.curvature import Curvature, Normals
from prunekit.spaces.kind import AnswerScale, Float64, Learning, register_kind

if TYPE_CHECKING:
    from torch import Tensor

_LARGEST = float(np.finfo(np.float32).max)
_DTYPES = ("float16", "float32", "float64")
# Unbounded actions are assumed to be within this many standard deviations of the teacher's.
_WIDEST = 10.0


@register_kind
@final
@dataclass(frozen=True, kw_only=True)
class BoxActions:
    """Values of ``dtype`` between ``low`` and ``high``, which may be infinite.

    Outputs are clipped to the bounds; with ``squashes`` they go through a tanh that is scaled to the bounds.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    dtype: str = "float32"
    squashes: bool = False
    name: ClassVar[str] = "box"
    sort: ClassVar[str] = "continuous"
    spaces: ClassVar[str] = "1-D Box"
    taught_by: ClassVar[str] = "action"

    def __post_init__(self) -> None:
        pairs = zip(self.low, self.high, strict=False)
        if len(self.low) != len(self.high) or not self.low or not all(one <= other for one, other in pairs):
            raise InputError(f"has the action bounds {self.low} and {self.high}; correct them")
        if self.dtype not in _DTYPES:
            raise InputError(f"has actions of {str(self.dtype)[:60]}, which is not one of {', '.join(_DTYPES)}")

    @staticmethod
    def of_space(space: gym.Space[Any]) -> BoxActions | None:
        """Return the actions of a Box of one axis; raises InputError for one of integers, or an empty one."""
        if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1:
            return None
        if space.shape[0] == 0:
            raise InputError("has empty actions; give them at least one value")
        if not np.issubdtype(space.dtype, np.floating):
            raise InputError(
                f"has actions of {space.dtype}, but an actor gives fractions; register a version whose actions are a "
                "Box of float32, or Discrete"
            )
        low, high = (tuple(float(bound) for bound in bounds) for bounds in (space.low, space.high))
        return BoxActions(low=low, high=high, dtype=str(space.dtype))

    @staticmethod
    def of_head(head: Op, width: int) -> BoxActions | None:  # noqa: ARG004
        """Return actions with the bounds of a head, or None."""
        if isinstance(head, ClipToBounds | TanhToBounds):
            return BoxActions(low=head.low, high=head.high, squashes=isinstance(head, TanhToBounds))
        return None

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> BoxActions:
        """Return what ``to_dict`` wrote, float32 where it was written without a dtype."""
        low = tuple(-math.inf if bound is None else float(bound) for bound in data["low"])
        high = tuple(math.inf if bound is None else float(bound) for bound in data["high"])
        return BoxActions(low=low, high=high, dtype=data.get("dtype", "float32"), squashes=bool(data.get("squashes")))

    def to_dict(self) -> dict[str, Any]:
        """Return bounds, with None for infinite ones, and dtype."""
        return {
            "kind": self.name,
            "low": [bound if math.isfinite(bound) else None for bound in self.low],
            "high": [bound if math.isfinite(bound) else None for bound in self.high],
            "dtype": self.dtype,
            "squashes": self.squashes,
        }

    @property
    def words(self) -> str:
        """The description in messages."""
        return "continuous actions"

    @property
    def outputs(self) -> int:
        """One output per value."""
        return len(self.low)

    @property
    def choices(self) -> None:
        """None: there are no choices."""
        return

    def head(self) -> Op:
        """Return the op that clips or squashes."""
        return (TanhToBounds if self.squashes else ClipToBounds)(low=self.low, high=self.high)

    def takes(self, head: Op) -> bool:
        """Return whether ``head`` gives floats; they are clipped again."""
        return isinstance(head, ClipToBounds | TanhToBounds | Identity)

    def squashed(self) -> BoxActions:
        """Return the same actions, squashed; raises InputError for bounds that are not finite."""
        squashed = replace(self, squashes=True)
        squashed.head().shapes([Spec((self.outputs,))])
        return squashed

    def action(self, answer: Any) -> NDArray[np.floating[Any]]:
        """Return the values clipped to the bounds, in the space's dtype; they may have been rounded to another
        dtype.
        """
        values = np.asarray(answer, np.float64)
        if values.shape != (len(self.low),):
            raise CheckError(f"an action of shape {list(values.shape)} is not one of {len(self.low)} values")
        clipped: NDArray[np.floating[Any]] = np.clip(values, *self._held).astype(self.dtype)
        return clipped

    def decided(self, outputs: Array) -> NDArray[np.floating[Any]]:
        """Return the outputs, which are the action."""
        return self.action(outputs)

    def with_noise(self, action: Any, noise: float, generator: np.random.Generator) -> NDArray[np.floating[Any]]:
        """Return the values with Gaussian noise, clipped; raises InputError for bounds that are not finite."""
        low, high = self._bounds
        if not np.isfinite(high - low).all():
            raise InputError(
                "has actions without finite bounds, which action noise is relative to; leave action noise out"
            )
        half = (high - low) / 2.0
        return self.action(np.asarray(action, np.float64) + noise * half * generator.standard_normal(len(half)))

    def outputs_of(self, choices: NDArray[np.integer[Any]]) -> Float64:
        """Raise CheckError."""
        raise CheckError(f"action number {int(choices.flat[0])}, but actions are {len(self.low)} values")

    def answers(self, outputs: Float64) -> Float64:
        """Return the actions within the bounds."""
        return np.clip(outputs, self.low, self.high)

    def scale(self, answers: Float64) -> AnswerScale:
        """Return the scale of finite bounds, and of the teacher's answers where bounds are infinite."""
        low, high = self._bounds
        bounded = np.isfinite(low) & np.isfinite(high)
        middle, half = answers.mean(axis=0), np.maximum(answers.std(axis=0), 1e-6)
        middle[bounded] = (low[bounded] + high[bounded]) / 2
        half[bounded] = np.maximum((high[bounded] - low[bounded]) / 2, 1e-6)
        return AnswerScale(torch.from_numpy(middle).float(), torch.from_numpy(half).float(), torch.from_numpy(bounded))

    def loss(self, outputs: Tensor, answers: Tensor, scale: AnswerScale) -> Tensor:
        """Return the squared error."""
        return action_loss(outputs, answers, scale.bounded)

    def curvature(self, deviation: float) -> Curvature:
        """Return the curvature of normal distributions."""
        return Normals(torch.full((self.outputs,), deviation))

    def for_learner(self) -> Learning:
        """Return the same actions with finite bounds: the largest float32 in place of infinity."""
        low, high = self._bounds
        if np.isfinite(low).all() and np.isfinite(high).all():
            return Learning(None, self.action)
        finite = [np.clip(bounds.astype(np.float32), -_LARGEST, _LARGEST) for bounds in (low, high)]
        return Learning(gym.spaces.Box(finite[0], finite[1], dtype=np.float32), self.action)

    def for_student(self, scale: AnswerScale) -> Learning:
        """Return actions in the units of ``scale``."""
        middle, half = scale.middle.numpy(), scale.half.numpy()
        maximum = np.where(scale.bounded.numpy(), 1.0, _WIDEST).astype(np.float32)
        return Learning(gym.spaces.Box(-maximum, maximum), lambda action: self.action(action * half + middle))

    @cached_property
    def _bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.asarray(self.low, np.float64), np.asarray(self.high, np.float64)

    @cached_property
    def _held(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The bounds, with the largest numbers of the dtype in place of infinity."""
        maximum = float(np.finfo(self.dtype).max)
        return np.maximum(self._bounds[0], -maximum), np.minimum(self._bounds[1], maximum)


def action_loss(outputs: Tensor, answers: Tensor, bounded: Tensor) -> Tensor:
    """Return the squared error of actions [n, k]; beyond a bound (-1 or 1) at which the teacher is, errors count very
    little.
    """
    error = outputs - answers
    beyond = bounded & (((answers >= 1.0) & (error > 0.0)) | ((answers <= -1.0) & (error < 0.0)))
    return torch.where(beyond, 0.01 * error, error).square().sum(dim=1).mean()
