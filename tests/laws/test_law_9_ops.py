"""Law 9: every op is in the laws, and what some part does not know is refused there by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from law_graphs import BODY, HEADS, Case, cases

from prunekit.errors import InputError
from prunekit.export.c_float import float_to_c, run_float32
from prunekit.graph.forms import MACS, ONNX, TORCH, TWIN, C, Forms
from prunekit.graph.graph import Graph, Node, Port, given_to, specs_of
from prunekit.graph.onnx import to_onnx
from prunekit.graph.op import OPS, Array, Coupling, Op, Spec, register_op, unitwise
from prunekit.graph.to_torch import GraphModule
from prunekit.ops.activation import Activation


def test_every_op_has_a_builder() -> None:
    ours = {name for name, kind in OPS.items() if kind.__module__.startswith("prunekit.")}
    assert ours == {*BODY, *HEADS}, "an op without a builder in law_graphs.py is in no law"


def test_every_op_is_in_the_docs() -> None:
    text = (Path(__file__).parents[2] / "docs" / "ops.md").read_text()
    assert [name for name in (*BODY, *HEADS) if f"`{name}`" not in text] == []


@pytest.mark.parametrize("op", sorted([*BODY, *HEADS]))
@settings(deadline=None, max_examples=2)
@given(data=st.data())
def test_a_builder_makes_its_op_and_all_forms_know_it(op: str, data: st.DataObject) -> None:
    case = data.draw(cases(op))
    specs = specs_of(case.graph)
    made = [node for node in case.graph.nodes if type(node.op).__name__ == op]
    assert made
    for node in made:
        assert MACS.of(node.op, node.name)(node.op, given_to(node, specs)) >= 0
        assert ONNX.find(node.op) is not None
        assert TORCH.find(node.op) is not None
        assert C.find(node.op) is not None
        assert TWIN.find(node.op) is not None


def changed_positions(node: Node, given: Sequence[Array], at: int, position: tuple[int, ...]) -> list[np.ndarray]:
    """Return per output where it changes, bool, when one number of input ``at`` does, by a little or a lot."""
    before = node.op.reference(given)
    changed = [np.zeros(value.shape[1:], bool) for value in before]
    for step in (-3.0, -0.01, 0.01, 3.0):
        moved = [value.copy() for value in given]
        moved[at][(0, *position)] += step
        for index, after in enumerate(node.op.reference(moved)):
            changed[index] |= (after[0] != before[index][0]) & ~np.isnan(after[0])
    return changed


@settings(deadline=None, max_examples=60)
@given(cases(), st.integers(0, 2**16))
def test_units_that_are_not_read_across_depend_on_themselves_alone(case: Case, seed: int) -> None:
    """Where axes of an input and an output are coupled, but not across, units that differ do not meet."""
    random = np.random.default_rng(seed)
    specs = specs_of(case.graph)
    for node in case.graph.nodes:
        given = [random.standard_normal((1, *specs[name].shape)) for name in node.inputs]
        couplings = node.op.couplings(given_to(node, specs))
        for at, local in enumerate(node.op.inputs):
            shape = given[at].shape[1:]
            position = tuple(int(random.integers(size)) for size in shape)
            changed = changed_positions(node, given, at, position)
            for coupling in couplings:
                for read in (axis for axis in coupling.axes if axis.of == local and not coupling.across):
                    k = range(len(shape))[read.axis]
                    laid = read.positions(shape[k])
                    units = set(np.nonzero(laid == position[k])[1].tolist())
                    for made in (axis for axis in coupling.axes if axis.of in node.op.outputs):
                        output = changed[node.op.outputs.index(made.of)]
                        to = range(output.ndim)[made.axis]
                        reached = np.flatnonzero(np.moveaxis(output, to, 0).reshape(output.shape[to], -1).any(axis=1))
                        hit = {
                            int(unit) for p in reached for unit in np.nonzero(made.positions(output.shape[to]) == p)[1]
                        }
                        assert hit <= units, f"{node.name}: unit {units} of '{local}' reaches {hit} of '{made.of}'"


@final
@dataclass(frozen=True, kw_only=True)
class Unheard:
    """An op of which nothing is registered."""

    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        return (given[0],)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        return unitwise(given[0], ("x", "y"))

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        return (values[0],)


def graph_with(op: Op) -> Graph:
    node = Node(op=op, inputs=("obs",), outputs=("y",))
    return Graph(inputs=(Port(name="obs", shape=(2,)),), nodes=(node,), outputs=("y",))


def test_an_op_that_is_not_registered_is_refused() -> None:
    with pytest.raises(InputError, match=r"node 'y': Unheard is not a registered op"):
        graph_with(Unheard())


USES: list[tuple[Callable[[Graph], object], str]] = [
    (to_onnx, "ONNX"),
    (GraphModule, "torch"),
    (lambda graph: float_to_c(graph, "p", {}), "C"),
    (lambda graph: run_float32(graph, {"obs": np.zeros((1, 2))}), "the twin of C"),
]


@pytest.mark.parametrize(("use", "backend"), USES)
def test_a_form_that_is_missing_is_refused(
    use: Callable[[Graph], object], backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OPS, "Unheard", Unheard)
    with pytest.raises(InputError, match=f"node 'y': Unheard has no form for {backend};"):
        use(graph_with(Unheard()))


def test_a_form_of_any_backend_is_refused_by_the_backend_s_name() -> None:
    with pytest.raises(InputError, match="node 'a': Activation has no form for C int8"):
        Forms[int]("C int8").of(Activation(kind="tanh"), "a")


def test_a_name_is_registered_once() -> None:
    other = type("Affine", (), {})
    with pytest.raises(InputError, match="an op named Affine is registered already"):
        register_op(other)
