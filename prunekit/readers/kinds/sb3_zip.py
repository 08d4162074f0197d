"""Reader of Stable-Baselines3 zips."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from prunekit.environments import Spaces
from prunekit.errors import ArtifactError
from prunekit.readers.normalizers import UNUSED, normalizer_of, other_normalizer, told_of, unused_normalizer
from prunekit.readers.opened import Opened
from prunekit.readers.policy_file import PolicyFile, PolicyOptions
from prunekit.readers.registry import Reader
from prunekit.readers.zoo import zoo_notes

if TYPE_CHECKING:
    from prunekit.readers.sb3.contents import Contents
    from prunekit.readers.sb3.policy import ZipPolicy


def _recognised(opened: Opened) -> bool:
    if opened.container == "unknown" and opened.path.suffix.lower() == ".zip":
        raise ArtifactError(f"{opened.path}: damaged or not a zip of Stable-Baselines3; save the model again")
    return opened.container == "sb3"


def read_with_normalizer(
    opened: Opened,
    options: PolicyOptions,
    spaces: Spaces | None,
    policy_of: Callable[[Contents], ZipPolicy],
) -> PolicyFile:
    """Return the policy of a zip with its normalizer in front, and with notes from RL Baselines3 Zoo's files.

    ``policy_of`` extracts the policy from the contents of the zip.
    """
    from prunekit.readers.sb3.graph import read_zip

    path = opened.path
    normalizer = normalizer_of(path, options)
    found = read_zip(path, normalizer, spaces=spaces, policy_of=policy_of)
    notes = [*found.notes, *zoo_notes(path)]
    told = told_of(path) if normalizer is None and not options.without_normalizer else None
    if told is not None:
        notes.append(f"{told.trainer} trained it without a normalizer ({told.file})")
    unused = unused_normalizer(path, options)
    notes += [note for note in (other_normalizer(path, normalizer), unused) if note is not None]
    metadata = {} if unused is None else {UNUSED: unused}
    return PolicyFile(path=path, recognised=found.recognised, graph=found.graph, metadata=metadata, notes=tuple(notes))


def _read(opened: Opened, options: PolicyOptions, spaces: Spaces | None) -> PolicyFile:
    from prunekit.readers.sb3.torch_policy import policy_of_tensors

    return read_with_normalizer(opened, options, spaces, partial(policy_of_tensors, said=options.activation))


READER = Reader(
    name="sb3",
    called="zips of Stable-Baselines3",
    recognises=_recognised,
    read=_read,
    options=("normalizer", "without_normalizer", "activation"),
)
