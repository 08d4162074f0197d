"""The table of ``docs/ops.md``: how time and memory grow with a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from record import stamp, table


def growth_table(result: Mapping[str, Any]) -> str:
    """Return one row per step: seconds and memory at every width, and how they grew between the last two."""
    parameters = {width: int(count) for width, count in result["parameters"].items()}
    *_, before, last = parameters
    rows = []
    for step, found in result["steps"].items():
        cells = [f"{found[width]['seconds']:.3f} s, {found[width]['bytes'] / 1e6:,.0f} MB" for width in parameters]
        each = parameters[last] / 1e6
        cells.append(f"{1e3 * found[last]['seconds'] / each:.0f} ms, {found[last]['bytes'] / 1e6 / each:.0f} MB")
        grown = [found[last][key] / found[before][key] for key in ("seconds", "bytes")]
        rows.append([step, *cells, ", ".join(f"{times:.1f}" for times in grown)])
    head = ["two layers of", *(f"{int(width):,}: {count / 1e6:.2g} million" for width, count in parameters.items())]
    head += ["per million", f"times as much as of {int(before):,} ({parameters[last] / parameters[before]:.1f})"]
    return f"{table(head, rows)}\n\n{stamp(result)}."
