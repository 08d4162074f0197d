"""``model.pt``: one file that holds a policy and how it came to be, read without running any code (law 7).

``torch.save`` writes a dictionary of plain values and tensors; ``torch.load(weights_only=True)`` reads it.
The network is kept as a chain of dense layers and activations, the form in which every actor is deployed.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from prunekit.activations import KINDS, Activation
from prunekit.errors import ArtifactError, InputError, PrunekitError
from prunekit.files import is_exactly, json_text, require_file, write_atomically
from prunekit.policy.actor import Actor, Normalizer
from prunekit.policy.heads import ArgmaxHead, ClipHead, Head, TanhHead
from prunekit.policy.program import lower, scores_path
from prunekit.pruning.groups import find_groups, linear_at
from prunekit.pruning.masks import check_masks, full_masks
from prunekit.pruning.tracing import Dense

FORMAT = "prunekit.model"
VERSION = 1
_HEADS: dict[str, type[ArgmaxHead] | type[ClipHead] | type[TanhHead]] = {
    "argmax": ArgmaxHead,
    "clip": ClipHead,
    "tanh": TanhHead,
}


@final
@dataclass(frozen=True)
class Artifact:
    """A policy in the form of ``model.pt``.

    ``actor.network`` is an ``nn.Sequential`` of ``nn.Linear`` and activations; ``masks`` hold one ``keep``
    per group of it; ``provenance`` is plain JSON-like data (environment, algorithm, seed, versions, returns).
    """

    actor: Actor
    masks: dict[str, Tensor]
    provenance: dict[str, Any] = field(default_factory=dict)


def chain_of(network: nn.Module) -> tuple[nn.Sequential, dict[str, str]]:
    """Return ``network``'s path to its scores as an ``nn.Sequential`` that shares its linear layers.

    The second value maps dotted paths in ``network`` to names in the chain, so that masks can follow.
    Raises CouplingError where the path is not a chain.
    """
    modules: list[nn.Module] = []
    names: dict[str, str] = {}
    for step in scores_path(network):
        if isinstance(step, Dense):
            names[step.path] = str(len(modules))
            modules.append(linear_at(network, step.path))
        elif step.activation.name != "identity":
            modules.append(step.activation.to_module())
    return nn.Sequential(*modules), names


def make_artifact(actor: Actor, masks: dict[str, Tensor] | None, provenance: dict[str, Any]) -> Artifact:
    """Return the artifact of ``actor``; ``masks`` go by the groups of ``actor.network`` (None: all units live).

    Raises InputError for masks that do not fit those groups.
    """
    chain, names = chain_of(actor.network)
    kept = full_masks(find_groups(chain))
    if masks is not None:
        check_masks(find_groups(actor.network), masks)
        kept |= {names[name]: keep for name, keep in masks.items() if names.get(name) in kept}
    return Artifact(Actor(chain, actor.head, actor.normalizer), kept, provenance)


def save(artifact: Artifact, path: Path) -> None:
    """Write ``artifact`` to ``path``, atomically; raises InputError as ``to_bytes`` does."""
    write_atomically(path, to_bytes(artifact))


def to_bytes(artifact: Artifact) -> bytes:
    """Return the content of a ``model.pt``.

    Raises InputError for weights that are NaN or infinite, for masks that do not fit, and for provenance that is no
    plain JSON data.
    """
    lower(artifact.actor)
    check_masks(find_groups(artifact.actor.network), artifact.masks)
    json_text(artifact.provenance, "provenance")
    buffer = io.BytesIO()
    torch.save(_encode(artifact), buffer)
    buffer.seek(0)
    try:
        torch.load(buffer, weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError("provenance holds objects that are no plain JSON data; nothing was written") from error
    return buffer.getvalue()


def load(path: Path) -> Artifact:
    """Read ``path``; raises ArtifactError, naming the file, for anything but a whole and sound ``model.pt``."""
    require_file(path)
    if path.suffix == ".onnx":
        raise ArtifactError(f"{path}: is an ONNX file; give the model.pt that it was exported from")
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ArtifactError(
            f"{path}: holds objects that could run code, so it was not loaded; only a model.pt written "
            "by prunekit is read"
        ) from error
    except Exception as error:  # torch raises many types for damaged files
        raise ArtifactError(f"{path}: damaged or not a torch file; write it again with prunekit") from error
    if not isinstance(data, dict) or not is_exactly(data.get("format"), FORMAT):
        raise ArtifactError(
            f"{path}: a torch file, but not a prunekit model; only a model.pt written by prunekit is read"
        )
    if not is_exactly(data.get("version"), VERSION):
        raise ArtifactError(f"{path}: format version {data.get('version')}, but this prunekit reads version {VERSION}")
    try:
        artifact = _decode(data)
        lower(artifact.actor)
        check_masks(find_groups(artifact.actor.network), artifact.masks)
    except PrunekitError as error:
        raise ArtifactError(f"{path}: {error}") from error
    except Exception as error:  # a file edited by hand can be wrong in any way
        raise ArtifactError(f"{path}: its contents do not fit together ({type(error).__name__}: {error})") from error
    return artifact


def with_provenance(artifact: Artifact, **entries: Any) -> Artifact:
    """Return a copy of ``artifact`` with ``entries`` added to its provenance."""
    return replace(artifact, provenance={**artifact.provenance, **entries})


def _encode(artifact: Artifact) -> dict[str, Any]:
    actor = artifact.actor
    layers: list[dict[str, Any]] = []
    for module_step in scores_path(actor.network):
        if isinstance(module_step, Dense):
            linear = linear_at(actor.network, module_step.path)
            bias = None if linear.bias is None else linear.bias.detach().cpu().clone()
            layers.append({"kind": "dense", "weight": linear.weight.detach().cpu().clone(), "bias": bias})
        else:
            activation = module_step.activation
            layers.append({"kind": activation.name, "parameter": activation.parameter})
    normalizer = None
    if actor.normalizer is not None:
        normalizer = {
            "mean": actor.normalizer.mean.cpu().clone(),
            "scale": actor.normalizer.scale.cpu().clone(),
            "clip": actor.normalizer.clip,
        }
    head_name = next(name for name, kind in _HEADS.items() if isinstance(actor.head, kind))
    return {
        "format": FORMAT,
        "version": VERSION,
        "layers": layers,
        "head": {"kind": head_name, **asdict(actor.head)},
        "normalizer": normalizer,
        "masks": {name: keep.clone() for name, keep in artifact.masks.items()},
        "provenance": artifact.provenance,
    }


def _decode(data: dict[str, Any]) -> Artifact:
    network = nn.Sequential(*(_module(layer) for layer in data["layers"]))
    dtypes = {parameter.dtype for parameter in network.parameters()}
    if len(dtypes) != 1 or not dtypes <= {torch.float32, torch.float64}:
        raise InputError("its weights must all be float32 or all float64")
    head_fields = dict(data["head"])
    head: Head = _HEADS[head_fields.pop("kind")](**head_fields)
    normalizer = None
    if data["normalizer"] is not None:
        fields = data["normalizer"]
        normalizer = Normalizer(fields["mean"].tolist(), fields["scale"].tolist(), fields["clip"])
    return Artifact(Actor(network, head, normalizer), dict(data["masks"]), dict(data["provenance"]))


def _module(layer: dict[str, Any]) -> nn.Module:
    if layer["kind"] != "dense":
        return Activation(KINDS[layer["kind"]].name, float(layer["parameter"])).to_module()
    weight, bias = layer["weight"], layer["bias"]
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=weight.dtype)
    linear.weight = nn.Parameter(weight)
    if bias is not None:
        linear.bias = nn.Parameter(bias)
    return linear
