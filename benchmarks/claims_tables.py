"""Tables of what the certificate claims: how often wrongly, and at what cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from record import stamp, table

from prunekit.stats.claim import ALPHA


def honesty_table(result: Mapping[str, Any]) -> str:
    """Return one row per simulated world, and below it what ``bench --keep`` and ``--max-failures`` do."""
    rows, kinds = result["rows"], list(dict.fromkeys(row["procedure"] for row in result["rows"] if "world" in row))
    worlds = list(dict.fromkeys(row["world"] for row in rows if "world" in row))
    by = {(row["world"], row["procedure"]): row for row in rows if "world" in row}
    cells = [
        [_world(world), *(_rate(by[world, kind]) if (world, kind) in by else "not run" for kind in kinds)]
        for world in worlds
    ]
    others = [[row["row"], _rate(row)] for row in rows if "world" not in row]
    missing = f" Not run yet: {len(result['missing'])} rows." * bool(result["missing"])
    text = (
        f"Share of {rows[0]['repetitions']} repetitions in which a false claim was certified. If every true rate were "
        f"5%, the largest of these rates (without the control's) would not exceed {result['allowed']:.1%} with "
        f"{_chance_of_at_most(result['allowed'], rows):.0%} probability"
    )
    return (
        f"{table(['teacher, small policies', *kinds], cells)}\n\n{table(['test', 'certified'], others)}\n\n"
        f"{text}.{missing} {stamp(result)}."
    )


def claims_table(result: Mapping[str, Any]) -> str:
    """Return one row per committed compression: episodes of the former claim and of today's, and what is beside it."""
    rows = []
    for row in result["rows"]:
        now, former = row["now"], row["former"]["episodes"]
        low, high = now["range"]
        rows.append(
            [
                f"{row['env']}, {row['seed']}",
                row["hidden"],
                f"{low:,g} to {high:,g}",
                "-" if now["retention"] is None else f"{now['retention']:.3f}",
                f"more than {row['recorded']}" if former is None else str(former),
                f"{now['episodes']}, {now['verdict']}",
                f"{now['below_range']['upper_bound']:.1%}",
                f"{now['teacher_above_range']['upper_bound']:.1%}",
            ]
        )
    head = [
        "environment, seed",
        "hidden",
        "range",
        "retention, clipped",
        "episodes, former claim",
        "episodes now, verdict",
        "below the range, at most",
        "teacher above it, at most",
    ]
    text = (
        f"Both claims were tested on the recorded episodes in their order, with the same first bets. The median of the "
        f"ratio of episodes is {result['median_ratio_of_episodes']:.2f}"
    )
    return f"{table(head, rows)}\n\n{text}. {stamp(result)}."


def _chance_of_at_most(share: float, rows: Sequence[Mapping[str, Any]], rate: float = ALPHA) -> float:
    """Return the probability that no row but the controls exceeds ``share``, if each has the true ``rate``."""
    chance = 1.0
    for row in rows:
        if not str(row["procedure"]).startswith("control"):
            count = row["repetitions"]
            hits = range(math.floor(share * count + 1e-9) + 1)
            chance *= sum(math.comb(count, hit) * rate**hit * (1.0 - rate) ** (count - hit) for hit in hits)
    return chance


def _rate(row: Mapping[str, Any]) -> str:
    return f"{row['certified'] / row['repetitions']:.1%}"


def _world(name: str) -> str:
    return name.replace("-", ", ").replace("_", " ")
