"""Checks that layers can lose units: their parameters must be plain, real, in memory, and used only once.

If a layer computes its weight from other tensors, its dead rows return at the next forward pass, and a smaller weight
would be overwritten by one of the old shape. Such layers are refused, and the error names the call that makes them
plain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from prunekit.errors import CouplingError, InputError
from prunekit.graph.tracing import TracedNetwork, fx_graph, submodule_at, upstream
from prunekit.graph.trunk import trace_trunk

_PARAMETERS = {"weight", "bias"}
# The names that torch's older functions register instead of ``weight``, each with the function that undoes it.
_UNDONE_BY = {
    "weight_g": "torch.nn.utils.remove_weight_norm(layer)",
    "weight_u": "torch.nn.utils.remove_spectral_norm(layer)",
    "weight_mask": "torch.nn.utils.prune.remove(layer, 'weight')",
    "bias_mask": "torch.nn.utils.prune.remove(layer, 'bias')",
}


def trace_layers(network: nn.Module, *, states: int = 0, structure_only: bool = False) -> TracedNetwork | None:
    """Return ``trace_trunk`` of ``network`` after checking that its layers are plain and called once.

    Batch normalization is traced as in evaluation mode. Raises CouplingError, naming the culprit, for a network that
    cannot be traced or has several inputs, and for layers that are computed, complex, without values, called twice, or
    share parameters.
    """
    graph = fx_graph(network, 1 + states)
    for node in graph.nodes:
        if node.op == "call_module":
            module = submodule_at(network, str(node.target))
            refuse_other_linear(str(node.target), module)
            if isinstance(module, nn.Linear):
                refuse_computed(str(node.target), module)
    with _evaluated(network):
        traced = trace_trunk(network, graph, states=states, structure_only=structure_only)
    if traced is None:
        return None
    paths = [path for path in traced.modules.values() if any(True for _ in network.get_submodule(path).parameters())]
    needed = upstream(list(graph.nodes)[-1].all_input_nodes)
    for node in graph.nodes:
        if node.op == "get_attr" and node in needed and str(node.target).rpartition(".")[0] in paths:
            raise CouplingError(f"'{node.target}' is read apart from its layer; units of such layers cannot be pruned")
    held = {path.rpartition(".")[0] for path in traced.paths.values()}
    _refuse_shared(network, [path for path in paths if path in held])
    refuse_common_memory(network, paths)
    return traced


@contextmanager
def _evaluated(network: nn.Module) -> Iterator[None]:
    training = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d) and module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _refuse_shared(network: nn.Module, paths: Sequence[str]) -> None:
    owner: dict[int, str] = {}
    for path, count in Counter(paths).items():
        module = network.get_submodule(path)
        if count > 1:
            raise CouplingError(
                f"module '{path}' ({type(module).__name__}) is called {count} times; units of shared layers "
                "cannot be pruned"
            )
        for name, parameter in module.named_parameters():
            first = owner.setdefault(id(parameter), path)
            if first != path:
                raise CouplingError(
                    f"modules '{first}' and '{path}' share one {name}; units of tied layers cannot be pruned separately"
                )


def refuse_other_linear(path: str, module: nn.Module) -> None:
    """Raise CouplingError, with the cure, if ``module`` is a subclass of ``nn.Linear``."""
    if not isinstance(module, nn.Linear) or type(module) is nn.Linear:
        return
    kind = type(module).__name__
    for name in ("weight", "bias"):
        if is_parametrized(module, name):
            raise CouplingError(
                f"module '{path}' ({kind}) computes its {name} by a parametrization, which would bring dead units "
                f"back; make it plain with torch.nn.utils.parametrize.remove_parametrizations(layer, '{name}')"
            )
    if isinstance(module, nn.LazyLinear):
        raise CouplingError(f"module '{path}' ({kind}) has no weight yet; run the network once on an observation first")
    raise CouplingError(
        f"module '{path}' ({kind}) is a subclass of Linear, which may use its weight in another way; put a plain "
        "torch.nn.Linear in its place"
    )


def check_trainable_types(network: nn.Module) -> None:
    """Raise InputError unless the floating-point parameters of ``network`` are all float32, or all float64.

    Importance and compensation solve linear systems, for which half precision is too coarse.
    """
    found = {parameter.dtype: name for name, parameter in network.named_parameters()}
    for dtype, name in found.items():
        if dtype not in (torch.float32, torch.float64):
            raise InputError(
                f"parameter '{name}' is {_name(dtype)}, but only float32 and float64 networks can be pruned while they "
                "train; keep the parameters in float32 and use torch.autocast for the forward pass"
            )
    if len(found) > 1:
        (first, one), (second, other) = list(found.items())[:2]
        raise InputError(
            f"the network mixes types: '{one}' is {_name(first)}, '{other}' {_name(second)}; call network.float()"
        )


def refuse_computed(path: str, layer: nn.Linear) -> None:
    """Raise CouplingError, with the cure, unless weight and bias of ``layer`` are plain parameters with values.

    Refused are weights that are computed or replaced at each call, complex weights, and weights on the device "meta".
    """
    registered = {*layer._parameters, *layer._buffers}
    cure = next((call for name, call in _UNDONE_BY.items() if name in registered), None)
    absent = [name for name in _PARAMETERS if name not in layer._parameters or name in vars(layer)]
    if cure is not None or absent:
        computed = " and ".join(sorted(absent)) or "weight"
        raise CouplingError(
            f"module '{path}' (Linear) computes its {computed} at each call, which would bring dead units back; make "
            f"it plain with {cure or 'parameters of its own'}"
        )
    more = sorted(set(layer._parameters) - _PARAMETERS)
    if more or "forward" in vars(layer):
        what = f"has the parameter '{more[0]}' besides weight and bias" if more else "has an overridden forward"
        raise CouplingError(f"module '{path}' (Linear) {what}, whose effect on units is not known; remove it")
    for name, parameter in layer.named_parameters(recurse=False):
        if parameter.is_meta:
            raise CouplingError(
                f"the {name} of module '{path}' is on the device 'meta', without values; load the weights first"
            )
        if not parameter.is_floating_point():
            raise CouplingError(
                f"the {name} of module '{path}' is {_name(parameter.dtype)}, but only real floating-point weights can "
                "be pruned; use float32"
            )


def refuse_common_memory(network: nn.Module, paths: Sequence[str]) -> None:
    """Raise CouplingError if a layer at ``paths`` shares memory with another parameter of ``network``."""
    prunable = {id(network.get_submodule(path)) for path in paths}
    spans = sorted(
        (parameter.data_ptr(), parameter.data_ptr() + parameter.nbytes, id(module), f"{path}.{name}".lstrip("."))
        for path, module in network.named_modules()
        for name, parameter in module._parameters.items()
        if parameter is not None and parameter.numel() and not parameter.is_meta and parameter.is_contiguous()
    )
    for (_, end, one, first), (begin, _, two, second) in pairwise(spans):
        if begin < end and (one in prunable or two in prunable):
            names = " and ".join(f"'{name}'" for name in sorted((first, second)))
            raise CouplingError(f"{names} share their memory; units of tied layers cannot be pruned separately")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
