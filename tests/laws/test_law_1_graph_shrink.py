"""Law 1 on graphs: a shrunk graph computes what the one with zeroed units does, over sequences where there is state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from law_graphs import BODY, HEADS, ROWS, Case, all_steps, cases
from numpy.typing import NDArray

from prunekit.errors import CouplingError, InputError
from prunekit.graph.constants import along, known_values
from prunekit.graph.forms import FOLD
from prunekit.graph.graph import Graph, Node, Port, as_dtype, given_to, specs_of
from prunekit.graph.groups import Group, find_groups
from prunekit.graph.reference import all_values, initial_states, run_sequence
from prunekit.graph.surgery import refused_groups, shrink, zeroed
from prunekit.ops.activation import Activation
from prunekit.ops.affine import Affine
from prunekit.ops.layer_norm import LayerNorm

OPS = sorted([*BODY, *HEADS])
Array = NDArray[Any]


def assert_same(found: dict[str, Array], expected: dict[str, Array], tolerance: float) -> None:
    """States are compared by the outputs that they lead to, as they are narrower where units have gone."""
    scale = max(1.0, float(np.abs(expected["outputs"]).max()))
    np.testing.assert_allclose(found["outputs"], expected["outputs"], rtol=0.0, atol=tolerance * scale)
    if "action" in expected and expected["action"].dtype != np.int64:
        np.testing.assert_allclose(found["action"], expected["action"], rtol=0.0, atol=tolerance * scale)


@pytest.mark.parametrize("op", OPS)
@settings(deadline=None, max_examples=25)
@given(st.data())
def test_shrunk_is_zeroed(op: str, data: st.DataObject) -> None:
    case = data.draw(cases(op))
    small = shrink(case.graph, case.masks)
    assert_same(all_steps(case, small), all_steps(case, zeroed(case.graph, case.masks)), 1e-12)
    widths = {group.name: int(case.masks[group.name].sum()) for group in find_groups(case.graph)}
    assert sorted(group.width for group in find_groups(small)) == sorted(widths.values())


@settings(deadline=None, max_examples=30)
@given(cases(dtype=np.float32))
def test_shrunk_is_zeroed_in_float32(case: Case) -> None:
    small, zero = shrink(case.graph, case.masks), zeroed(case.graph, case.masks)
    exact = all_steps(case, as_dtype(zero, np.float64))
    rounding = float(np.abs(all_steps(case, zero, np.float32)["outputs"] - exact["outputs"]).max())
    assert_same(all_steps(case, small), all_steps(case, zero), 1e-5 + 8 * rounding)


def gated(case: Case, groups: tuple[Group, ...]) -> Array:
    """Return the outputs [steps, rows, n] of the definition: removed units that vary are zero wherever they are read.

    What does not vary is a constant by ``known_values``, at all places of the other axes. That has tests of its own:
    that a run shows the same is no proof, as a rectifier may be at zero for all its inputs.
    """
    graph = case.graph
    known = known_values(graph)
    specs, across = specs_of(graph), set()
    for node in graph.nodes:
        for coupling in node.op.couplings(given_to(node, specs)):
            across |= {node.values[axis.of] for axis in coupling.axes if coupling.across and axis.of in node.op.inputs}
    gates = {name: np.ones(spec.shape) for name, spec in specs.items()}
    for group in groups:
        varies = np.zeros(group.width, bool)
        for name, axis, positions in group.carriers:
            rows = along(known[name], axis)[positions]
            varies |= np.isnan(rows).any(axis=0) | ((rows != 0.0).any(axis=0) & (name in across))
        for name, axis, positions in group.carriers:
            np.moveaxis(gates[name], axis, 0)[positions[:, ~case.masks[group.name] & varies]] = 0.0
    states, found = initial_states(graph, ROWS), []
    for inputs in case.sequence:
        values = {**{name: value.astype(np.float64) for name, value in inputs.items()}, **states}
        for node in graph.nodes:
            read = [values[name] * gates[name] for name in node.inputs]
            values |= zip(node.outputs, node.op.reference(read), strict=True)
        states = {state.before: values[state.after] for state in graph.states}
        found.append(values["outputs"])
    return np.stack(found)


@settings(deadline=None, max_examples=60)
@given(cases())
def test_zeroed_is_gated(case: Case) -> None:
    expected = gated(case, find_groups(case.graph))
    assume(not refused_groups(case.graph))  # before_norm draws none, but what a norm of zeros makes may be constant
    found = all_steps(case, zeroed(case.graph, case.masks))["outputs"]
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-12 * max(1.0, float(np.abs(expected).max())))


@pytest.mark.parametrize("op", OPS)
@settings(deadline=None, max_examples=8)
@given(st.data())
def test_what_is_called_known_does_not_vary(op: str, data: st.DataObject) -> None:
    case = data.draw(cases(op))
    graph = zeroed(case.graph, case.masks)
    known = known_values(graph)
    states = initial_states(graph, ROWS)
    for inputs in case.sequence:
        values = all_values(graph, inputs, states)
        for name, value in known.items():
            fixed = np.broadcast_to(~np.isnan(value), values[name].shape)
            wanted = np.broadcast_to(value, values[name].shape)
            np.testing.assert_allclose(values[name][fixed], wanted[fixed], rtol=0.0, atol=1e-12)
        states = {state.before: values[state.after] for state in graph.states}


def chain(*ops: Any) -> Graph:
    names = ["obs", *(f"v{index}" for index in range(len(ops)))]
    nodes = tuple(Node(op=op, inputs=(a,), outputs=(b,)) for op, a, b in zip(ops, names, names[1:], strict=False))
    return Graph(inputs=(Port(name="obs", shape=(2,)),), nodes=nodes, outputs=(names[-1],))


def affine(outputs: int, inputs: int) -> Affine:
    values = np.random.default_rng(outputs).standard_normal((outputs, inputs + 1))
    return Affine(weight=values[:, :-1].copy(), bias=values[:, -1].copy())


def norm(width: int) -> LayerNorm:
    return LayerNorm(scale=np.ones(width), shift=np.full(width, 0.5), epsilon=1e-5, count=width)


def test_a_constant_unit_is_folded() -> None:
    first = affine(3, 2)
    first.weight[1] = 0.0
    graph = chain(first, Activation(kind="sigmoid"), affine(1, 3))
    small = shrink(graph, {"v0": np.array([True, False, True])})
    inputs = [{"obs": np.random.default_rng(1).standard_normal((5, 2))}]
    (found,), (expected,) = run_sequence(small, inputs), run_sequence(graph, inputs)
    np.testing.assert_allclose(found["v2"], expected["v2"], rtol=0.0, atol=1e-14)


def test_a_constant_before_a_norm_is_zeroed_as_its_norm_varies() -> None:
    first = affine(3, 2)
    first.weight[1] = 0.0
    graph = chain(first, norm(3), affine(1, 3))
    masks = {"v0": np.array([True, False, True])}
    inputs = [{"obs": np.random.default_rng(1).standard_normal((5, 2))}]
    (small,), (zero,), (whole,) = (run_sequence(g, inputs) for g in (shrink(graph, masks), zeroed(graph, masks), graph))
    np.testing.assert_allclose(small["v2"], zero["v2"], rtol=0.0, atol=1e-14)
    assert np.abs(zero["v2"] - whole["v2"]).max() > 0.1
    assert shrink(graph, masks).nodes[1].op.count == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["sigmoid", "hardsigmoid"])
def test_units_that_are_not_zero_under_a_norm_are_refused_by_name(kind: str) -> None:
    graph = chain(affine(3, 2), Activation(kind=kind), norm(3), affine(1, 3))
    with pytest.raises(CouplingError, match=r"'v1', which node 'v2' \(LayerNorm\) reads all units of, is 0\.5"):
        shrink(graph, {"v0": np.array([True, False, True])})
    shrink(graph, {"v0": np.ones(3, bool)})
    assert list(refused_groups(graph)) == ["v0"]


@settings(deadline=None, max_examples=25)
@given(cases())
def test_what_can_be_shrunk_is_not_refused(case: Case) -> None:
    assert refused_groups(case.graph) == {}


def test_a_constant_that_nothing_can_take_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    first = affine(3, 2)
    first.weight[1] = 0.0
    graph = chain(first, affine(1, 3))
    monkeypatch.setattr(FOLD, "_functions", {})
    with pytest.raises(InputError, match="node 'v1': Affine has no form for folding of constants"):
        shrink(graph, {"v0": np.array([True, False, True])})
    shrink(graph, {"v0": np.array([True, True, False])})
