"""What it means that an exported policy is the actor it was made from (law 2)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import ExportMismatchError
from prunekit.graph.forms import MARGIN
from prunekit.graph.op import Op
from prunekit.ops.argmax import Argmax

_TOLERANCE = 1e-5


def require_agreement(
    name: str,
    action: NDArray[Any],
    scores: NDArray[np.float32],
    expected_action: NDArray[Any],
    expected_scores: NDArray[np.float64],
    head: Op | None = None,
) -> float:
    """Return the largest difference of ``scores`` [rows, n] from the oracle's first rows; ``name`` is what gave them.

    Raises ExportMismatchError where scores differ by more than 1e-5 of the largest score's size, a continuous action by
    more than that of the action's, or a choice where the scores between which ``head`` (without one: an argmax) chooses
    are further apart.
    """
    rows = len(scores)
    allowed = _TOLERANCE * max(float(np.abs(expected_scores).max()), 1.0)
    difference = float(np.abs(scores - expected_scores[:rows]).max())
    if not difference <= allowed:
        raise ExportMismatchError(f"scores of {name} differ from the oracle's by {difference:g}; nothing was written")
    _check_actions(name, action, expected_action[:rows], expected_scores[:rows], allowed, head or Argmax())
    return difference


def _check_actions(
    name: str, action: NDArray[Any], expected: NDArray[Any], scores: NDArray[np.float64], allowed: float, head: Op
) -> None:
    if expected.dtype == np.int64:
        margin = MARGIN.find(head)
        clear = np.ones(expected.shape, bool) if margin is None else margin(head, scores) > 2 * allowed
        differs = clear & (action != expected)
        wrong = int(differs.reshape(len(scores), -1).any(axis=1).sum())
        if wrong:
            raise ExportMismatchError(
                f"{name} chooses another action in {wrong} of {len(scores)} rows; nothing was written"
            )
        return
    limit = max(allowed, _TOLERANCE * float(np.abs(expected).max()))
    difference = float(np.abs(action - expected).max())
    if not difference <= limit:
        raise ExportMismatchError(f"actions of {name} differ from the oracle's by {difference:g}; nothing was written")
