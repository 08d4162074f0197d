"""Groups as components of couplings, on graphs whose groups are known by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import prunekit.ops  # noqa: F401
from prunekit.errors import CouplingError
from prunekit.graph.graph import Graph, Node, Port, State
from prunekit.graph.groups import Group, find_groups
from prunekit.graph.op import OPS, Axis, Coupling
from prunekit.graph.surgery import shrink
from prunekit.ops.activation import Activation
from prunekit.ops.add import Add
from prunekit.ops.affine import Affine
from prunekit.ops.concat import Concat
from prunekit.ops.flatten import Flatten
from prunekit.ops.gru import GRU
from prunekit.ops.layer_norm import LayerNorm
from prunekit.ops.reshape import Reshape
from prunekit.ops.slice import Slice
from prunekit.ops.softmax import Softmax

TANH = Activation(kind="tanh")


def affine(outputs: int, inputs: int) -> Affine:
    return Affine(weight=np.ones((outputs, inputs), np.float32), bias=np.zeros(outputs, np.float32))


def graph(nodes: Mapping[str, tuple[Any, str]], outputs: tuple[str, ...] = ("y",), states: Any = ()) -> Graph:
    made = tuple(Node(op=op, inputs=tuple(reads.split()), outputs=(name,)) for name, (op, reads) in nodes.items())
    return Graph(inputs=(Port(name="obs", shape=(4,)),), nodes=made, outputs=outputs, states=states)


def told(group: Group, of: Graph) -> set[tuple[str, str, int, int]]:
    """Return (node, field, axis, blocks) of the group's slices."""
    return {(of.nodes[piece.node].name, piece.field, piece.axis, piece.blocks) for piece in group.slices}


def test_a_chain_has_a_group_per_hidden_layer() -> None:
    g = graph({"a": (affine(3, 4), "obs"), "b": (TANH, "a"), "c": (affine(5, 3), "b"), "y": (affine(2, 5), "c")})
    first, second = find_groups(g)
    assert (first.name, first.width, second.name, second.width) == ("a", 3, "c", 5)
    assert told(first, g) == {("a", "weight", 0, 1), ("a", "bias", 0, 1), ("c", "weight", 1, 1)}
    assert {carrier.name for carrier in first.carriers} == {"a", "b"}


def test_a_gru_has_eight_slices_and_a_state() -> None:
    ones = np.ones((9, 3), np.float32)
    gru = GRU(w_x=ones, w_h=ones, b_x=ones[:, 0], b_h=ones[:, 1])
    norm = LayerNorm(scale=ones[:3, 0], shift=ones[:3, 1], epsilon=1e-5, count=3)
    state = State(before="h", after="h2", initial=np.zeros(3, np.float32))
    nodes = {"a": (affine(3, 4), "obs"), "h2": (gru, "a h"), "n": (norm, "h2"), "y": (affine(2, 3), "n")}
    g = graph(nodes, states=(state,))
    first, cell = find_groups(g)
    assert told(first, g) == {("a", "weight", 0, 1), ("a", "bias", 0, 1), ("h2", "w_x", 1, 1)}
    rows = {("h2", field, 0, 3) for field in ("w_x", "w_h", "b_x", "b_h")}
    rest = {("h2", "w_h", 1, 1), ("n", "scale", 0, 1), ("n", "shift", 0, 1), ("y", "weight", 1, 1)}
    assert told(cell, g) == rows | rest
    assert (cell.width, cell.states) == (3, (0,))
    keep = {"a": np.ones(3, bool), "h2": np.array([True, False, True])}
    small = shrink(g, keep)
    assert small.states[0].initial.shape == (2,)
    assert small.nodes[1].op.w_h.shape == (6, 2)  # type: ignore[attr-defined]


def test_a_residual_is_one_group() -> None:
    g = graph({"a": (affine(3, 4), "obs"), "b": (TANH, "a"), "c": (affine(5, 3), "b"), "d": (affine(3, 5), "c"),
               "e": (Add(), "b d"), "y": (affine(2, 3), "e")})  # fmt: skip
    outer, inner = find_groups(g)
    assert (outer.name, outer.width, inner.width) == ("a", 3, 5)
    assert ("d", "weight", 0, 1) in told(outer, g)
    assert ("c", "weight", 1, 1) in told(outer, g)


def test_parts_that_are_concatenated_stay_apart() -> None:
    g = graph({"a": (affine(2, 4), "obs"), "b": (affine(3, 4), "obs"), "c": (Concat(parts=3), "a obs b"),
               "y": (affine(1, 9), "c")})  # fmt: skip
    first, second = find_groups(g)
    assert (first.name, first.width, second.name, second.width) == ("a", 2, "b", 3)
    columns = {
        g.name: [p.positions.tolist() for p in g.slices if p.field == "weight" and p.axis == 1] for g in find_groups(g)
    }
    assert columns == {"a": [[[0, 1]]], "b": [[[6, 7, 8]]]}


def test_slices_part_a_layer() -> None:
    left = np.array([True, True, False, False, False])
    g = graph({"a": (affine(5, 4), "obs"), "l": (Slice(selected=left), "a"), "y": (affine(1, 2), "l")})
    read, ended = find_groups(g)
    assert ([g.width for g in (read, ended)], read.name, ended.name) == ([2, 3], "a:0", "a:1")
    small = shrink(g, {"a:0": np.array([False, True]), "a:1": np.array([True, False, False])})
    assert small.nodes[1].op.selected.tolist() == [True, False]  # type: ignore[attr-defined]


def test_what_is_flattened_lies_in_blocks() -> None:
    g = graph({"a": (Reshape(shape=(2, 2)), "obs"), "b": (affine(3, 2), "a"), "c": (Flatten(), "b"),
               "y": (affine(1, 6), "c")})  # fmt: skip
    (group,) = find_groups(g)
    assert (group.width, ("y", "weight", 1, 2) in told(group, g)) == (3, True)
    assert shrink(g, {"b": np.array([True, False, True])}).nodes[3].op.weight.shape == (1, 4)  # type: ignore[attr-defined]


@pytest.mark.parametrize("op", [Softmax(), Reshape(shape=(3,))], ids=["Softmax", "Reshape"])
def test_units_of_which_an_op_says_nothing_stay(op: Any) -> None:
    g = graph({"a": (affine(3, 4), "obs"), "b": (op, "a"), "y": (affine(2, 3), "b")})
    assert [group.name for group in find_groups(g)] == []


def test_inputs_and_outputs_are_in_no_group() -> None:
    g = graph({"a": (affine(3, 4), "obs"), "b": (TANH, "a"), "y": (affine(2, 3), "b")}, ("y", "a"))
    assert find_groups(g) == ()


@pytest.mark.parametrize(
    ("coupling", "message"),
    [
        (Coupling((Axis("x"), Axis("nothing", 0))), "node 'b' .* couples .*nothing.* does not fit"),
        (Coupling((Axis("x", 7), Axis("y"))), "node 'b' .* does not fit"),
        (Coupling((Axis("x", blocks=2), Axis("y"))), "3 entries, which are not 2 blocks"),
        (Coupling((Axis("x", start=1), Axis("y"))), "node 'b' .* different widths: 'x' 2, 'y' 3"),
    ],
)
def test_couplings_that_do_not_fit_are_refused(
    coupling: Coupling, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Activation, "couplings", lambda self, given: (coupling,))
    g = graph({"a": (affine(3, 4), "obs"), "b": (TANH, "a"), "y": (affine(2, 3), "b")})
    assert OPS["Activation"] is Activation
    with pytest.raises(CouplingError, match=message):
        find_groups(g)
