"""The table of ``docs/ops.md``: how time and memory grow with a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from record import stamp, table


def growth_table(result: Mapping[str, Any]) -> str:
    """Return one row per step: seconds and memory at every width, and how they grew between the last two."""
    parameters = {width: int(count) for width, count in result["parameters"].items()}
    *_, before, last = parameters
    rows, beyond = [], {"seconds": 0.0, "bytes": 0.0}
    linear = parameters[last] / parameters[before]
    for step, found in result["steps"].items():
        cells = [f"{found[width]['seconds']:.3f} s, {found[width]['bytes'] / 1e6:,.0f} MB" for width in parameters]
        each = parameters[last] / 1e6
        cells.append(f"{1e3 * found[last]['seconds'] / each:.0f} ms, {found[last]['bytes'] / 1e6 / each:.0f} MB")
        grown = {key: found[last][key] / found[before][key] for key in beyond}
        beyond = {key: max(most, grown[key] / linear) for key, most in beyond.items()}
        rows.append([step, *cells, ", ".join(f"{times:.1f}" for times in grown.values())])
    head = ["two layers of", *(f"{int(width):,}: {count / 1e6:.2g} million" for width, count in parameters.items())]
    head += ["per million", f"times as much as of {int(before):,} ({linear:.1f})"]
    most = f"Seconds grow by at most {beyond['seconds']:.2f} times what parameters do, memory by {beyond['bytes']:.2f}."
    return f"{table(head, rows)}\n\n{most} {stamp(result)}."
