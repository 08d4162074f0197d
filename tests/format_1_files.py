"""``model.pt`` in format 1, as prunekit wrote it before the file held a graph."""

from __future__ import annotations

import io
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from prunekit.activations import activation_of_module
from prunekit.policy.artifact import Artifact
from prunekit.policy.heads import ArgmaxHead, ClipHead, Head, KindHead, TanhHead


def format_1_data(artifact: Artifact) -> dict[str, Any]:
    actor, normalizer = artifact.actor, artifact.actor.normalizer
    return {
        "format": "prunekit.model",
        "version": 1,
        "layers": [layer_data(module) for module in actor.network],
        "head": head_data(actor.head),
        "normalizer": None
        if normalizer is None
        else {"mean": normalizer.mean.clone(), "scale": normalizer.scale.clone(), "clip": normalizer.clip},
        "masks": {name: keep.clone() for name, keep in artifact.masks.items()},
        "provenance": artifact.provenance,
    }


def format_1_bytes(artifact: Artifact) -> bytes:
    buffer = io.BytesIO()
    torch.save(format_1_data(artifact), buffer)
    return buffer.getvalue()


def layer_data(module: nn.Module) -> dict[str, Any]:
    if isinstance(module, nn.Linear):
        bias = None if module.bias is None else module.bias.detach().clone()
        return {"kind": "dense", "weight": module.weight.detach().clone(), "bias": bias}
    activation = activation_of_module(module)
    assert activation is not None
    return {"kind": activation.name, "parameter": activation.parameter}


def head_data(head: Head) -> dict[str, Any]:
    if isinstance(head, KindHead):
        return head.kind.to_dict()
    return {"kind": {ArgmaxHead: "argmax", ClipHead: "clip", TanhHead: "tanh"}[type(head)], **asdict(head)}
