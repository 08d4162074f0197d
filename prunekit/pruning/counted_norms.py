"""Replacement of torch's norms by norms with a fixed count of values, which can lose units during training."""

from __future__ import annotations

from torch import nn

from prunekit.graph.lifting import resizes


def count_norms_(network: nn.Module) -> tuple[str, ...]:
    """Replace every ``nn.LayerNorm`` and ``nn.RMSNorm`` in ``network`` by a counted norm, and return their paths.

    The new modules compute the same, up to rounding. They keep the parameters and their names, so optimizers and saved
    files stay valid. Hooks on the old modules are lost. Norms without a weight, or over several axes, are left as they
    are. Call it before ``Pruner(..., live_shrink=True)``::

        prunekit.count_norms_(network)
        pruner = prunekit.Pruner(network, optimizer, total_steps=40_000, live_shrink=True)
    """
    replaced = []
    made: dict[nn.Module, nn.Module] = {}  # a shared module stays shared
    for path, module in list(network.named_modules(remove_duplicate=False)):
        resize = resizes().get(type(module))
        shape = getattr(module, "normalized_shape", ())
        if not path or resize is None or not resize.replaces or len(shape) != 1:
            continue
        if getattr(module, "weight", None) is None:
            continue
        if module not in made:
            made[module] = resize.function(module)
        parent, _, name = path.rpartition(".")
        setattr(network.get_submodule(parent), name, made[module])
        replaced.append(path)
    return tuple(replaced)
