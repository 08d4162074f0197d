"""Tables of compressions beside other methods, and of how they are fine-tuned and imitate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from record import stamp, table

from prunekit.console import size_name


def rivals_table(result: Mapping[str, Any]) -> str:
    """Return one row per environment and seed: retention of the search and of every rival at the same widths."""
    names = list(result["runs"][0]["rivals"])
    rows = []
    for run in result["runs"]:
        spent = f"{run['batches']:,} + {run['tuning_steps']:,}"
        found = [run["rivals"][name] for name in names]
        others = [
            f"{rival['imitation']:.3f}" + (f", {rival['tuned']:.3f}" if run["tuning_steps"] else "") for rival in found
        ]
        name = f"{run['env']}, {run['seed']}"
        rows.append([name, size_name(tuple(run["widths"])), spent, f"{run['search']['retention']:.3f}", *others])
    head = ["environment, seed", "hidden", "batches + steps on rewards", "prunekit's search", *names]
    missing = f" Not run yet: {', '.join(result['missing'])}." * bool(result["missing"])
    text = (
        "Retention over 100 fresh episodes. The rivals have two figures if the search fine-tuned on rewards: after "
        "imitation, and after the same fine-tuning"
    )
    return f"{table(head, rows)}\n\n{text}.{missing} {stamp(result)}."


def tuning_choices_table(result: Mapping[str, Any], *, imitation: bool) -> str:
    """Return one row per variant of the fine-tuning, or of the ``imitation``, and what it reached on every ground."""
    runs = [run for run in result["runs"] if (run["steps"] == 0) == imitation]
    grounds = sorted({(run["env"], run["seed"]) for run in runs}, reverse=True)
    rows = []
    for variant in dict.fromkeys(run["variant"] for run in runs):
        row = [variant]
        for ground in grounds:
            run = next(run for run in runs if (run["env"], run["seed"], run["variant"]) == (*ground, variant))
            row.append(
                f"{run['best']:.3f}" if imitation else f"{run['last']:.3f} ({run['failed']:.0%}), {run['best']:.3f}"
            )
        rows.append(row)
    last = f"Retention over the last {result['last']} bursts (episodes that failed in them), the best of any burst"
    told = "The best retention of any round" if imitation else last
    hidden, seconds = size_name(tuple(result["hidden"])), result["imitation" if imitation else "tuning"]
    what = f"{told}; {hidden} units, {seconds:.0f} s on one core, {result['episodes']} episodes each"
    head = ["", *(f"{env_id}, seed {seed}" for env_id, seed in grounds)]
    return f"{table(head, rows)}\n\n{what}. {stamp(result)}."
