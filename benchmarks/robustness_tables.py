"""The results of ``robustness.py`` as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from record import stamp, table


def disturbances_table(result: Mapping[str, Any]) -> str:
    """Return one row per environment and disturbance: returns, and what is kept with its lower bound."""
    rows = []
    for env_id, found in result["environments"].items():
        for name in result["disturbances"]:
            cells = [_cell(found["kept"][form][name]) for form in ("teacher", "compact", "int8")]
            rows.append([env_id, str(found["episodes"]), name, *cells])
    head = ["environment", "episodes", "disturbance", "teacher (kept of its own)", "compact", "compact, int8"]
    ladder = "; ".join(
        f"{env_id} {found['largest']['compact'] or 'none of these'}, int8 {found['largest']['int8'] or 'none of these'}"
        for env_id, found in result["environments"].items()
    )
    missing = f" Not played yet: {', '.join(result['missing'])}." if result["missing"] else ""
    return (
        f"{table(head, rows)}\n\nThe largest observation noise of {', '.join(result['ladder'])} under which "
        f"{result['keep']:g} is kept, with 95% confidence for all levels of a policy together: {ladder}.{missing} "
        f"{stamp(result)}."
    )


def _cell(found: Mapping[str, Any]) -> str:
    bound = "none" if found["lower_bound"] is None else f"{found['lower_bound']:.3f}"
    kept = "" if found["retention"] is None else f", {found['retention']:.3f}"
    return f"{found['mean']:,.1f}{kept} [{bound}]"
