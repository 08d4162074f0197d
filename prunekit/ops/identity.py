"""Modules of torch that leave a deployed policy's values as they are; no op."""

from __future__ import annotations

from torch import nn
from torch.nn import functional

from prunekit.graph.lifting import Traced, from_function, from_module


@from_module(nn.Identity, nn.Dropout)
def _module(_: nn.Module, x: Traced) -> Traced:
    return x


@from_function(functional.dropout)
def _function(x: Traced, p: float = 0.5, training: bool = True) -> Traced | None:  # noqa: ARG001
    return None if training else x
