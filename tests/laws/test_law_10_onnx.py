"""Law 10 on the ONNX that prunekit writes: every op's form is read back, and the graph computes what it did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from law_graphs import BODY, HEADS, ROWS, all_steps, assume_apart, cases

from prunekit.errors import InputError
from prunekit.export.session import onnxruntime
from prunekit.graph.graph import as_dtype
from prunekit.graph.onnx import to_onnx
from prunekit.graph.reference import run_step
from prunekit.ops.argmax_per_part import ArgmaxPerPart
from prunekit.readers.onnx_graph import read_onnx_graph
from prunekit.readers.passes.simplify import simplified

OPS = sorted({*BODY, *HEADS} - {"GRU"})  # a file's state is refused
MODELS = sorted((Path(__file__).parents[2] / "models").glob("*/*.onnx"))


@pytest.mark.parametrize("op", OPS)
@settings(deadline=None, max_examples=8)
@given(st.data())
def test_what_is_written_is_read(op: str, data: st.DataObject) -> None:
    case = data.draw(cases(op, np.float32))
    assume(not case.graph.states)
    assume_apart(case, case.graph)
    expected = all_steps(case, as_dtype(case.graph, np.float64))
    single = all_steps(case, case.graph, np.float32)
    name = "action" if "action" in expected else "outputs"
    content = to_onnx(case.graph)
    choices = [node.op.counts for node in case.graph.nodes if isinstance(node.op, ArgmaxPerPart)]
    several = any(len(counts) > 1 for counts in choices)
    constant = any(len(counts) > 1 and 1 in counts for counts in choices)
    try:
        graph = read_onnx_graph(content, "graph.onnx", output=name).graph
    except InputError as error:  # a choice of one value is none, and is no value of the observation
        words = ("result of an argmax", "depends on an observation")
        if constant and any(word in str(error) for word in words):
            return
        raise
    found, _ = run_step(graph, {port.name: case.sequence[0][port.name] for port in graph.inputs}, {})
    wanted, rounded = (values[name][0].reshape(ROWS, -1) for values in (expected, single))
    if wanted.dtype == np.int64:
        outputs = expected["outputs"][0]
        if several:
            clear = np.asarray(True)  # the case itself is none where any choice is close
        elif wanted.shape[1:] == outputs.shape[1:]:  # switches
            clear = np.abs(outputs) > 1e-4
        else:
            ranked = np.sort(outputs, axis=-1)
            clear = np.reshape(ranked.shape[-1] == 1 or ranked[..., -1] - ranked[..., -2] > 1e-4, (-1, 1))
        wanted = np.where(clear, wanted, found["action"].reshape(ROWS, -1))
    scale = max(1.0, float(np.abs(wanted).max()))
    allowed = 1e-5 * scale + 8 * float(np.abs(rounded - wanted).max())
    np.testing.assert_allclose(found["action"].reshape(ROWS, -1), wanted, rtol=0.0, atol=allowed)


@pytest.mark.parametrize("op", sorted([*BODY, *HEADS]))
@settings(deadline=None, max_examples=8)
@given(st.data())
def test_passes_keep_what_a_graph_computes(op: str, data: st.DataObject) -> None:
    """The generated graphs are in float64, but what passes fold is rounded to float32, as files are."""
    case = data.draw(cases(op))
    expected = all_steps(case, case.graph)
    found = all_steps(case, simplified(case.graph))
    scale = max(1.0, float(np.abs(expected["outputs"]).max()))
    single = float(np.abs(all_steps(case, as_dtype(case.graph, np.float32))["outputs"] - expected["outputs"]).max())
    np.testing.assert_allclose(found["outputs"], expected["outputs"], rtol=0.0, atol=1e-5 * scale + 8 * single)


@pytest.mark.parametrize("path", MODELS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_shipped_policies(path: Path) -> None:
    content = path.read_bytes()
    found = read_onnx_graph(content, str(path))
    (port,) = found.graph.inputs
    observations = 3.0 * np.random.default_rng(0).standard_normal((200, *port.shape)).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(content).run(["action"], {"obs": observations})
    made, _ = run_step(found.graph, {"obs": observations}, {}, np.float32)
    if expected.dtype == np.int64:
        np.testing.assert_array_equal(made["action"], expected)
    else:
        np.testing.assert_allclose(made["action"], expected, rtol=0.0, atol=5e-6)
