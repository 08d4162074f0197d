"""A sound ``model.pt`` to break, and what a reader may do with a broken one."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from prunekit.errors import ArtifactError
from prunekit.graph.op import Spec
from prunekit.policy.actor import Actor, Normalizer
from prunekit.policy.artifact import Artifact, load, make_artifact, save
from prunekit.policy.heads import ClipHead, Head, op_of_head
from prunekit.policy.program import lower


def actor_with(head: Head) -> Actor:
    """Return an actor from three observations over four units to two scores."""
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    return Actor(network, head, Normalizer([0.0] * 3, [1.0] * 3, 10.0))


def content_of(actor: Actor) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt"
        save(make_artifact(actor, None, {"env": {"id": "none"}, "seed": 3}), path)
        return path.read_bytes()


SOUND = content_of(actor_with(ClipHead((-1.0, -1.0), (1.0, 1.0))))


def sound_data(content: bytes = SOUND) -> dict[str, Any]:
    data = torch.load(io.BytesIO(content), weights_only=True)
    assert isinstance(data, dict)
    return data


def torch_saved(content: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def loaded_or_refused(content: bytes) -> Artifact | None:
    """Load ``content``; None where it is refused as it should be, in one line that names the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt"
        path.write_bytes(content)
        try:
            return load(path)
        except ArtifactError as error:
            refusal = str(error)
    assert refusal.startswith(str(path))
    return None


@torch.no_grad()
def runs(artifact: Artifact) -> bool:
    """Whether the artifact's actor gives finite actions of the shape that its head should give."""
    program = lower(artifact.actor)
    action = artifact.actor(torch.zeros(5, program.inputs, dtype=next(artifact.actor.parameters()).dtype))
    (made,) = op_of_head(program.head).shapes([Spec((program.outputs,))])
    return tuple(action.shape) == (5, *made.shape) and bool(action.isfinite().all())
