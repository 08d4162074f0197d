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
    """Return the policy in a file: a prunekit ``model.pt``, ONNX, TorchScript, an SB3 zip, or another checkpoint.

    The kind of file is recognised by its content. For a zip, ``normalizer`` is the file of ``VecNormalize.save``, or
    False if the policy was trained without one; if its files contradict that, ``notes`` of the policy say so. For ONNX,
    ``output`` is the name of the output that is the action or its logits. For TorchScript, ``inputs`` is the number of
    values in an observation, if the file does not show it. For a checkpoint or state dict, ``layers`` are the names of
    the policy's layers in order, ``nesting`` is the dotted path to them, ``activation`` comes between them (``"elu"``),
    and ``head`` makes the action (``"tanh"``, ``"argmax"``). Runs no code of the file. Raises InputError, naming the
    file, for a file that is not supported.
    """
    words = options_of(normalizer, output, inputs)
    weights = replace(words, layers=tuple(layers), activation=activation, head=head, nesting=nesting)
    return policy_of(read_policy(Path(path), weights))


def options_of(normalizer: PathLike | bool | None, output: str | None, inputs: int | None) -> PolicyOptions:
    """Return the arguments of ``load`` in the form that readers take."""
    if normalizer is True:
        raise InputError("`normalizer` must be a file, or False for a policy that was trained without one")
    return PolicyOptions(
        normalizer=None if normalizer is None or normalizer is False else Path(normalizer),
        without_normalizer=normalizer is False,
        output=output,
        inputs=inputs,
    )


def policy_of(file: PolicyFile) -> Policy:
    """Return the policy that was read from a file."""
    masks = file.masks if file.masks is not None and any(not keep.all() for keep in file.masks.values()) else None
    return Policy(graph=file.graph, metadata=dict(file.metadata), masks=masks, actions=file.actions, notes=file.notes)
