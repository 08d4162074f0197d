"""Law 3 on graphs: a dead unit stays exactly zero through steps of an optimizer, and adds nothing at any time."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from law_graphs import ROWS, Case, all_steps, cases

from prunekit.graph.graph import Graph
from prunekit.graph.groups import find_groups
from prunekit.graph.op import parameters
from prunekit.graph.surgery import dead_slices, shrink, zeroed
from prunekit.graph.to_torch import GraphModule


def train(case: Case, graph: Graph, steps: int = 3) -> Graph:
    """Return ``graph`` after steps of Adam on its outputs, after each of which dead slices are set to zero."""
    module = GraphModule(graph).double()
    slices = dead_slices(find_groups(graph), case.masks)
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=0.05)
    for inputs in case.sequence[:steps] * (steps if len(case.sequence) == 1 else 1):
        made = module(torch.from_numpy(inputs["obs"]).double(), *module.initial_states(ROWS))
        loss = sum((value**2).sum() for value in made if value.is_floating_point())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for node, field, axis, positions in slices:
                tensor = module.get_parameter(f"{node}-{field}") if f"{node}-{field}" in module._parameters else None
                if tensor is not None:
                    tensor.index_fill_(axis, torch.from_numpy(positions), 0.0)
            for name, tensor in module.named_parameters():  # as any training of variances must
                if name.endswith("variance"):
                    tensor.clamp_(min=0.0)
    return module.to_graph()


@settings(deadline=None, max_examples=30)
@given(cases())
def test_dead_units_stay_zero_and_can_go_after_training(case: Case) -> None:
    trained = train(case, zeroed(case.graph, case.masks))
    groups = find_groups(trained)
    assert [group.name for group in groups] == list(case.masks)
    for group in groups:
        for node, field, axis, positions in group.slices:
            value = parameters(trained.nodes[node].op)[field]
            dead = positions[:, ~case.masks[group.name]].ravel()
            assert value.dtype == bool or not np.take(value, dead, axis).any()
    small = all_steps(case, shrink(trained, case.masks))
    whole = all_steps(case, trained)
    scale = max(1.0, float(np.abs(whole["outputs"]).max()))
    np.testing.assert_allclose(small["outputs"], whole["outputs"], rtol=0.0, atol=1e-12 * scale)


@settings(deadline=None, max_examples=30)
@given(cases())
def test_zeroing_twice_is_zeroing_once(case: Case) -> None:
    once = zeroed(case.graph, case.masks)
    twice = zeroed(once, case.masks)
    for one, other in zip(once.nodes, twice.nodes, strict=True):
        for name, value in parameters(one.op).items():
            np.testing.assert_array_equal(parameters(other.op)[name], value)
    for before, after in zip(once.states, twice.states, strict=True):
        np.testing.assert_array_equal(after.initial, before.initial)


@settings(deadline=None, max_examples=30)
@given(cases("GRU"))
def test_a_dead_state_is_zero_at_every_step(case: Case) -> None:
    graph = zeroed(case.graph, case.masks)
    found = all_steps(case, graph)
    for group in find_groups(graph):
        for carrier in group.carriers:
            if f"{carrier.name}_out" in found:
                dead = carrier.positions[:, ~case.masks[group.name]].ravel()
                assert not found[f"{carrier.name}_out"][..., dead].any()
