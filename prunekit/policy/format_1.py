"""Format 1 of ``model.pt``: a chain of layers, a head and a normalizer, without a graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from prunekit.activations import KINDS, Activation
from prunekit.errors import InputError
from prunekit.policy.actor import Actor, Normalizer
from prunekit.policy.heads import ArgmaxHead, ClipHead, Head, TanhHead, head_of
from prunekit.policy.program import lower
from prunekit.pruning.groups import find_groups
from prunekit.pruning.masks import check_masks
from prunekit.spaces.kind import kind_from_dict

_MAX_LAYERS = 512
_HEADS: dict[str, type[ArgmaxHead] | type[ClipHead] | type[TanhHead]] = {
    "argmax": ArgmaxHead,
    "clip": ClipHead,
    "tanh": TanhHead,
}


def decode_format_1(data: Mapping[str, Any]) -> tuple[Actor, dict[str, Tensor]]:
    """Return the actor, whose network is an ``nn.Sequential``, and its masks; raises InputError and others for invalid
    data.
    """
    if len(data["layers"]) > _MAX_LAYERS:
        raise InputError(f"has {len(data['layers']):,} layers, more than the {_MAX_LAYERS} that any policy needs")
    network = nn.Sequential(*(_module(layer) for layer in data["layers"]))
    dtypes = {parameter.dtype for parameter in network.parameters()}
    if len(dtypes) != 1 or not dtypes <= {torch.float32, torch.float64}:
        raise InputError("its weights must all be float32 or all float64")
    head = _head(dict(data["head"]))
    normalizer = None
    if data["normalizer"] is not None:
        fields = data["normalizer"]
        normalizer = Normalizer(fields["mean"].tolist(), fields["scale"].tolist(), fields["clip"])
    actor, masks = Actor(network, head, normalizer), dict(data["masks"])
    lower(actor)
    check_masks(find_groups(network), masks)
    return actor, masks


def _head(data: dict[str, Any]) -> Head:
    """Return the head in ``data``: one of the three heads of a single float or number, or that of a kind of actions."""
    kind = _HEADS.get(data["kind"])
    if kind is None:
        return head_of(kind_from_dict(data))
    return kind(**{name: value for name, value in data.items() if name != "kind"})


def _module(layer: dict[str, Any]) -> nn.Module:
    if layer["kind"] != "dense":
        parameter = layer["parameter"]
        if type(parameter) not in (int, float) or not abs(parameter) <= torch.finfo(torch.float32).max:
            raise InputError(f"its activation has the parameter {str(parameter)[:60]!r}, not a finite float32 number")
        return Activation(name=KINDS[layer["kind"]].name, parameter=float(parameter)).to_module()
    weight, bias = layer["weight"], layer["bias"]
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=weight.dtype, device="meta")
    linear.weight = nn.Parameter(weight)
    if bias is not None:
        linear.bias = nn.Parameter(bias)
    return linear
