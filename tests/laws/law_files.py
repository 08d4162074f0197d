"""Sound files ``model.pt`` of both formats to break, and what a reader may do with a broken one."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from format_1_files import format_1_bytes
from torch import nn

from prunekit.errors import ArtifactError
from prunekit.graph.graph import specs_of
from prunekit.graph.op import Spec
from prunekit.graph.reference import initial_states, run_step
from prunekit.policy.actor import Actor, Normalizer
from prunekit.policy.artifact import Artifact, load, make_artifact, to_bytes
from prunekit.policy.heads import ClipHead, Head, op_of_head
from prunekit.policy.model_file import ModelFile, read_model_file
from prunekit.policy.program import lower

FORMATS = (1, 2)


def actor_with(head: Head) -> Actor:
    """Return an actor from three observations over four units to two scores."""
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    return Actor(network, head, Normalizer([0.0] * 3, [1.0] * 3, 10.0))


def content_of(actor: Actor, version: int) -> bytes:
    artifact = make_artifact(actor, None, {"env": {"id": "none"}, "seed": 3})
    return format_1_bytes(artifact) if version == 1 else to_bytes(artifact)


_ACTOR = actor_with(ClipHead(low=(-1.0, -1.0), high=(1.0, 1.0)))
SOUND = {version: content_of(_ACTOR, version) for version in FORMATS}


def sound_data(content: bytes) -> dict[str, Any]:
    data = torch.load(io.BytesIO(content), weights_only=True)
    assert isinstance(data, dict)
    return data


def torch_saved(content: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def loaded_or_refused(content: bytes) -> ModelFile | None:
    """Read ``content``; None where it is refused as it should be, in one line that names the file.

    What is a chain of layers is loaded as an actor too, with whatever else is refused as what it is.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt"
        path.write_bytes(content)
        file, refusal = tried(read_model_file, path)
        artifact, no_chain = tried(load, path)
    if artifact is not None:
        assert artifact_runs(artifact)
    for words in filter(None, (refusal, no_chain)):
        assert words.startswith(str(path))
        assert "\n" not in words
    assert file is None or artifact is not None or "is not a chain of layers" in no_chain
    return file


def tried(read: Callable[[Path], Any], path: Path) -> tuple[Any, str]:
    try:
        return read(path), ""
    except ArtifactError as error:
        return None, str(error)


def runs(file: ModelFile) -> bool:
    """Whether the graph gives finite actions of the shape that it says."""
    graph, batch = file.graph, 5
    inputs = {port.name: np.zeros((batch, *port.shape), port.dtype) for port in graph.inputs}
    outputs, _ = run_step(graph, inputs, initial_states(graph, batch))
    shapes = {name: specs_of(graph)[name].shape for name in graph.outputs}
    return all(outputs[name].shape == (batch, *shapes[name]) for name in shapes) and all(
        bool(np.isfinite(value).all()) for value in outputs.values()
    )


@torch.no_grad()
def artifact_runs(artifact: Artifact) -> bool:
    """Whether the artifact's actor gives finite actions of the shape that its head should give."""
    program = lower(artifact.actor)
    action = artifact.actor(torch.zeros(5, program.inputs, dtype=next(artifact.actor.parameters()).dtype))
    (made,) = op_of_head(program.head).shapes([Spec((program.outputs,))])
    return tuple(action.shape) == (5, *made.shape) and bool(action.isfinite().all())
