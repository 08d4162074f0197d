"""Physical removal during training: networks, gradients and the optimizer's state shrink together.

``surgery.shrink`` makes a smaller copy; this module changes the network that is being trained. Parameters are replaced
by smaller ones, so a training loop must not keep a list of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from prunekit.errors import CouplingError, InputError
from prunekit.graph.lifting import resizes
from prunekit.pruning.masks import Masks, resize_
from prunekit.pruning.slices import Group, left_of, without


def check_optimizer_state(optimizer: torch.optim.Optimizer) -> None:
    """Raise InputError unless the optimizer's state consists of numbers and of tensors shaped like their parameter.

    Moments (Adam, RMSprop, SGD's momentum) have the shape of the parameter. Factored or global statistics have not, so
    units cannot be removed from them.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.numel() != 1 and value.shape != parameter.shape:
                raise InputError(
                    f"{type(optimizer).__name__} keeps '{name}' of shape {list(value.shape)} for a parameter of shape "
                    f"{list(parameter.shape)}; units cannot be removed from that while training: train with masks"
                )


@torch.no_grad()
def remove_units_(
    networks: Sequence[nn.Module],
    groups: Sequence[Group],
    keep: Masks,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Keep only the units ``keep`` (bool [width] per group) in every network, in place, and in the optimizer's state.

    The optimizer's moments follow their units; step counts stay. Removed units must already be zero. Raises InputError,
    before anything is changed, for an optimizer whose state does not allow it.
    """
    if optimizer is not None:
        check_optimizer_state(optimizer)
    for (path, axis, argument), stays in left_of(groups, keep).items():
        if argument is not None or bool(stays.all()):
            continue
        index, (module_path, _, name) = stays.nonzero().squeeze(1), path.rpartition(".")
        for network in networks:
            _select_(network.get_submodule(module_path), name, axis, index, optimizer)
    for path in dict.fromkeys(entry.path.rpartition(".")[0] for group in groups for entry in group.slices):
        for network in networks:
            resize_(network, path)


def refuse_replacing(network: nn.Module, groups: Sequence[Group]) -> None:
    """Raise CouplingError, naming the module, if a module of ``network`` would have to be replaced to lose units.

    Norms are replaced by counted ones, and a training loop that holds the old module would not notice.
    """
    for group in groups:
        for entry in group.slices:
            path = entry.path.rpartition(".")[0]
            module = network.get_submodule(path)
            if resizes()[type(module)].replaces:
                raise CouplingError(
                    f"module '{path}' ({type(module).__name__}) cannot lose units while training goes on; call "
                    "prunekit.count_norms_(network) first, or train with live_shrink=False and shrink at the end"
                )


def padded(keep: Masks, present: Masks, equal_widths: Sequence[Sequence[str]]) -> dict[str, Tensor]:
    """Return which of the present units must stay, bool [original width] per group: at least the living ones.

    Groups named together in ``equal_widths`` keep dead units too, so all are as wide as the widest of them.
    """
    result = {name: kept.clone() for name, kept in keep.items()}
    for family in equal_widths:
        widest = max(int(keep[name].sum()) for name in family)
        for name in family:
            spare = (present[name] & ~keep[name]).nonzero().squeeze(1)
            result[name][spare[: widest - int(keep[name].sum())]] = True
    return result


def living_view(network: nn.Module, groups: Sequence[Group], keep: Masks) -> tuple[nn.Module, tuple[Group, ...]]:
    """Return ``network`` reduced to the units ``keep``, and its groups; all other units must be zero.

    Modules without units are shared with ``network``, including anything that a training loop stores in them.
    """
    view = _shallow(network, {})
    remove_units_((view,), groups, keep)
    return view, without(groups, keep)


@torch.no_grad()
def write_back_(network: nn.Module, groups: Sequence[Group], keep: Masks, view: nn.Module) -> None:
    """Write the parameters of ``view``, a copy of a ``living_view`` of ``network``, to their places in ``network``."""
    places: dict[str, dict[int, Tensor]] = {}
    for (path, axis, argument), stays in left_of(groups, keep).items():
        if argument is None:
            places.setdefault(path, {})[axis] = stays.nonzero().squeeze(1)
    for path, parameter in view.named_parameters():
        whole, left = network.get_parameter(path), places.get(path, {})
        if whole.ndim == 0:
            whole.copy_(parameter)
            continue
        index = [left.get(axis, torch.arange(size)).to(whole.device) for axis, size in enumerate(whole.shape)]
        whole[torch.meshgrid(*index, indexing="ij")] = parameter


def copy_of(network: nn.Module) -> nn.Module:
    """Return a copy of ``network`` with parameters of its own; all else that its modules hold is shared."""
    copy = _shallow(network, {})
    own: dict[nn.Parameter, nn.Parameter] = {}
    for module in copy.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                if parameter not in own:
                    own[parameter] = nn.Parameter(parameter.detach().clone(), requires_grad=False)
                module._parameters[name] = own[parameter]
    return copy


def _shallow(module: nn.Module, copied: dict[nn.Module, nn.Module]) -> nn.Module:
    """Return a copy of ``module`` and its submodules that shares their tensors and hooks.

    A deep copy would fail on objects that training loops store in modules and hooks: activations, loggers, locks.
    """
    if module not in copied:
        copied[module] = view = module.__new__(type(module))
        view.__dict__.update(module.__dict__)
        view.__dict__["_parameters"] = dict(module._parameters)
        view.__dict__["_buffers"] = dict(module._buffers)
        view.__dict__["_modules"] = {
            name: None if child is None else _shallow(child, copied) for name, child in module._modules.items()
        }
    return copied[module]


def _select_(
    module: nn.Module, name: str, dimension: int, index: Tensor, optimizer: torch.optim.Optimizer | None
) -> None:
    if name in module._buffers:
        module._buffers[name] = getattr(module, name).index_select(dimension, index.to(getattr(module, name).device))
        return
    old = module.get_parameter(name)
    index = index.to(old.device)
    new = nn.Parameter(old.detach().index_select(dimension, index), requires_grad=old.requires_grad)
    if old.grad is not None:
        new.grad = old.grad.index_select(dimension, index)
    setattr(module, name, new)
    if optimizer is None:
        return
    for group in optimizer.param_groups:
        group["params"] = [new if parameter is old else parameter for parameter in group["params"]]
    if old in optimizer.state:
        optimizer.state[new] = {
            key: value.index_select(dimension, index)
            if isinstance(value, Tensor) and value.shape == old.shape and value.ndim > dimension
            else value
            for key, value in optimizer.state.pop(old).items()
        }
