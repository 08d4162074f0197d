"""An actor with its masks and provenance: the form of ``model.pt`` for chains of layers.

``model_file.py`` defines the file itself, which can hold any graph.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from prunekit.errors import ArtifactError, CouplingError, InputError
from prunekit.files import write_atomically
from prunekit.policy import model_file
from prunekit.policy.actor import Actor
from prunekit.policy.chains import actor_of
from prunekit.policy.model_file import ModelFile, model_file_of, one_line, read_model_file
from prunekit.policy.program import lower, outputs_path
from prunekit.pruning.groups import find_groups
from prunekit.pruning.masks import check_masks, full_masks
from prunekit.pruning.slices import linear_at
from prunekit.pruning.tracing import AffineStep


@final
@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A policy in the form of ``model.pt``.

    ``actor.network`` is an ``nn.Sequential`` of ``nn.Linear`` and activations; ``masks`` hold one ``keep``
    per group of it; ``provenance`` is plain JSON-like data (environment, algorithm, seed, versions, returns).
    """

    actor: Actor
    masks: dict[str, Tensor]
    provenance: dict[str, Any] = field(default_factory=dict)


def chain_of(network: nn.Module) -> tuple[nn.Sequential, dict[str, str]]:
    """Return the path of ``network`` to its outputs as an ``nn.Sequential`` that shares its linear layers.

    The second value maps dotted paths in ``network`` to names in the chain, so masks can be translated. Raises
    CouplingError if the path is not a chain.
    """
    modules: list[nn.Module] = []
    names: dict[str, str] = {}
    for step in outputs_path(network):
        if isinstance(step, AffineStep):
            names[step.path] = str(len(modules))
            modules.append(linear_at(network, step.path))
        elif step.activation.name != "identity":
            modules.append(step.activation.to_module())
    return nn.Sequential(*modules), names


def make_artifact(actor: Actor, masks: dict[str, Tensor] | None, provenance: dict[str, Any]) -> Artifact:
    """Return the artifact of ``actor``; ``masks`` has one entry per group of ``actor.network`` (None: all units live).

    Raises InputError for masks that do not fit those groups.
    """
    chain, names = chain_of(actor.network)
    kept = full_masks(find_groups(chain))
    if masks is not None:
        check_masks(find_groups(actor.network), masks)
        kept |= {names[name]: keep for name, keep in masks.items() if names.get(name) in kept}
    return Artifact(actor=Actor(chain, actor.head, actor.normalizer), masks=kept, provenance=provenance)


def save(artifact: Artifact, path: Path) -> None:
    """Write ``artifact`` to ``path``, atomically; raises InputError as ``to_bytes`` does."""
    write_atomically(path, to_bytes(artifact))


def to_bytes(artifact: Artifact) -> bytes:
    """Return the content of a ``model.pt``.

    Raises InputError for weights that are NaN or infinite, for masks that do not fit, and for provenance that is no
    plain JSON data.
    """
    lower(artifact.actor)
    return model_file.to_bytes(model_file_of(artifact.actor, artifact.masks, artifact.provenance))


def load(path: Path) -> Artifact:
    """Read ``path``; raises ArtifactError, naming the file, unless it is a sound ``model.pt`` with a chain of
    layers.
    """
    file = read_model_file(path)
    try:
        return artifact_of(file)
    except CouplingError as error:
        raise ArtifactError(f"{path}: {one_line(error)}; read it with prunekit.load") from error
    except InputError as error:
        raise ArtifactError(f"{path}: {one_line(error)}") from error


def artifact_of(file: ModelFile) -> Artifact:
    """Return the artifact in ``file``; raises CouplingError, naming the node, if its graph is not a chain of layers."""
    actor, names = actor_of(file.graph, file.actions)
    masks = {names[name]: torch.from_numpy(keep.copy()) for name, keep in file.masks.items()}
    return Artifact(actor=actor, masks=masks, provenance=dict(file.provenance))


def with_provenance(artifact: Artifact, **entries: Any) -> Artifact:
    """Return a copy of ``artifact`` with ``entries`` added to its provenance."""
    return replace(artifact, provenance={**artifact.provenance, **entries})
