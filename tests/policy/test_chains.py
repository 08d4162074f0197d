"""Graphs that are chains, as actors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from prunekit.errors import CouplingError
from prunekit.graph.graph import Graph, Node, Port
from prunekit.graph.reference import run_step
from prunekit.ops.affine import Affine
from prunekit.ops.identity import Identity
from prunekit.ops.normalize import Normalize
from prunekit.policy.chains import actor_of

RANDOM = np.random.default_rng(0)


def chain(normalizer: Any, layers: tuple[Any, Any]) -> Graph:
    """Return two layers behind a normalizer; the arguments are their types of numbers."""
    mean, scale = RANDOM.normal(size=3).astype(normalizer), RANDOM.uniform(0.5, 2.0, 3).astype(normalizer)
    ops = [
        Normalize(mean=mean, scale=scale, clip=10.0),
        Affine(weight=RANDOM.normal(size=(4, 3)).astype(layers[0]), bias=RANDOM.normal(size=4).astype(layers[0])),
        Affine(weight=RANDOM.normal(size=(2, 4)).astype(layers[1]), bias=RANDOM.normal(size=2).astype(layers[1])),
        Identity(),
    ]
    names = ["obs", "normalized", "hidden", "outputs", "action"]
    nodes = tuple(Node(op=op, inputs=(names[at],), outputs=(names[at + 1],)) for at, op in enumerate(ops))
    return Graph(inputs=(Port(name="obs", shape=(3,)),), nodes=nodes, outputs=("action", "outputs"))


@pytest.mark.parametrize("normalizer", [np.float32, np.float64])
@pytest.mark.parametrize("layers", [np.float32, np.float64])
def test_a_normalizer_of_another_type_than_the_network_s(normalizer: Any, layers: Any) -> None:
    graph = chain(normalizer, (layers, layers))
    actor, _ = actor_of(graph)
    seen = RANDOM.normal(size=(5, 3)).astype(np.float32)
    with torch.no_grad():
        found = actor.outputs(torch.from_numpy(seen))
    assert found.dtype == actor.dtype == torch.from_numpy(np.zeros(1, layers)).dtype
    np.testing.assert_allclose(found.numpy(), run_step(graph, {"obs": seen}, {})[0]["outputs"], atol=1e-5)


def test_layers_of_two_types_are_no_chain() -> None:
    with pytest.raises(CouplingError, match="its weights are of two types"):
        actor_of(chain(np.float32, (np.float32, np.float64)))
