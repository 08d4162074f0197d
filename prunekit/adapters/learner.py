"""What pruning and export need to know about a learner, whatever library trains it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from prunekit.pruning.pruner import first_tensor
from prunekit.pruning.trust_region import Divergence


@final
@dataclass(frozen=True, kw_only=True)
class PrunableNetwork:
    """A network of a learner that can be pruned. Its modules are shared with the learner, not copied.

    ``observe`` is the module that receives the network's input in the learner's own forward pass. ``twins`` are target
    networks of the same shape. ``output_of`` picks the outputs [n, k] from the network's result. ``updates(timesteps)``
    is the number of optimizer steps in that many environment steps. The learner's library requires the groups in one
    entry of ``equal_widths`` to have equal widths. ``divergence`` says how far two policies are apart, by the outputs
    that ``distribution_of`` picks (by default ``output_of``); None for a network that is no policy.
    """

    network: nn.Module
    observe: nn.Module
    optimizer: torch.optim.Optimizer
    updates: Callable[[int], int]
    twins: tuple[nn.Module, ...] = ()
    output_of: Callable[[object], Tensor] = first_tensor
    equal_widths: tuple[tuple[str, ...], ...] = ()
    divergence: Divergence | None = None
    distribution_of: Callable[[object], Tensor] | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Learner:
    """The actor (policy or Q-network), whether tanh squashes its outputs, and the critic, if there is one."""

    actor: PrunableNetwork
    critic: PrunableNetwork | None = None
    squashed: bool = False
