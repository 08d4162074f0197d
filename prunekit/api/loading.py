"""Policies from files of any kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from prunekit.api.policy import PathLike, Policy
from prunekit.errors import InputError
from prunekit.readers.policy_file import PolicyFile, PolicyOptions
from prunekit.readers.read import read_policy


def load(
    path: PathLike,
    *,
    normalizer: PathLike | bool | None = None,
    output: str | None = None,
    inputs: int | None = None,
    layers: Sequence[str] = (),
    activation: str | None = None,
    head: str | None = None,
    nesting: str | None = None,
) -> Policy:
    """Return the policy in a file: prunekit's ``model.pt``, ONNX, TorchScript, an SB3 zip, a checkpoint of others.

    What it is, is told by its content. ``normalizer`` is a file of ``VecNormalize.save`` for a zip, or False where the
    policy was trained without; ``output`` the one of an ONNX file's outputs that is its answer, and ``inputs`` how many
    values an observation of a TorchScript file has, where that is not clear. Of a checkpoint or state dict, ``layers``
    are the names of the policy's layers in order, under the dotted ``nesting``, ``activation`` stands between them
    (``"elu"``), and ``head`` makes the action (``"tanh"``, ``"argmax"``, ...). Runs no code of the file. Raises
    InputError, naming the file, for what is not read.
    """
    words = options_of(normalizer, output, inputs)
    weights = replace(words, layers=tuple(layers), activation=activation, head=head, nesting=nesting)
    return policy_of(read_policy(Path(path), weights))


def options_of(normalizer: PathLike | bool | None, output: str | None, inputs: int | None) -> PolicyOptions:
    """Return what ``load`` was told as the readers take it."""
    if normalizer is True:
        raise InputError("`normalizer` is a file, or False for a policy that was trained without one")
    return PolicyOptions(
        normalizer=None if normalizer is None or normalizer is False else Path(normalizer),
        without_normalizer=normalizer is False,
        output=output,
        inputs=inputs,
    )


def policy_of(file: PolicyFile) -> Policy:
    """Return what was read from a file as a policy."""
    masks = file.masks if file.masks is not None and any(not keep.all() for keep in file.masks.values()) else None
    return Policy(graph=file.graph, metadata=dict(file.metadata), masks=masks, actions=file.actions)
