"""Reader of zips of SBX, which is Stable-Baselines3 in JAX."""

from __future__ import annotations

from prunekit.environments import Spaces
from prunekit.readers.kinds.sb3_zip import read_with_normalizer
from prunekit.readers.opened import Opened
from prunekit.readers.policy_file import PolicyFile, PolicyOptions
from prunekit.readers.registry import Reader


def _read(opened: Opened, options: PolicyOptions, spaces: Spaces | None) -> PolicyFile:
    from prunekit.readers.sbx.policy import policy_of_arrays

    return read_with_normalizer(opened, options, spaces, policy_of_arrays(options.activation))


READER = Reader(
    name="sbx",
    called="zips of SBX",
    recognises=lambda opened: opened.container == "sbx",
    read=_read,
    options=("normalizer", "without_normalizer", "activation"),
)
