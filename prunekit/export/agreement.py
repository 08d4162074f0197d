"""What it means that an exported policy is the one it was made from (law 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from prunekit.errors import ExportMismatchError
from prunekit.graph.forms import MARGIN
from prunekit.graph.graph import Graph
from prunekit.graph.op import Array
from prunekit.graph.reference import initial_states, run_step
from prunekit.graph.to_torch import GraphModule
from prunekit.ops.argmax import lead
from prunekit.policy.actor import Actor

_TOLERANCE = 1e-5
_ROUNDINGS = 16.0
"""How many times the rounding error of one order of sums that of another may be."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Expected:
    """What a policy gives on some inputs, by the reference in float64: ``action`` and ``outputs`` [rows, ...].

    ``rounding`` is how far the reference in float32 is from that: in wide networks more than in narrow ones. Where the
    action is choices, ``margins`` say by how much the two outputs that each is between differ, of the action's shape;
    without them it is an argmax.
    """

    action: NDArray[Any]
    outputs: NDArray[np.float64]
    rounding: float = 0.0
    margins: NDArray[np.float64] | None = None

    @property
    def allowed(self) -> float:
        """How far the outputs of another way may be: 1e-5 of the largest one's size, or rounding where that is more."""
        return max(_TOLERANCE * max(float(np.abs(self.outputs).max()), 1.0), _ROUNDINGS * self.rounding)


def expected_of(graph: Graph, inputs: Mapping[str, Array]) -> Expected:
    """Return what the reference gives for ``inputs`` [rows, ...] by name; states begin anew in every row."""
    rows = len(next(iter(inputs.values())))
    exact = run_step(graph, inputs, initial_states(graph, rows))[0]
    single = run_step(graph, inputs, initial_states(graph, rows, np.float32), np.float32)[0]
    action, outputs = ends_of(graph)
    rounding = float(np.abs(single[outputs] - exact[outputs]).max(initial=0.0))
    head = next((node.op for node in graph.nodes if action in node.outputs), None)
    told = None if head is None else MARGIN.find(head)
    margins = None if told is None else told(head, exact[outputs])
    return Expected(action=exact[action], outputs=exact[outputs], rounding=rounding, margins=margins)


def ends_of(graph: Graph) -> tuple[str, str]:
    """Return the names of the action and of the values before the head, which may be the same."""
    action = "action" if "action" in graph.outputs else graph.outputs[0]
    return action, "outputs" if "outputs" in graph.outputs else action


@torch.no_grad()
def in_torch(policy: Actor | Graph, inputs: Mapping[str, Array]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return (actions, outputs) of ``policy`` in torch, in float32 for a graph; states begin anew in every row."""
    if isinstance(policy, Actor):
        (observations,) = inputs.values()
        outputs = policy.outputs(torch.from_numpy(observations))
        return policy.head(outputs).numpy(), outputs.numpy()
    module, rows = GraphModule(policy).to(torch.float32), len(next(iter(inputs.values())))
    made = module(*(torch.from_numpy(inputs[port.name]) for port in policy.inputs), *module.initial_states(rows))
    values = dict(zip(policy.outputs, (value.numpy() for value in made), strict=False))
    action, before = ends_of(policy)
    return values[action], values[before]


def require_agreement(name: str, action: NDArray[Any], outputs: NDArray[np.float32], expected: Expected) -> float:
    """Return the largest difference of ``outputs`` [rows, ...] from the reference's first rows; ``name`` gave them.

    Raises ExportMismatchError where outputs differ by more than ``expected.allowed``, a continuous action by more than
    that of the action's size, or a choice where the two outputs that it is between are further apart.
    """
    rows, allowed = len(outputs), expected.allowed
    difference = float(np.abs(outputs - expected.outputs[:rows]).max())
    if not difference <= allowed:
        raise ExportMismatchError(
            f"outputs of {name} differ from the reference's by {difference:g}; nothing was written"
        )
    margins = lead(expected.outputs) if expected.margins is None else expected.margins
    _check_actions(name, action, expected.action[:rows], margins[:rows] > 2 * allowed, allowed)
    return difference


def _check_actions(
    name: str, action: NDArray[Any], expected: NDArray[Any], clear: NDArray[np.bool_], allowed: float
) -> None:
    if expected.dtype == np.int64:
        differs = (action != expected) & clear
        wrong = int(differs.reshape(len(expected), -1).any(axis=1).sum())
        if wrong:
            raise ExportMismatchError(
                f"{name} chooses another action in {wrong} of {len(expected)} rows; nothing was written"
            )
        return
    limit = max(allowed, _TOLERANCE * float(np.abs(expected).max()))
    difference = float(np.abs(action - expected).max())
    if not difference <= limit:
        raise ExportMismatchError(
            f"actions of {name} differ from the reference's by {difference:g}; nothing was written"
        )
