"""The criterion by which an exported policy equals its original (law 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import ExportMismatchError
from prunekit.graph.forms import MARGIN
from prunekit.graph.graph import Graph
from prunekit.graph.op import Array
from prunekit.graph.reference import initial_states, run_step
from prunekit.ops.argmax import lead

_TOLERANCE = 1e-5
_ROUNDINGS = 16.0
"""How many times the rounding error of one order of sums that of another may be."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Expected:
    """The reference's results in float64 on some inputs: ``action`` and ``outputs`` [rows, ...].

    ``rounding`` is the difference to the reference in float32, which is larger in wide networks. If the action is one
    or more choices, ``margins``, of the action's shape, are the differences between the two outputs that decide each of
    them. Without margins the action is an argmax.
    """

    action: NDArray[Any]
    outputs: NDArray[np.float64]
    rounding: float = 0.0
    margins: NDArray[np.float64] | None = None

    @property
    def allowed(self) -> float:
        """The largest allowed difference of outputs: 1e-5 of the largest output, or ``rounding`` if that is larger."""
        return max(_TOLERANCE * max(float(np.abs(self.outputs).max()), 1.0), _ROUNDINGS * self.rounding)


def expected_of(graph: Graph, inputs: Mapping[str, Array]) -> Expected:
    """Return the reference's results for ``inputs`` [rows, ...] by name; every row starts with the initial states."""
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


def require_agreement(name: str, action: NDArray[Any], outputs: NDArray[np.float32], expected: Expected) -> float:
    """Return the largest difference of ``outputs`` [rows, ...] from the reference's first rows; ``name`` is the
    backend.

    Raises ExportMismatchError if outputs differ by more than ``expected.allowed``, if a continuous action differs by
    more than that relative to its own size, or if a choice differs although its two outputs are further apart.
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
