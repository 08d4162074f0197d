"""Teachers from files: any policy file that the readers know, and ONNX that runs without being read."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from prunekit.compression.onnx_teacher import OtherInputsError, read_onnx_teacher
from prunekit.compression.teacher import Teacher, teacher_of_actor, teacher_of_graph
from prunekit.compression.torchscript_teacher import read_torchscript
from prunekit.environments import Spaces
from prunekit.errors import InputError
from prunekit.graph.graph import Graph
from prunekit.graph.surgery import shrink
from prunekit.policy.compaction import compact
from prunekit.readers.policy_file import PolicyFile, PolicyOptions
from prunekit.readers.read import read_policy, recognised


def read_teacher(path: Path, spaces: Spaces, options: PolicyOptions | None = None) -> Teacher:
    """Return the policy at ``path``, of any kind that is read.

    Runs no code of the file (law 7). Raises ArtifactError and InputError, naming the file or the option.
    """
    options = options or PolicyOptions()
    file = recognised(path)
    kind = file.kind
    file.require(options)
    if kind in ("sb3", "sbx"):
        policy = read_policy(path, options, spaces=spaces)
        return replace(teacher_of_graph(policy.graph, str(path), spaces), notes=policy.notes)
    if kind == "onnx":
        return _onnx(path, spaces, options)
    if kind == "torchscript":
        return _with_file(read_torchscript(path, spaces), path, options)
    if kind == "model":
        return _model(read_policy(path), spaces)
    return teacher_of_graph(read_policy(path, options, spaces=spaces).graph, str(path), spaces)


def _model(policy: PolicyFile, spaces: Spaces) -> Teacher:
    """Leave masked units out."""
    called = str(policy.path)
    if policy.artifact is not None:
        return teacher_of_actor(compact(policy.artifact).artifact.actor, called, spaces)
    small = policy.graph if policy.masks is None else shrink(policy.graph, policy.masks)
    return teacher_of_graph(small, called, spaces)


def _onnx(path: Path, spaces: Spaces, options: PolicyOptions) -> Teacher:
    """Run the file as it is where it takes a batch of observations, and what was read from it otherwise."""
    try:
        return _with_file(read_onnx_teacher(path, spaces, options.output), path, options)
    except OtherInputsError as error:
        try:
            return teacher_of_graph(read_policy(path, options).graph, str(path), spaces)
        except InputError:
            raise error from None


def _with_file(teacher: Teacher, path: Path, options: PolicyOptions) -> Teacher:
    """Return ``teacher``, which plays as it is, with what reads its file when a copy of its network is made."""
    # An absolute path, as an environment may change the working folder before then.
    return replace(teacher, read=partial(_graph_of, path.absolute(), options))


def _graph_of(path: Path, options: PolicyOptions) -> Graph | None:
    """Return what can be read of a file that plays as it is; None where that is not all of it."""
    try:
        return read_policy(path, options).graph
    except InputError:
        return None
