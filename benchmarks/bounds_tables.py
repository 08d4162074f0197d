"""Tables of the bounds in ``prunekit.stats``: how often they are wrong, and what they cost in episodes."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from record import stamp, table


def honesty_bounds_table(result: Mapping[str, Any]) -> str:
    """Return one row per simulated world and one per share, a column per bound."""
    rows = result["rows"]
    by = {(row["world"], row["bound"]): row for row in rows if "world" in row}
    worlds, kinds = (list(dict.fromkeys(key[place] for key in by)) for place in (0, 1))
    cells = [
        [world.replace("-", ", ").replace("_", " "), *(_rate(by[world, kind]) for kind in kinds)] for world in worlds
    ]
    shares = {(row["share"], row["bound"]): row for row in rows if "share" in row}
    values, sides = (list(dict.fromkeys(key[place] for key in shares)) for place in (0, 1))
    others = [[f"{value:g}", *(_rate(shares[value, side]) for side in sides)] for value in values]
    text = (
        f"Share of {rows[0]['repetitions']} repetitions in which the bound was on the wrong side of the truth at some "
        f"moment up to {result['episodes']} episodes ({2 * result['episodes']} for shares). If the true rate is 5%, "
        f"chance makes the worst of this many rows show at most {result['allowed']:.1%}"
    )
    return (
        f"{table(['teacher, small policy', *kinds], cells)}\n\n{table(['true share', *sides], others)}\n\n{text}. "
        f"{stamp(result)}."
    )


def samples_table(result: Mapping[str, Any]) -> str:
    """Return episodes per compression and bound, the medians over all, and how often each is wrong."""
    rows = result["rows"]
    means, shares = list(rows[0]["means"]), list(rows[0]["shares"])
    cells = [
        [
            row["compression"],
            f"{row['retention']:.3f}",
            *(_count(row["means"][kind]) for kind in means),
            f"{row['failed']} of {row['recorded']}",
            *(_count(row["shares"][kind]) for kind in shares),
        ]
        for row in rows
    ]
    middle = [
        "median",
        "",
        *(_median([row["means"][kind] for row in rows]) for kind in means),
        "",
        *(_median([row["shares"][kind] for row in rows]) for kind in shares),
    ]
    wrong = [
        "wrong at the threshold",
        "",
        *(_share(result, kind) for kind in means),
        "",
        *(_share(result, f"{kind}, failures") for kind in shares),
    ]
    head = [
        "compression, seed",
        "retention",
        *(f"keep {result['keep']:g}: {kind}" for kind in means),
        "failed",
        *(f"failures <= {result['limit']:g}: {kind}" for kind in shares),
    ]
    text = (
        f"The number of episodes needed to show, with {result['confidence']:.0%} confidence, a retention of "
        f"{result['keep']:g}, and that at most {result['limit']:.0%} of the episodes fail (earn less than half of the "
        f"teacher's gain): medians of {result['repetitions']} draws from the recorded episodes. *Wrong*: the share of "
        f"{result['wrong_repetitions']} simulations in which a policy exactly at the threshold was certified at some "
        "moment up to 300 episodes"
    )
    return f"{table(head, [*cells, middle, wrong])}\n\n{text}. {stamp(result)}."


def _rate(row: Mapping[str, Any]) -> str:
    return f"{row['wrong'] / row['repetitions']:.1%}"


def _share(result: Mapping[str, Any], kind: str) -> str:
    return f"{result['wrong'][kind] / result['wrong_repetitions']:.1%}"


def _count(value: float | None) -> str:
    return "not shown" if value is None else f"{value:,.0f}"


def _median(values: list[float | None]) -> str:
    """Return the median of those that are known where all are, and else that it is not."""
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):,.0f}" if len(known) == len(values) else "not shown"
