"""ONNX written node by node from a program, and checked against torch and the oracle before it is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from prunekit.activations import Activation
from prunekit.export.agreement import require_agreement
from prunekit.export.session import tuned_session
from prunekit.files import json_text, write_atomically
from prunekit.formats.onnx_file import parse_onnx
from prunekit.formats.onnx_metadata import PREFIX, prunekit_metadata
from prunekit.policy.actor import Actor
from prunekit.policy.heads import ArgmaxHead, ClipHead, Head, TanhHead
from prunekit.policy.oracle import run_oracle
from prunekit.policy.probes import probe_observations
from prunekit.policy.program import Activate, Affine, Normalize, Program, lower

OPSET = 17
IR_VERSION = 8
FORMAT_VERSION = 1


@final
@dataclass(frozen=True)
class ExportReport:
    """A written file: its size, and the largest difference of scores between torch, ONNX Runtime and the oracle."""

    path: Path
    size_bytes: int
    largest_difference: float
    rows: int

    @property
    def summary(self) -> str:
        """What there is to say of it in one line."""
        agreement = f"torch, ONNX Runtime and NumPy agree within {self.largest_difference:.2g}"
        return f"{self.size_bytes:,} bytes; {agreement}"


def export_onnx(actor: Actor, path: Path, metadata: Mapping[str, Any]) -> ExportReport:
    """Write ``actor`` to ``path`` as ONNX, atomically, after running the very bytes against torch and the oracle.

    Law 2: torch = ONNX Runtime = NumPy float64 oracle on raw observations, action for action. Raises
    ExportMismatchError, and writes nothing, where they disagree by more than float32 rounding; CouplingError and
    InputError as ``lower`` does.
    """
    content, report = checked_onnx(actor, path, metadata)
    write_atomically(path, content)
    return report


def checked_onnx(actor: Actor, path: Path, metadata: Mapping[str, Any]) -> tuple[bytes, ExportReport]:
    """Return what ``export_onnx`` writes to ``path``, and its report; nothing is written."""
    program = lower(actor)
    content = to_onnx(program, metadata)
    observations = probe_observations(program.inputs, actor.normalizer, np.random.default_rng(0))
    difference = check_agreement(content, program, actor, observations)
    return content, ExportReport(path, len(content), difference, len(observations))


def to_onnx(program: Program, metadata: Mapping[str, Any]) -> bytes:
    """Return ``program`` as one self-contained ONNX file (opset 17).

    Input ``obs`` float32 [batch, inputs]; outputs ``action`` (int64 [batch], or float32 [batch, n] inside the
    action space) and ``scores`` float32 [batch, outputs]. ``metadata`` goes into ``metadata_props`` as JSON under
    ``prunekit.<key>``, with the program's sizes beside it. The same arguments give the same bytes.
    """
    graph = _Graph()
    value = "obs"
    for index, op in enumerate(program.ops):
        match op:
            case Normalize():
                value = graph.add("Sub", [value, graph.constant("mean", op.mean)])
                value = graph.add("Mul", [value, graph.constant("scale", op.scale)])
                limits = [graph.scalar("normalizer_low", -op.clip), graph.scalar("normalizer_high", op.clip)]
                value = graph.add("Clip", [value, *limits])
            case Affine():
                weight = graph.constant(f"weight_{index}", op.weight)
                value = graph.add("Gemm", [value, weight, graph.constant(f"bias_{index}", op.bias)], transB=1)
            case Activate():
                value = _ACTIVATIONS[op.activation.name](graph, value, op.activation)
    graph.name_last("scores")
    _write_head(graph, program.head)
    batch: list[str | int | None] = ["batch"]
    action_type, action_shape = TensorProto.FLOAT, [*batch, program.outputs]
    if isinstance(program.head, ArgmaxHead):
        action_type, action_shape = TensorProto.INT64, batch
    proto = helper.make_graph(
        graph.nodes,
        "policy",
        [helper.make_tensor_value_info("obs", TensorProto.FLOAT, ["batch", program.inputs])],
        [
            helper.make_tensor_value_info("action", action_type, action_shape),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", program.outputs]),
        ],
        graph.initializers,
    )
    model = helper.make_model(
        proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="prunekit"
    )
    sizes = {"hidden": list(program.hidden), "units": program.units, "parameters": program.parameters}
    entries = {**metadata, "format": FORMAT_VERSION, "sizes": {**sizes, "macs": program.macs}}
    helper.set_model_props(
        model, {f"{PREFIX}{key}": json_text(value, f"metadata '{key}'") for key, value in sorted(entries.items())}
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def read_metadata(model: bytes | Path) -> dict[str, Any]:
    """Return what ``to_onnx`` put into ``metadata_props``, without the prefix; empty for foreign files.

    Raises ArtifactError for what is no ONNX file, and for metadata that is no plain JSON.
    """
    content = model.read_bytes() if isinstance(model, Path) else model
    called = str(model) if isinstance(model, Path) else "model"
    return prunekit_metadata(parse_onnx(content, called), called)


def check_agreement(content: bytes, program: Program, actor: Actor, observations: NDArray[np.float32]) -> float:
    """Return the largest difference of scores over ``observations`` [rows, inputs] between the three ways.

    Raises ExportMismatchError where scores differ by more than 1e-5 of the largest score's size, a continuous
    action by more than that of the action's, or an argmax action where the two best scores are further apart.
    """
    session = tuned_session(content)
    expected_action, expected = run_oracle(program, observations.astype(np.float64))
    with torch.no_grad():
        scores = actor.scores(torch.from_numpy(observations))
        ways = {"torch": (actor.head(scores).numpy(), scores.numpy())}
    ways["ONNX Runtime"] = tuple(session.run(["action", "scores"], {"obs": observations}))
    single = [session.run(["action", "scores"], {"obs": row[None]}) for row in observations[:32]]
    alone = tuple(np.concatenate(parts) for parts in zip(*single, strict=True))
    ways["ONNX Runtime row by row"] = (alone[0], alone[1])
    largest = 0.0
    for name, (action, values) in ways.items():
        largest = max(largest, require_agreement(name, action, values, expected_action, expected))
    return largest


@final
@dataclass
class _Graph:
    """Nodes and constants as they are added; values are named by the node that makes them."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)

    def add(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        name = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def constant(self, name: str, values: NDArray[Any]) -> str:
        self.initializers.append(numpy_helper.from_array(values, name))
        return name

    def scalar(self, name: str, value: float) -> str:
        return self.constant(name, np.asarray(value, np.float32))

    def name_last(self, name: str) -> None:
        self.nodes[-1].output[0] = name


def _write_head(graph: _Graph, head: Head) -> None:
    match head:
        case ArgmaxHead():
            index = graph.add("ArgMax", ["scores"], axis=1, keepdims=0)
            if head.start != 0:
                graph.add("Add", [index, graph.constant("start", np.asarray(head.start, np.int64))])
        case ClipHead():
            _add_bounds(graph, "scores", head.low, head.high)
        case TanhHead():
            half, middle = (np.asarray(values, np.float32) for values in head.affine)
            value = graph.add("Tanh", ["scores"])
            value = graph.add("Mul", [value, graph.constant("half_range", half)])
            value = graph.add("Add", [value, graph.constant("middle", middle)])
            _add_bounds(graph, value, head.low, head.high)
    graph.name_last("action")


def _add_bounds(graph: _Graph, value: str, low: tuple[float, ...], high: tuple[float, ...]) -> None:
    """ONNX's Clip takes one bound for all components, so differing bounds take Max and Min."""
    with np.errstate(over="ignore"):  # beyond float32 there is no bound
        least, most = (np.asarray(bounds, np.float32) for bounds in (low, high))
    if not (np.isfinite(least).any() or np.isfinite(most).any()):
        graph.add("Identity", [value])
    elif len(set(low)) == 1 and len(set(high)) == 1:
        graph.add("Clip", [value, graph.constant("low", least[0]), graph.constant("high", most[0])])
    else:
        value = graph.add("Max", [value, graph.constant("low", least)])
        graph.add("Min", [value, graph.constant("high", most)])


def _operator(name: str, attribute: str | None = None) -> Callable[[_Graph, str, Activation], str]:
    def write(graph: _Graph, value: str, activation: Activation) -> str:
        attributes = {} if attribute is None else {attribute: activation.parameter}
        return graph.add(name, [value], **attributes)

    return write


def _silu(graph: _Graph, value: str, _: Activation) -> str:
    return graph.add("Mul", [value, graph.add("Sigmoid", [value])])


def _gelu(graph: _Graph, value: str, _: Activation) -> str:
    suffix = len(graph.nodes)
    scaled = graph.add("Mul", [value, graph.scalar(f"gelu_scale_{suffix}", 1.0 / math.sqrt(2.0))])
    shifted = graph.add("Add", [graph.add("Erf", [scaled]), graph.scalar(f"gelu_one_{suffix}", 1.0)])
    product = graph.add("Mul", [value, shifted])
    return graph.add("Mul", [product, graph.scalar(f"gelu_half_{suffix}", 0.5)])


_ACTIVATIONS: dict[str, Callable[[_Graph, str, Activation], str]] = {
    "identity": _operator("Identity"),
    "tanh": _operator("Tanh"),
    "relu": _operator("Relu"),
    "leaky_relu": _operator("LeakyRelu", "alpha"),
    "elu": _operator("Elu", "alpha"),
    "sigmoid": _operator("Sigmoid"),
    "softplus": _operator("Softplus"),
    "silu": _silu,
    "gelu": _gelu,
}
