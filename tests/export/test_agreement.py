"""What counts as the same policy: rounding does, in wide networks too, and nothing more."""

from __future__ import annotations

import numpy as np
import pytest

from prunekit.errors import ExportMismatchError
from prunekit.export.agreement import Expected, expected_of, require_agreement
from prunekit.export.in_torch import in_torch
from prunekit.graph.graph import Graph, Node, Port
from prunekit.ops.activation import Activation
from prunekit.ops.affine import Affine
from prunekit.ops.identity import Identity

VALUES = np.array([[3.0, -1.0], [0.5, 4.0]])


def wide(width: int = 1024, seed: int = 0) -> Graph:
    """A network whose outputs are small differences of large sums, so that float32 rounds visibly."""
    random = np.random.default_rng(seed)
    layers = [(width, 16, 3.0), (2, width, 1.0)]
    weights = [(scale * random.normal(size=(rows, columns))).astype(np.float32) for rows, columns, scale in layers]
    nodes = [
        Node(op=Affine(weight=weights[0], bias=np.zeros(width, np.float32)), inputs=("obs",), outputs=("h",)),
        Node(op=Activation(kind="silu"), inputs=("h",), outputs=("a",)),
        Node(op=Affine(weight=weights[1], bias=np.zeros(2, np.float32)), inputs=("a",), outputs=("y",)),
        Node(op=Activation(kind="tanh"), inputs=("y",), outputs=("outputs",)),
        Node(op=Identity(), inputs=("outputs",), outputs=("action",)),
    ]
    ports = (Port(name="obs", shape=(16,)),)
    return Graph(inputs=ports, nodes=tuple(nodes), outputs=("action", "outputs"))


def test_rounding_of_wide_networks_is_allowed() -> None:
    graph = wide()
    inputs = {"obs": np.random.default_rng(1).normal(size=(4096, 16)).astype(np.float32)}
    expected = expected_of(graph, inputs)
    difference = require_agreement("torch", *in_torch(graph, inputs), expected)
    assert difference > 1e-5  # more than a narrow network's
    assert expected.allowed < 1e-2


@pytest.mark.parametrize("rounding", [0.0, 1e-6])
def test_more_than_rounding_is_not(rounding: float) -> None:
    expected = Expected(action=VALUES, outputs=VALUES, rounding=rounding)
    assert expected.allowed == pytest.approx(4e-5)
    require_agreement("x", VALUES, (VALUES + 3e-5).astype(np.float32), expected)
    with pytest.raises(ExportMismatchError, match="outputs of x differ from the reference's by 5"):
        require_agreement("x", VALUES, (VALUES + 5e-5).astype(np.float32), expected)
    with pytest.raises(ExportMismatchError, match="actions of x differ"):
        require_agreement("x", VALUES + 5e-5, VALUES.astype(np.float32), expected)


def test_another_number_counts_where_the_best_are_apart() -> None:
    chosen = VALUES.argmax(axis=1)
    expected = Expected(action=chosen, outputs=VALUES)
    with pytest.raises(ExportMismatchError, match="x chooses another action in 2 of 2 rows"):
        require_agreement("x", 1 - chosen, VALUES.astype(np.float32), expected)
    close = Expected(action=chosen, outputs=np.array([[1.0, 1.0 - 1e-6], [1.0 - 1e-6, 1.0]]))
    require_agreement("x", 1 - chosen, close.outputs.astype(np.float32), close)
