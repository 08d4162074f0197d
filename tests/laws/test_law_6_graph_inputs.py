"""Law 6 on graphs: nothing changes the graph, masks or inputs that it is given. All of them are read-only here."""

from __future__ import annotations

import pickle

import torch
from hypothesis import given, settings
from law_graphs import ROWS, Case, all_steps, cases
from test_law_3_graph_death import train

from prunekit.graph.constants import known_values
from prunekit.graph.groups import find_groups
from prunekit.graph.onnx import to_onnx
from prunekit.graph.op import parameters
from prunekit.graph.surgery import shrink, zeroed
from prunekit.graph.to_torch import GraphModule


def snapshot(case: Case) -> bytes:
    constants = [parameters(node.op) for node in case.graph.nodes]
    return pickle.dumps((constants, [state.initial for state in case.graph.states], case.masks, case.sequence))


@settings(deadline=None, max_examples=25)
@given(cases())
def test_graphs_masks_and_inputs_are_not_touched(case: Case) -> None:
    before = snapshot(case)
    for node in case.graph.nodes:
        assert not any(value.flags.writeable for value in parameters(node.op).values())
    find_groups(case.graph)
    known_values(case.graph)
    all_steps(case, case.graph)
    to_onnx(case.graph)
    small, zero = shrink(case.graph, case.masks), zeroed(case.graph, case.masks)
    train(case, case.graph)
    module = GraphModule(case.graph)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(7.0)
        for state in module.initial_states(ROWS):
            state.clone().fill_(7.0)
    assert snapshot(case) == before
    for graph in (small, zero):
        again = snapshot(Case(graph=graph, masks=case.masks, sequence=case.sequence))
        all_steps(case, graph)
        assert snapshot(Case(graph=graph, masks=case.masks, sequence=case.sequence)) == again
