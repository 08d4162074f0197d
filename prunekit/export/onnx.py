"""Export of a policy as ONNX, checked against torch and the reference before it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from prunekit.export.agreement import expected_of, require_agreement
from prunekit.export.session import tuned_session
from prunekit.files import json_text, write_atomically
from prunekit.formats.onnx_file import parse_onnx
from prunekit.formats.onnx_metadata import PREFIX, prunekit_metadata
from prunekit.graph import onnx as writer
from prunekit.graph.graph import Graph
from prunekit.graph.reference import initial_states
from prunekit.policy.probes import probe_inputs
from prunekit.policy.sizes import sizes_of

if TYPE_CHECKING:
    from prunekit.policy.actor import Actor
    from prunekit.policy.program import Program

FORMAT_VERSION = 2
_ALONE = 32

Way = Callable[[Mapping[str, NDArray[Any]]], tuple[NDArray[Any], NDArray[Any]]]
"""Inputs by name, [rows, ...] each, to (actions, outputs)."""


@final
@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """A written file: its size, and the largest difference of outputs between torch (if compared), ONNX Runtime and
    NumPy.
    """

    path: Path
    size_bytes: int
    largest_difference: float
    rows: int
    in_torch: bool = True

    @property
    def summary(self) -> str:
        """The report in one line."""
        ways = "torch, ONNX Runtime and NumPy" if self.in_torch else "ONNX Runtime and NumPy"
        return f"{self.size_bytes:,} bytes; {ways} agree within {self.largest_difference:.2g}"


def export_onnx(
    policy: Actor | Graph, path: Path, metadata: Mapping[str, Any], *, with_torch: bool = True
) -> ExportReport:
    """Write ``policy`` to ``path`` as ONNX, atomically, after comparing it with torch and the reference.

    Torch, ONNX Runtime and the NumPy float64 reference give the same actions on raw observations. Raises
    ExportMismatchError, and writes nothing, if they differ by more than float32 rounding; CouplingError and InputError
    as ``graph_of`` does; and InputError for an op without an ONNX or torch form. For a graph, ``with_torch=False``
    leaves torch out of the comparison.
    """
    content, report = checked_onnx(policy, path, metadata, with_torch=with_torch)
    write_atomically(path, content)
    return report


def checked_onnx(
    policy: Actor | Graph, path: Path, metadata: Mapping[str, Any], *, with_torch: bool = True
) -> tuple[bytes, ExportReport]:
    """Return the bytes and the report of ``export_onnx`` without writing a file."""
    graph = graph_from(policy)
    content = to_onnx(graph, metadata)
    inputs = probe_inputs(graph, np.random.default_rng(0))
    difference = check_agreement(content, graph, policy if with_torch else None, inputs)
    return content, ExportReport(
        path=path,
        size_bytes=len(content),
        largest_difference=difference,
        rows=len(next(iter(inputs.values()))),
        in_torch=with_torch,
    )


def graph_from(policy: Actor | Program | Graph) -> Graph:
    """Return the graph of ``policy``; raises CouplingError and InputError as ``graph_of`` does."""
    if isinstance(policy, Graph):
        return policy
    from prunekit.policy.graphs import graph_of

    return graph_of(policy)


def to_onnx(graph: Graph, metadata: Mapping[str, Any]) -> bytes:
    """Return the policy ``graph`` as one self-contained ONNX file (opset 17).

    Inputs are those of the graph (``obs`` float32 [batch, inputs] if there is one). Outputs are ``action`` and
    ``outputs`` (before the head), the latter also as ``scores``. ``metadata`` is written to ``metadata_props`` as JSON
    under ``prunekit.<key>``, together with the policy's sizes. The same arguments give the same bytes.
    """
    sizes = sizes_of(graph)
    told = {"hidden": list(sizes.hidden), "units": sizes.units, "parameters": sizes.parameters, "macs": sizes.macs}
    entries = {**metadata, "format": FORMAT_VERSION, "sizes": told}
    texts = {f"{PREFIX}{key}": json_text(value, f"metadata '{key}'") for key, value in entries.items()}
    return writer.to_onnx(graph, texts, {"scores": "outputs"} if "outputs" in graph.outputs else None)


def read_metadata(model: bytes | Path) -> dict[str, Any]:
    """Return what ``to_onnx`` wrote to ``metadata_props``, without the prefix; empty for files of other programs.

    Raises ArtifactError if the file is not ONNX, and for metadata that is not plain JSON.
    """
    content = model.read_bytes() if isinstance(model, Path) else model
    called = str(model) if isinstance(model, Path) else "model"
    return prunekit_metadata(parse_onnx(content, called), called)


def check_agreement(
    content: bytes, graph: Graph, policy: Actor | Graph | None, inputs: Mapping[str, NDArray[Any]]
) -> float:
    """Return the largest difference of outputs over ``inputs`` [rows, ...] from those of ``graph`` in NumPy.

    ``content`` runs in ONNX Runtime, and ``policy`` in torch unless it is None.

    Raises ExportMismatchError if outputs differ by more than 1e-5 of the largest output, if a continuous action differs
    by more than that relative to its own size, or if an argmax differs although the two best outputs are further apart.
    """
    expected = expected_of(graph, inputs)  # before there is a session, which holds all weights too
    session = tuned_session(content)

    def in_onnxruntime(given: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
        begin = initial_states(graph, len(next(iter(given.values()))), np.float32)
        action, outputs = session.run(["action", "outputs"], {**given, **begin})
        return action, outputs

    def row_by_row(given: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
        rows = min(_ALONE, len(next(iter(given.values()))))
        parts = [in_onnxruntime({k: v[row : row + 1] for k, v in given.items()}) for row in range(rows)]
        actions, outputs = zip(*parts, strict=True)
        return np.concatenate(actions), np.concatenate(outputs)

    ways: dict[str, Way] = {"ONNX Runtime": in_onnxruntime, "ONNX Runtime row by row": row_by_row}
    if policy is not None:
        from prunekit.export.in_torch import in_torch

        ways = {"torch": partial(in_torch, policy), **ways}
    return max(require_agreement(name, *way(inputs), expected) for name, way in ways.items())
