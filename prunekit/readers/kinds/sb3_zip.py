"""Zips of Stable-Baselines3."""

from __future__ import annotations

from prunekit.adapters.sb3_files import read_sb3
from prunekit.environments import Spaces
from prunekit.errors import ArtifactError
from prunekit.policy.description import described
from prunekit.policy.graphs import graph_of
from prunekit.readers.normalizers import normalizer_of
from prunekit.readers.opened import Opened
from prunekit.readers.policy_file import PolicyFile, PolicyOptions
from prunekit.readers.registry import Reader


def _recognised(opened: Opened) -> bool:
    if opened.container == "unknown" and opened.path.suffix.lower() == ".zip":
        raise ArtifactError(f"{opened.path}: damaged or not a zip of Stable-Baselines3; save the model again")
    return opened.container == "sb3"


def _read(opened: Opened, options: PolicyOptions, spaces: Spaces | None) -> PolicyFile:
    graph = graph_of(read_sb3(opened.path, normalizer_of(opened.path, options), spaces=spaces))
    return PolicyFile(path=opened.path, recognised=f"zip of Stable-Baselines3, {described(graph)}", graph=graph)


READER = Reader(
    name="sb3",
    called="zips of Stable-Baselines3",
    recognises=_recognised,
    read=_read,
    options=("normalizer", "without_normalizer"),
)
