"""The actor: it maps a raw observation to an action for ``env.step``."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from prunekit.errors import InputError
from prunekit.policy.heads import Head
from prunekit.pruning.pruner import first_tensor


@final
class Normalizer(nn.Module):
    """Observation normalizer: clip((obs - mean) * scale, -clip, clip), with scale = 1 / sqrt(var + epsilon).

    ``mean`` and ``scale`` are float32 [obs]; the formula is that of SB3's ``VecNormalize``. Raises InputError where
    their widths differ or ``clip`` is not positive. A clip beyond float32 has no effect, and becomes infinity.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Sequence[float], scale: Sequence[float], clip: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))
        if self.mean.ndim != 1 or self.mean.shape != self.scale.shape:
            raise InputError(f"the normalizer's mean {list(self.mean.shape)} and scale {list(self.scale.shape)} differ")
        if not clip > 0.0:
            raise InputError(f"the normalizer's clip must be positive, got {clip:g}")
        self.clip = float(clip) if clip <= torch.finfo(torch.float32).max else math.inf

    def forward(self, observation: Tensor) -> Tensor:
        """Map observations [batch, obs] to normalized ones of the same shape."""
        return ((observation - self.mean) * self.scale).clamp(-self.clip, self.clip)


@final
class Actor(nn.Module):
    """A learner's policy: normalizer, network and head. It shares the learner's parameters.

    ``network`` maps normalized observations [batch, obs] to outputs [batch, n], or to a tuple that begins with them.
    Surgery, export and bench only use this class.
    """

    def __init__(self, network: nn.Module, head: Head, normalizer: Normalizer | None = None) -> None:
        super().__init__()
        self.normalizer = normalizer
        self.network = network
        self.head = head

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the network's parameters."""
        return next(self.network.parameters()).dtype

    def outputs(self, observation: Tensor) -> Tensor:
        """Return the values before the head, [batch, n], for raw observations [batch, obs] of any float type."""
        observation = observation.to(self.dtype)
        normalized = observation if self.normalizer is None else self.normalizer(observation)
        return first_tensor(self.network(normalized))

    def scores(self, observation: Tensor) -> Tensor:  # for one release
        """The old name of ``outputs``."""
        warnings.warn("Actor.scores is called outputs now", DeprecationWarning, stacklevel=2)  # for one release
        return self.outputs(observation)

    def forward(self, observation: Tensor) -> Tensor:
        """Return actions for raw observations [batch, obs]: int64 [batch] or float [batch, n]."""
        return self.head(self.outputs(observation))
