"""Teachers from files: any policy file that the readers know; ONNX and TorchScript run without being read."""

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
    """Return the policy in the file at ``path``, of any kind that the readers know, as a teacher.

    Runs no code of the file (law 7). Raises ArtifactError or InputError, naming the file or the option.
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
    """Return the policy of a ``model.pt`` without its masked units."""
    called = str(policy.path)
    if policy.artifact is not None:
        return teacher_of_actor(compact(policy.artifact).artifact.actor, called, spaces)
    small = policy.graph if policy.masks is None else shrink(policy.graph, policy.masks)
    return teacher_of_graph(small, called, spaces)


def _onnx(path: Path, spaces: Spaces, options: PolicyOptions) -> Teacher:
    """Return the file as a teacher: run as it is if it takes a batch of observations, otherwise read into a graph."""
    try:
        return _with_file(read_onnx_teacher(path, spaces, options.output), path, options)
    except OtherInputsError as error:
        try:
            return teacher_of_graph(read_policy(path, options).graph, str(path), spaces)
        except InputError:
            raise error from None


def _with_file(teacher: Teacher, path: Path, options: PolicyOptions) -> Teacher:
    """Return ``teacher``, whose file is run as it is, with the function that reads it if a student copies it."""
    # An absolute path, as an environment may change the working folder before then.
    return replace(teacher, read=partial(_graph_of, path.absolute(), options))


def _graph_of(path: Path, options: PolicyOptions) -> Graph | None:
    """Return the graph of the policy in a file; None if it cannot be read as a whole."""
    try:
        return read_policy(path, options).graph
    except InputError:
        return None
