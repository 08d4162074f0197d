"""The files that ``bench`` and ``inspect`` read, in one form: ONNX bytes and what is known about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from onnx.external_data_helper import load_external_data_for_model, uses_external_data

from prunekit.environments import arguments_for, named_by_file
from prunekit.errors import ArtifactError
from prunekit.export.onnx import read_metadata, to_onnx
from prunekit.export.session import tuned_session
from prunekit.files import require_file
from prunekit.formats.kinds import advice_for
from prunekit.policy.artifact import load
from prunekit.policy.program import Program, lower


@final
@dataclass(frozen=True)
class BenchModel:
    """A model file. ``content`` is what runs: the file itself, or the ONNX that a ``.pt`` exports to.

    ``hidden`` are hidden units per layer, ``parameters`` weights and biases physically stored, ``macs``
    multiply-accumulates per observation, ``size_bytes`` the file's size. ``metadata`` is the provenance. ``program`` is
    what C is written from; None for ONNX files.
    """

    path: Path
    content: bytes
    size_bytes: int
    hidden: tuple[int, ...]
    parameters: int
    macs: int
    metadata: Mapping[str, Any] = field(default_factory=dict)
    program: Program | None = None

    @property
    def units(self) -> int:
        """All hidden units."""
        return sum(self.hidden)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the parameters in float32."""
        return 4 * self.parameters

    @property
    def environment(self) -> tuple[str, dict[str, Any]] | None:
        """The environment's id and keyword arguments, where the file names one; raises ArtifactError if damaged."""
        entry = self.metadata.get("env")
        return None if entry is None else named_by_file(self.path, entry)

    def arguments_of(self, env_id: str) -> dict[str, Any] | None:
        """The keyword arguments that the file gives to ``env_id``; None where it names another environment.

        Raises ArtifactError, naming the file, for arguments that are no plain values.
        """
        return arguments_for(env_id, self.path, self.metadata.get("env"))


def read_model(path: Path) -> BenchModel:
    """Read a ``.pt`` written by prunekit or any ``.onnx``; raises ArtifactError, naming the file, for anything else."""
    require_file(path)
    suffix = path.suffix.lower()
    if suffix == ".pt":
        return _from_artifact(path)
    if suffix == ".onnx":
        return _from_onnx(path)
    raise ArtifactError(f"{path}: {advice_for(path) or 'unknown kind of file; prunekit reads .pt and .onnx'}")


def _from_artifact(path: Path) -> BenchModel:
    artifact = load(path)
    program = lower(artifact.actor)
    content = to_onnx(program, artifact.provenance)
    size = path.stat().st_size
    metadata = dict(artifact.provenance)
    return BenchModel(path, content, size, program.hidden, program.parameters, program.macs, metadata, program)


def _from_onnx(path: Path) -> BenchModel:
    content, size = _self_contained(path)
    tuned_session(content, str(path))
    try:
        metadata = read_metadata(content)
        counted = _count(content)
        sizes = metadata.get("sizes") or counted
        for key in ("hidden", "macs"):
            if sizes[key] != counted[key]:
                raise ValueError(f"{key} {sizes[key]}, but the graph has {counted[key]}")
        hidden = tuple(int(width) for width in sizes["hidden"])
        return BenchModel(path, content, size, hidden, int(sizes["parameters"]), int(sizes["macs"]), metadata)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{path}: its prunekit metadata is damaged ({error}); export the model again") from error


def _self_contained(path: Path) -> tuple[bytes, int]:
    """Return (the model with all its weights inside, bytes on disk), also where weights lie in a file beside it."""
    content = path.read_bytes()
    try:
        model = onnx.load_from_string(content)
    except DecodeError:  # what is wrong with it is for ONNX Runtime to say
        return content, len(content)
    try:
        beside = {
            entry.value
            for tensor in model.graph.initializer
            if uses_external_data(tensor)
            for entry in tensor.external_data
            if entry.key == "location"
        }
        if not beside:
            return content, len(content)
        load_external_data_for_model(model, str(path.parent))
        return model.SerializeToString(), len(content) + sum((path.parent / name).stat().st_size for name in beside)
    except Exception as error:  # onnx raises many types for weights that are missing or outside the folder
        raise ArtifactError(f"{path}: the weights that it keeps in another file cannot be read ({error})") from error


def _count(content: bytes) -> dict[str, Any]:
    """Count by rule: every float constant is a parameter, every constant matrix of a product a layer."""
    graph = onnx.load_from_string(content).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    parameters = sum(values.size for values in constants.values() if np.issubdtype(values.dtype, np.floating))
    widths, macs = [], 0
    for node in graph.node:
        weight = constants.get(node.input[1]) if node.op_type in ("Gemm", "MatMul") else None
        if weight is None or weight.ndim != 2:
            continue
        transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        widths.append(weight.shape[0] if transposed else weight.shape[1])
        macs += weight.size
    return {"hidden": widths[:-1], "parameters": parameters, "macs": macs}
