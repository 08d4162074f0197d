"""What pruning and export need of a learner, whatever library trains it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from prunekit.pruning.pruner import first_tensor


@final
@dataclass(frozen=True, kw_only=True)
class PrunableNetwork:
    """One network of a learner that can be pruned; every module is shared with the learner, nothing is copied.

    ``observe`` is the module whose input is the network's in the learner's own forward pass, ``twins`` are target
    networks of the same shape, ``output_of`` picks the outputs [n, k] from what it returns.
    ``updates(timesteps)`` counts the optimizer steps that training for so many environment steps takes.
    Groups named together in ``equal_widths`` must stay equally wide for the learner's library.
    """

    network: nn.Module
    observe: nn.Module
    optimizer: torch.optim.Optimizer
    updates: Callable[[int], int]
    twins: tuple[nn.Module, ...] = ()
    output_of: Callable[[object], Tensor] = first_tensor
    equal_widths: tuple[tuple[str, ...], ...] = ()


@final
@dataclass(frozen=True, kw_only=True)
class Learner:
    """The actor (policy or Q-network), whose outputs are squashed by tanh or not, and the critic if there is one."""

    actor: PrunableNetwork
    critic: PrunableNetwork | None = None
    squashed: bool = False
