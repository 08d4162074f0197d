"""Zips of Stable-Baselines3."""

from __future__ import annotations

from collections.abc import Callable

from prunekit.environments import Spaces
from prunekit.errors import ArtifactError
from prunekit.readers.normalizers import normalizer_of
from prunekit.readers.opened import Opened
from prunekit.readers.policy_file import PolicyFile, PolicyOptions
from prunekit.readers.registry import Reader
from prunekit.readers.sb3.contents import Contents
from prunekit.readers.sb3.graph import read_zip
from prunekit.readers.sb3.policy import ZipPolicy
from prunekit.readers.sb3.torch_policy import policy_of_tensors
from prunekit.readers.zoo import zoo_notes


def _recognised(opened: Opened) -> bool:
    if opened.container == "unknown" and opened.path.suffix.lower() == ".zip":
        raise ArtifactError(f"{opened.path}: damaged or not a zip of Stable-Baselines3; save the model again")
    return opened.container == "sb3"


def read_with_normalizer(
    opened: Opened,
    options: PolicyOptions,
    spaces: Spaces | None,
    policy_of: Callable[[Contents], ZipPolicy] = policy_of_tensors,
) -> PolicyFile:
    """Return the policy of a zip behind its normalizer, with what RL Baselines3 Zoo's files say of it."""
    path = opened.path
    normalizer = normalizer_of(path, options)
    found = read_zip(path, normalizer, spaces=spaces, policy_of=policy_of)
    notes = [*found.notes, *zoo_notes(path)]
    if normalizer is None and not options.without_normalizer:
        notes.append("RL Baselines3 Zoo trained it without a normalizer (config.yml)")
    return PolicyFile(path=path, recognised=found.recognised, graph=found.graph, notes=tuple(notes))


READER = Reader(
    name="sb3",
    called="zips of Stable-Baselines3",
    recognises=_recognised,
    read=read_with_normalizer,
    options=("normalizer", "without_normalizer"),
)
