"""The results of ``robustness.py`` and ``disturbed_compression.py`` as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from record import stamp, table

from prunekit.console import size_name
from prunekit.disturbances.record import Disturbance


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


def disturbed_compression_table(result: Mapping[str, Any]) -> str:
    """Return one row per environment and seed: what was found without and under a disturbance, and where each holds."""
    rows = []
    for env_id, seeds in result["environments"].items():
        under = Disturbance(**result["learned_under"][env_id]).words
        ladder = result["ladders"][env_id]
        for seed, ways in seeds.items():
            cells = [_held(ways[way]) for way in ("undisturbed", "disturbed")]
            rows.append([f"{env_id}, {seed}", f"none, {ladder}", cells[0], under, cells[1]])
    head = [
        "environment, seed",
        "levels",
        "found undisturbed: hidden, parameters, holds up to",
        "disturbance",
        "found under it: the same",
    ]
    return (
        f"{table(head, rows)}\n\n*Holds up to*: the largest level under which 0.95 of the teacher's return there is "
        f"kept, with 95% confidence for all levels together, in at most {result['max_episodes']} episodes each. "
        f"{stamp(result)}."
    )


def _held(found: Mapping[str, Any]) -> str:
    held = "none of them, not even undisturbed"
    if found["largest"] is not None:
        largest = Disturbance(**found["largest"])
        held = "undisturbed" if largest.is_none else largest.words
    return f"{size_name(tuple(found['hidden']))}, {found['parameters']}, {held}"


def _cell(found: Mapping[str, Any]) -> str:
    bound = "none" if found["lower_bound"] is None else f"{found['lower_bound']:.3f}"
    kept = "" if found["retention"] is None else f", {found['retention']:.3f}"
    return f"{found['mean']:,.1f}{kept} [{bound}]"
