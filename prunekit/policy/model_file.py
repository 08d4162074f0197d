"""``model.pt``: one file with a policy and its provenance, read without running any code (law 7).

``torch.save`` writes a dictionary of plain values and tensors. ``prunekit.formats`` reads it, and so does
``torch.load(weights_only=True)``. Format 2 holds a graph of ops; format 1, a chain of layers, is still read.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import prunekit.ops  # noqa: F401  (registers them)
from prunekit.errors import ArtifactError, InputError, PrunekitError
from prunekit.files import is_exactly, json_text, require_file, write_atomically
from prunekit.formats.kinds import foreign_advice
from prunekit.formats.torch_file import read_torch
from prunekit.graph.bounds import require_bounded
from prunekit.graph.graph import Graph, as_dtype
from prunekit.graph.groups import find_groups
from prunekit.graph.storage import decode, encode
from prunekit.graph.surgery import Masks, check_masks
from prunekit.policy.actor import Actor
from prunekit.policy.format_1 import decode_format_1
from prunekit.policy.graphs import exact_graph_of
from prunekit.policy.heads import KindHead
from prunekit.policy.provenance import require_original, require_plain
from prunekit.spaces.kind import ActionKind, kind_from_dict

FORMAT = "prunekit.model"
VERSION = 2
_LONGEST_REASON = 300


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ModelFile:
    """The content of a ``model.pt``.

    ``graph`` has the outputs ``action`` and ``outputs`` (before the head). ``masks`` hold one ``keep`` bool [width] per
    group. ``provenance`` is plain JSON-like data (environment, algorithm, seed, versions, returns). ``actions`` is set
    if the head does not determine the actions.
    """

    graph: Graph
    masks: Masks
    provenance: Mapping[str, Any] = field(default_factory=dict)
    actions: ActionKind | None = None


def full_masks(graph: Graph) -> dict[str, NDArray[np.bool_]]:
    """Return masks that keep every unit of ``graph``."""
    return {group.name: np.ones(group.width, bool) for group in find_groups(graph)}


def model_file_of(actor: Actor, masks: Mapping[str, Tensor], provenance: Mapping[str, Any]) -> ModelFile:
    """Return the file of ``actor``, whose network is a chain; the keys of ``masks`` are positions in it."""
    return ModelFile(
        graph=exact_graph_of(actor),
        masks={name: keep.detach().cpu().numpy().copy() for name, keep in masks.items()},
        provenance=provenance,
        actions=actor.head.kind if isinstance(actor.head, KindHead) else None,
    )


def save_model_file(file: ModelFile, path: Path) -> None:
    """Write ``file`` to ``path``, atomically; raises InputError as ``to_bytes`` does."""
    write_atomically(path, to_bytes(file))


def to_bytes(file: ModelFile) -> bytes:
    """Return the content of a ``model.pt``.

    Raises InputError for a graph that is not a policy, for numbers beyond float32, for masks that do not fit, and for
    provenance that is not plain JSON data.
    """
    buffer = io.BytesIO()
    provenance = dict(file.provenance)
    _require_policy(file.graph)
    try:
        json_text(provenance, "provenance")
        _check(file)
        torch.save(_encoded(file, provenance), buffer)
    except RecursionError as error:
        raise InputError("provenance is nested too deeply; nothing was written") from error
    try:
        require_plain(read_torch(buffer.getvalue())["provenance"])
    except InputError as error:
        raise InputError(f"provenance is not plain JSON data ({error}); nothing was written") from error
    return buffer.getvalue()


def read_model_file(path: Path) -> ModelFile:
    """Read ``path``; raises ArtifactError, naming the file, unless it is a sound ``model.pt``."""
    require_file(path)
    advice = foreign_advice(path)
    if advice is not None:
        raise ArtifactError(f"{path}: {advice}")
    try:
        data = read_torch(path)
    except InputError as error:
        raise ArtifactError(f"{path}: {error}") from error
    if not isinstance(data, dict) or not is_exactly(data.get("format"), FORMAT):
        raise ArtifactError(f"{path}: a torch file, but not a prunekit model{_alternative(data)}")
    version = data.get("version")
    if not any(is_exactly(version, known) for known in (1, VERSION)):
        raise ArtifactError(
            f"{path}: format version {shorten(str(version), 60)}, but this prunekit reads versions 1 and {VERSION}"
        )
    try:
        file = _decoded(data) if version == VERSION else _of_format_1(data)
        _check(file)
    except PrunekitError as error:
        raise ArtifactError(f"{path}: {one_line(error)}") from error
    except Exception as error:  # a file edited by hand can be wrong in any way
        reason = f"its contents do not fit together ({type(error).__name__}: {one_line(error)})"
        raise ArtifactError(f"{path}: {reason}") from error
    return file


def one_line(error: Exception) -> str:
    """Return the text of ``error``, which may quote the file, as one line of limited length."""
    return shorten(str(error), _LONGEST_REASON, placeholder=" ...")


def _alternative(data: object) -> str:
    """Return advice for another torch file."""
    if isinstance(data, dict) and data and all(isinstance(value, Tensor) for value in data.values()):
        return (
            "; weights alone do not say which network they belong to: load them into the network in Python, "
            "and write it "
            "with prunekit.Policy.from_network(network).save(path)"
        )
    return ", which is needed here"


def _check(file: ModelFile) -> None:
    graph, groups = file.graph, find_groups(file.graph)
    check_masks(groups, file.masks)
    require_original(file.provenance, [group.width for group in groups])
    if file.actions is not None and not file.actions.takes(graph.nodes[-1].op):
        raise InputError(f"its {file.actions.sort} actions do not match its head")


def _require_policy(graph: Graph) -> None:
    """Raise InputError unless ``graph`` is a policy that every runtime can hold."""
    require_bounded(graph)
    if graph.outputs != ("action", "outputs") or not graph.inputs:
        raise InputError(
            f"its graph maps {len(graph.inputs)} inputs to {', '.join(graph.outputs)[:60]!r}, but a policy maps its "
            "observation to 'action' and 'outputs'"
        )
    with np.errstate(over="ignore"):
        as_dtype(graph, np.float32)  # refuses what float32 does not hold


def _encoded(file: ModelFile, provenance: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "graph": encode(file.graph),
        "actions": None if file.actions is None else file.actions.to_dict(),
        "masks": {name: torch.from_numpy(keep.copy()) for name, keep in file.masks.items()},
        "provenance": provenance,
    }


def _decoded(data: Mapping[str, Any]) -> ModelFile:
    graph = decode(data["graph"])
    _require_policy(graph)
    masks = {}
    for name, keep in dict(data["masks"]).items():
        if type(name) is not str or not isinstance(keep, Tensor):
            raise InputError(f"its mask {str(name)[:60]!r} is not a tensor with a name")
        masks[name] = keep.numpy().copy()
    actions = None if data["actions"] is None else kind_from_dict(data["actions"])
    return ModelFile(graph=graph, masks=masks, provenance=_provenance(data), actions=actions)


def _of_format_1(data: Mapping[str, Any]) -> ModelFile:
    actor, masks = decode_format_1(data)
    return model_file_of(actor, masks, _provenance(data))


def _provenance(data: Mapping[str, Any]) -> dict[str, Any]:
    provenance = dict(data["provenance"])
    require_plain(provenance)
    return provenance
