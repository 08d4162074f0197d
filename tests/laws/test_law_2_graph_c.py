"""Law 2 for C written from graphs: compiled, it has its twin's bits; the twin is the reference within rounding."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiled_policy import FAST, MISSING, REASON, SANITIZED, acted, acted_together, with_wild_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from law_graphs import BODY, HEADS, ROWS, Case, all_steps, assert_agree, cases, rounding_of
from numpy.typing import NDArray

from prunekit.export.c_float import float_to_c, run_float32, run_float32_step
from prunekit.graph.graph import Graph, specs_of
from prunekit.graph.reference import initial_states
from prunekit.graph.surgery import shrink

pytestmark = pytest.mark.skipif(bool(MISSING), reason=REASON)
OPS = sorted([*BODY, *HEADS])
# In a chain whose first layer reads one number GCC 12 warns of more; the text of chains is to stay as it is.
QUIET = ("-Wno-maybe-uninitialized",)
WAYS = [("gcc", ("-O0",)), ("gcc", (*FAST, "-ffp-contract=fast")), ("clang", FAST), ("gcc", SANITIZED)]
Array = NDArray[Any]


def before_the_head(graph: Graph) -> Graph:
    """Return ``graph`` whose action are the values before its head: the head would hide most of their bits."""
    nodes = tuple(node for node in graph.nodes if node.outputs[0] != "action")
    return replace(graph, nodes=nodes, outputs=("outputs",))


def twin_steps(case: Case, graph: Graph) -> dict[str, Array]:
    """Return what ``all_steps`` does, of the twin; numbers as int64."""
    states, found = initial_states(graph, ROWS, np.float32), []
    for inputs in case.sequence:
        outputs, states = run_float32_step(graph, inputs, states)
        found.append({**outputs, **{f"{name}_out": value for name, value in states.items()}})
    stacked = {name: np.stack([step[name] for step in found]) for name in found[0]}
    numbers = {name for name in graph.outputs if specs_of(graph)[name].dtype == "int64"}
    return {name: value.astype(np.int64) if name in numbers else value for name, value in stacked.items()}


def in_c(
    cases: Sequence[tuple[Case, Graph]], compiler: str = "gcc", flags: tuple[str, ...] = ("-O2",)
) -> list[tuple[Array, Array]]:
    """Return (actions of the compiled C, those of the twin) of each, a row's sequence after that of the one before.

    Where there is no state, many more rows are tried: a bit differs in few of them.
    """
    codes = []
    for at, (case, graph) in enumerate(cases):
        steps = len(case.sequence)
        observations = np.stack([step["obs"] for step in case.sequence], axis=1).reshape(ROWS * steps, -1)
        if not graph.states:
            more = np.random.default_rng(0).standard_normal((200, observations.shape[1]))
            observations = np.concatenate([observations, 2.0 * more]).astype(np.float32)
        codes.append((float_to_c(graph, f"p{at}", {}), observations, steps))
    warned = compiler == "gcc" and any(observations.shape[1] == 1 for _, observations, _ in codes)
    with tempfile.TemporaryDirectory() as folder:
        found = acted_together(codes, Path(folder), compiler, (*flags, *QUIET) if warned else flags)
    return [
        (own, _expected(case, graph, observations, own))
        for own, (case, graph), (_, observations, _) in zip(found, cases, codes, strict=True)
    ]


def _expected(case: Case, graph: Graph, observations: Array, found: Array) -> Array:
    if not graph.states:
        return run_float32(graph, {"obs": observations})[graph.outputs[0]].reshape(found.shape)
    expected = twin_steps(case, graph)[graph.outputs[0]]
    return np.swapaxes(expected, 0, 1).reshape(found.shape).astype(found.dtype)


def assert_same_bits(found: Array, expected: Array) -> None:
    """The sign and payload of a NaN are the processor's."""
    assert found.dtype == expected.dtype
    known = ~np.isnan(expected)
    assert np.array_equal(known, ~np.isnan(found))
    assert found[known].tobytes() == expected[known].tobytes()


@pytest.mark.parametrize("op", OPS)
@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_the_twin_is_the_reference(op: str, data: st.DataObject) -> None:
    case = data.draw(cases(op, np.float32))
    for graph in (case.graph, shrink(case.graph, case.masks)):
        expected = all_steps(case, graph)
        assert_agree(graph, twin_steps(case, graph), expected, rounding_of(case, graph, expected))


@pytest.mark.parametrize("op", OPS)
@settings(deadline=None, max_examples=2)
@given(data=st.data())
def test_compiled_c_has_the_bits_of_its_twin(op: str, data: st.DataObject) -> None:
    drawn = data.draw(st.tuples(*[cases(op, np.float32)] * 4))
    for found, expected in in_c([(one, one.graph if op in HEADS else before_the_head(one.graph)) for one in drawn]):
        assert_same_bits(found, expected)


@settings(deadline=None, max_examples=3)
@given(st.tuples(*[cases(dtype=np.float32)] * 4))
def test_every_compiler_gives_these_bits(drawn: Sequence[Case]) -> None:
    both = [(one, graph) for one in drawn for graph in (one.graph, before_the_head(one.graph))]
    for compiler, flags in WAYS:
        for found, expected in in_c(both, compiler, flags):
            assert_same_bits(found, expected)


@settings(deadline=None, max_examples=15)
@given(cases(dtype=np.float32), st.booleans())
def test_inputs_that_are_not_finite_are_as_in_the_twin(case: Case, head: bool) -> None:
    graph = case.graph if head else before_the_head(case.graph)
    rows = with_wild_rows(np.concatenate([step["obs"] for step in case.sequence]))
    expected = run_float32(graph, {"obs": rows})[graph.outputs[0]]
    with tempfile.TemporaryDirectory() as folder:
        found = acted(float_to_c(graph, "p", {}), rows, Path(folder), flags=("-O1",))
    assert_same_bits(found, expected.reshape(found.shape))


@settings(deadline=None, max_examples=10)
@given(cases("GRU", np.float32))
def test_a_self_test_plays_the_recorded_sequence(case: Case) -> None:
    recorded = {"obs": np.concatenate([step["obs"][:1] for step in case.sequence])}
    code = float_to_c(case.graph, "some_policy", {}, recorded)
    with tempfile.TemporaryDirectory() as folder:
        acted(code, recorded["obs"], Path(folder), flags=("-O1",), self_test=True, steps=len(recorded["obs"]))
