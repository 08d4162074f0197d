"""``model.pt``, prunekit's own."""

from __future__ import annotations

from prunekit.environments import Spaces
from prunekit.policy.artifact import load
from prunekit.policy.description import described
from prunekit.policy.graphs import graph_of
from prunekit.readers.opened import Opened
from prunekit.readers.policy_file import PolicyFile, PolicyOptions
from prunekit.readers.registry import Reader


def _recognised(opened: Opened) -> bool:
    if opened.container == "unknown":  # too damaged to show what it is, read as what it is called
        return opened.path.suffix.lower() == ".pt"
    return opened.container == "torch" and str(opened.entries().get("format", "")).startswith("prunekit.")


def _read(opened: Opened, _: PolicyOptions, __: Spaces | None) -> PolicyFile:
    artifact = load(opened.path)
    graph = graph_of(artifact.actor)
    return PolicyFile(
        path=opened.path,
        recognised=f"model of prunekit, {described(graph)}",
        graph=graph,
        metadata=artifact.provenance,
        artifact=artifact,
    )


READER = Reader(name="model", called="models of prunekit", recognises=_recognised, read=_read)
