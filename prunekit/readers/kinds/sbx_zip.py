"""Zips of SBX, Stable-Baselines3 in JAX."""

from __future__ import annotations

from prunekit.environments import Spaces
from prunekit.readers.normalizers import normalizer_of
from prunekit.readers.opened import Opened
from prunekit.readers.policy_file import PolicyFile, PolicyOptions
from prunekit.readers.registry import Reader
from prunekit.readers.sb3.graph import read_zip
from prunekit.readers.sbx.policy import policy_of_arrays
from prunekit.readers.zoo import zoo_notes


def _read(opened: Opened, options: PolicyOptions, spaces: Spaces | None) -> PolicyFile:
    path = opened.path
    policy_of = policy_of_arrays(options.activation)
    found = read_zip(path, normalizer_of(path, options), spaces=spaces, policy_of=policy_of)
    return PolicyFile(path=path, recognised=found.recognised, graph=found.graph, notes=(*found.notes, *zoo_notes(path)))


READER = Reader(
    name="sbx",
    called="zips of SBX",
    recognises=lambda opened: opened.container == "sbx",
    read=_read,
    options=("normalizer", "without_normalizer", "activation"),
)
