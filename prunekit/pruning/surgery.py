"""Surgery: masked units are removed physically, which leaves a smaller network of the same kind."""

from __future__ import annotations

import copy

from torch import nn

from prunekit.graph import surgery
from prunekit.pruning.groups import traced_groups
from prunekit.pruning.masks import Masks, arrays_of, check_masks, write_


def shrink(network: nn.Module, masks: Masks, *, min_units: int = 1, states: int = 0) -> nn.Module:
    """Return a smaller copy of ``network`` without the units that ``masks`` removes.

    The copy gives the same outputs as the masked network, ``shrink(m, masks)(x) == masked(m, masks)(x)``, up to the
    rounding of shorter sums. A removed unit whose output is a non-zero constant is folded into the bias of its
    consumers. ``network`` is not changed.

    ``masks`` holds one ``keep`` bool [width] per group of ``find_groups(network, states=states)``. The copy has the
    same class, dtype, device, mode and ``requires_grad``, and keeps everything without removed units. A norm that lost
    units becomes a ``CountedLayerNorm`` or ``CountedRMSNorm``, whose statistics still count the original number of
    values. A state becomes as wide as its group.

    Raises CouplingError for networks that cannot be traced, InputError for masks that do not fit and for weights that
    are NaN or infinite, and EmptyGroupError if a group would keep fewer than ``min_units``.
    """
    traced, groups = traced_groups(network, states=states)
    check_masks(groups, masks, min_units)
    if traced is None:
        return copy.deepcopy(network)
    smaller = surgery.shrink(traced.graph, arrays_of(traced.graph, masks), min_units=min_units)
    result = copy.deepcopy(network)
    write_(result, traced, smaller)
    return result
