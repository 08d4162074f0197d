"""Law 2 on graphs: torch, ONNX Runtime and the NumPy reference agree, state for state, action for action."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from law_graphs import BODY, HEADS, ROWS, Case, all_steps, assert_agree, cases, rounding_of
from law_strategies import Deployed, deployed
from numpy.typing import NDArray

from prunekit.export.session import onnxruntime
from prunekit.graph.graph import Graph, as_dtype
from prunekit.graph.groups import find_groups
from prunekit.graph.onnx import to_onnx
from prunekit.graph.reference import initial_states, run_step
from prunekit.graph.surgery import shrink
from prunekit.graph.to_torch import GraphModule
from prunekit.policy.artifact import load
from prunekit.policy.graphs import graph_of
from prunekit.policy.oracle import run_oracle
from prunekit.policy.program import lower

OPS = sorted([*BODY, *HEADS])
MODELS = sorted((Path(__file__).parents[2] / "models").glob("*/*.pt"))
Array = NDArray[Any]


def run_onnx(case: Case, graph: Graph) -> dict[str, Array]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(to_onnx(graph), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    states = initial_states(graph, ROWS, np.float32)
    steps: list[dict[str, Array]] = []
    for inputs in case.sequence:
        found = dict(zip(names, session.run(names, {**inputs, **states}), strict=True))
        states = {name: found[f"{name}_out"] for name in states}
        steps.append(found)
    return {name: np.stack([step[name] for step in steps]) for name in names}


@torch.no_grad()
def run_torch(case: Case, graph: Graph, dtype: torch.dtype) -> dict[str, Array]:
    module = GraphModule(graph).to(dtype)
    names = [*graph.outputs, *(f"{state.before}_out" for state in graph.states)]
    states = module.initial_states(ROWS)
    steps: list[dict[str, Array]] = []
    for inputs in case.sequence:
        made = module(torch.from_numpy(inputs["obs"]).to(dtype), *states)
        states = made[len(graph.outputs) :]
        steps.append({name: value.numpy() for name, value in zip(names, made, strict=True)})
    return {name: np.stack([step[name] for step in steps]) for name in names}


@pytest.mark.parametrize("op", OPS)
@settings(deadline=None, max_examples=10)
@given(st.data())
def test_torch_and_onnx_runtime_are_the_reference(op: str, data: st.DataObject) -> None:
    case = data.draw(cases(op, np.float32))
    for graph in (case.graph, shrink(case.graph, case.masks)):
        expected = all_steps(case, graph)
        allowed = rounding_of(case, graph, expected)
        assert allowed < 1e-2 * max(1.0, float(np.abs(expected["outputs"]).max()))
        assert_agree(graph, run_onnx(case, graph), expected, allowed)
        assert_agree(graph, run_torch(case, graph, torch.float32), expected, allowed)


@pytest.mark.parametrize("op", OPS)
@settings(deadline=None, max_examples=10)
@given(st.data())
def test_torch_in_float64_is_the_reference(op: str, data: st.DataObject) -> None:
    """Softplus is exact in the reference and linear above 20 in torch, 2e-9 away, which norms make larger."""
    case = data.draw(cases(op))
    expected = all_steps(case, case.graph)
    scale = max(1.0, float(np.abs(expected["outputs"]).max()))
    assert_agree(case.graph, run_torch(case, case.graph, torch.float64), expected, 1e-7 * scale)


@settings(deadline=None, max_examples=10)
@given(cases(dtype=np.float32))
def test_the_file_is_what_the_contract_says(case: Case) -> None:
    content = to_onnx(case.graph, {"prunekit.note": '"x"'})
    model = onnx.load_from_string(content)
    assert content == to_onnx(case.graph, {"prunekit.note": '"x"'})
    assert (model.opset_import[0].version, model.ir_version) == (17, 8)
    states = [state.before for state in case.graph.states]
    assert [port.name for port in model.graph.input] == ["obs", *states]
    assert [port.name for port in model.graph.output] == [*case.graph.outputs, *(f"{name}_out" for name in states)]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


@pytest.mark.parametrize("path", MODELS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_shipped_model_as_a_graph_is_what_it_was(path: Path) -> None:
    program = lower(load(path).actor)
    graph = graph_of(program)
    observations = 3.0 * np.random.default_rng(0).standard_normal((256, program.inputs)).astype(np.float32)
    action, scores = run_oracle(program, observations.astype(np.float64))
    found, _ = run_step(graph, {"obs": observations}, {})
    np.testing.assert_array_equal(found["action"], action)
    np.testing.assert_array_equal(found["outputs"], scores)
    old = onnxruntime.InferenceSession(path.with_suffix(".onnx").read_bytes())
    new = onnxruntime.InferenceSession(to_onnx(graph))
    before = old.run(["action", "scores"], {"obs": observations})
    for one, other in zip(before, new.run(["action", "outputs"], {"obs": observations}), strict=True):
        np.testing.assert_array_equal(one, other)


@settings(deadline=None, max_examples=40)
@given(deployed())
def test_an_actor_as_a_graph_is_the_oracle_exactly(case: Deployed) -> None:
    action, scores = run_oracle(lower(case.actor), case.observations.astype(np.float64))
    graph = graph_of(case.actor)
    found, _ = run_step(graph, {"obs": case.observations}, {})
    np.testing.assert_array_equal(found["action"], action)
    np.testing.assert_array_equal(found["outputs"], scores)
    assert tuple(group.width for group in find_groups(graph)) == lower(case.actor).hidden


def test_float64_constants_are_written_as_float32() -> None:
    program = lower(load(MODELS[0]).actor)
    assert to_onnx(as_dtype(graph_of(program), np.float64)) == to_onnx(graph_of(program))
