"""The weights of a model file that is a chain of linear layers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import onnx
from onnx import numpy_helper

from prunekit.benching.models import BenchModel
from prunekit.export.session import work_of
from prunekit.formats.onnx_file import attributes_of
from prunekit.ops.affine import Affine
from prunekit.report.network import Layers


def layers_of(model: BenchModel) -> Layers | None:
    """Return the weights [out, in] of ``model``'s linear layers in order; None if it is not a plain chain of them.

    Raises ArtifactError as ``read_model`` does.
    """
    if model.graph is not None:
        layers = [node.op.weight for node in model.graph.nodes if isinstance(node.op, Affine)]
        return layers if _is_chain(layers, model.hidden) else None
    graph = work_of(model.content, str(model.path)).plain.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    found = []
    for node in graph.node:
        if node.op_type in ("Gemm", "MatMul") and len(node.input) > 1 and node.input[1] in stored:
            weight = numpy_helper.to_array(stored[node.input[1]])
            if weight.ndim != 2 or not np.issubdtype(weight.dtype, np.floating):
                return None
            found.append(np.asarray(weight if _is_transposed(node) else weight.T, np.float32))
    return found if _is_chain(found, model.hidden) else None


def _is_chain(layers: Layers, hidden: tuple[int, ...]) -> bool:
    fits = all(one.shape[0] == other.shape[1] for one, other in pairwise(layers))
    return bool(layers) and fits and tuple(weight.shape[0] for weight in layers[:-1]) == hidden


def _is_transposed(node: onnx.NodeProto) -> bool:
    return node.op_type == "Gemm" and bool(attributes_of(node).get("transB", 0))
