"""``model.pt``: one file that holds a policy and how it came to be, read without running any code (law 7).

``torch.save`` writes a dictionary of plain values and tensors; ``prunekit.formats`` reads it, and so does
``torch.load(weights_only=True)``.
The network is kept as a chain of dense layers and activations, the form in which every actor is deployed.
"""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from pathlib import Path
from textwrap import shorten
from typing import Any, final

import torch
from torch import Tensor, nn

from prunekit.activations import KINDS, Activation
from prunekit.errors import ArtifactError, InputError, PrunekitError
from prunekit.files import is_exactly, json_text, require_file, write_atomically
from prunekit.formats.kinds import foreign_advice
from prunekit.formats.torch_file import read_torch
from prunekit.policy.actor import Actor, Normalizer
from prunekit.policy.heads import ArgmaxHead, ClipHead, Head, KindHead, TanhHead, head_of
from prunekit.policy.program import lower, scores_path
from prunekit.pruning.groups import find_groups
from prunekit.pruning.masks import check_masks, full_masks
from prunekit.pruning.slices import linear_at
from prunekit.pruning.tracing import Dense
from prunekit.spaces.kind import kind_from_dict

FORMAT = "prunekit.model"
VERSION = 1
_LONGEST_REASON = 300
_MAX_LAYERS = 512
_MAX_WIDTH = 2**24
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
    buffer = io.BytesIO()
    try:
        json_text(artifact.provenance, "provenance")
        torch.save(_encode(artifact), buffer)
    except RecursionError as error:
        raise InputError("provenance is nested too deeply; nothing was written") from error
    try:
        _require_plain(read_torch(buffer.getvalue())["provenance"])
    except InputError as error:
        raise InputError(f"provenance is no plain JSON data ({error}); nothing was written") from error
    return buffer.getvalue()


def load(path: Path) -> Artifact:
    """Read ``path``; raises ArtifactError, naming the file, for anything but a whole and sound ``model.pt``."""
    require_file(path)
    advice = foreign_advice(path)
    if advice is not None:
        raise ArtifactError(f"{path}: {advice}")
    try:
        data = read_torch(path)
    except InputError as error:
        raise ArtifactError(f"{path}: {error}; only a model.pt written by prunekit is read") from error
    if not isinstance(data, dict) or not is_exactly(data.get("format"), FORMAT):
        raise ArtifactError(f"{path}: a torch file, but not a prunekit model{_alternative(data)}")
    if not is_exactly(data.get("version"), VERSION):
        raise ArtifactError(
            f"{path}: format version {str(data.get('version'))[:60]}, but this prunekit reads version {VERSION}"
        )
    try:
        artifact = _decode(data)
        lower(artifact.actor)
        check_masks(find_groups(artifact.actor.network), artifact.masks)
    except PrunekitError as error:
        raise ArtifactError(f"{path}: {_one_line(error)}") from error
    except Exception as error:  # a file edited by hand can be wrong in any way
        reason = f"its contents do not fit together ({type(error).__name__}: {_one_line(error)})"
        raise ArtifactError(f"{path}: {reason}") from error
    return artifact


def _one_line(error: Exception) -> str:
    """Return the text of ``error``, which may quote the file, as one line of a bounded length."""
    return shorten(str(error), _LONGEST_REASON, placeholder=" ...")


def _alternative(data: object) -> str:
    """Return what to do with the data of another torch file."""
    if isinstance(data, dict) and data and all(isinstance(value, Tensor) for value in data.values()):
        return (
            "; its weights do not say which network they are of: load them into the network in Python, and write it "
            "with prunekit.make_artifact and prunekit.save"
        )
    return "; only a model.pt written by prunekit is read"


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
    return {
        "format": FORMAT,
        "version": VERSION,
        "layers": layers,
        "head": _head_data(actor.head),
        "normalizer": normalizer,
        "masks": {name: keep.clone() for name, keep in artifact.masks.items()},
        "provenance": artifact.provenance,
    }


def _decode(data: dict[str, Any]) -> Artifact:
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
    provenance = dict(data["provenance"])
    _require_plain(provenance)
    _require_original(provenance, [part.out_features for part in network if isinstance(part, nn.Linear)][:-1])
    return Artifact(Actor(network, head, normalizer), dict(data["masks"]), provenance)


def _head_data(head: Head) -> dict[str, Any]:
    if isinstance(head, KindHead):
        return head.kind.to_dict()
    return {"kind": next(name for name, kind in _HEADS.items() if type(head) is kind), **asdict(head)}


def _head(data: dict[str, Any]) -> Head:
    """Return the head of ``data``: one of the three that actions of one float or number have, or that of a kind."""
    kind = _HEADS.get(data["kind"])
    if kind is None:
        return head_of(kind_from_dict(data))
    return kind(**{name: value for name, value in data.items() if name != "kind"})


def _require_plain(value: object) -> None:
    """Raise InputError unless the bounded data ``value`` is what JSON holds: with it files say where they come from."""
    if isinstance(value, dict):
        for key, entry in value.items():
            if type(key) is not str:
                raise InputError(f"its provenance has the key {str(key)[:60]!r}, which is no text")
            _require_plain(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            _require_plain(entry)
    elif not (value is None or isinstance(value, str | bool | int) or (type(value) is float and isfinite(value))):
        raise InputError(
            f"its provenance holds {type(value).__name__} {str(value)[:60]!r}, which is no plain JSON data"
        )


def _require_original(provenance: dict[str, Any], hidden: list[int]) -> None:
    """Raise InputError where the widths before pruning, which ``shrink`` reports, cannot have become ``hidden``."""
    told = provenance.get("original_hidden", hidden)
    widths = told if isinstance(told, list | tuple) and len(told) == len(hidden) else [None]
    known = all(type(one) is int and now <= one <= _MAX_WIDTH for one, now in zip(widths, hidden, strict=False))
    if len(widths) != len(hidden) or not known:
        raise InputError(f"its provenance says that its hidden widths were {str(told)[:60]!r}, but they are {hidden}")


def _module(layer: dict[str, Any]) -> nn.Module:
    if layer["kind"] != "dense":
        parameter = layer["parameter"]
        if type(parameter) not in (int, float) or not abs(parameter) <= torch.finfo(torch.float32).max:
            raise InputError(f"its activation has the parameter {str(parameter)[:60]!r}, no finite number of float32")
        return Activation(KINDS[layer["kind"]].name, float(parameter)).to_module()
    weight, bias = layer["weight"], layer["bias"]
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=weight.dtype, device="meta")
    linear.weight = nn.Parameter(weight)
    if bias is not None:
        linear.bias = nn.Parameter(bias)
    return linear
