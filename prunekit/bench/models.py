"""The files that ``bench`` and ``inspect`` read, in one form: ONNX bytes and what is known about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
import onnx
from onnx import numpy_helper

from prunekit.errors import ArtifactError
from prunekit.export.onnx import read_metadata, to_onnx
from prunekit.export.session import tuned_session
from prunekit.policy.artifact import load
from prunekit.policy.program import lower


@final
@dataclass(frozen=True)
class BenchModel:
    """A model file. ``content`` is what runs: the file itself, or the ONNX that a ``.pt`` exports to.

    ``hidden`` are hidden units per layer, ``parameters`` weights and biases physically stored, ``macs``
    multiply-accumulates per observation, ``size_bytes`` the file's size. ``metadata`` is the provenance.
    """

    path: Path
    content: bytes
    size_bytes: int
    hidden: tuple[int, ...]
    parameters: int
    macs: int
    metadata: Mapping[str, Any] = field(default_factory=dict)

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
        """The environment's id and keyword arguments, where the file names one."""
        entry = self.metadata.get("env")
        return None if entry is None else (str(entry["id"]), dict(entry.get("kwargs", {})))


def read_model(path: Path) -> BenchModel:
    """Read a ``.pt`` written by prunekit or any ``.onnx``; raises ArtifactError, naming the file, for anything else."""
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file")
    if path.suffix == ".pt":
        return _from_artifact(path)
    if path.suffix == ".onnx":
        return _from_onnx(path)
    raise ArtifactError(f"{path}: unknown kind of file; bench reads .pt and .onnx")


def _from_artifact(path: Path) -> BenchModel:
    artifact = load(path)
    program = lower(artifact.actor)
    content = to_onnx(program, artifact.provenance)
    size = path.stat().st_size
    return BenchModel(path, content, size, program.hidden, program.parameters, program.macs, dict(artifact.provenance))


def _from_onnx(path: Path) -> BenchModel:
    tuned_session(path)
    content = path.read_bytes()
    try:
        metadata = read_metadata(content)
        sizes = metadata.get("sizes") or _count(content)
        hidden = tuple(int(width) for width in sizes["hidden"])
        return BenchModel(path, content, len(content), hidden, int(sizes["parameters"]), int(sizes["macs"]), metadata)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{path}: its prunekit metadata is damaged ({error}); export the model again") from error


def _count(content: bytes) -> dict[str, Any]:
    """Count a foreign file: every float constant is a parameter, every constant matrix of a product a layer."""
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
