"""The results of ``robustness.py`` and ``disturbed_compression.py`` as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from record import stamp, table
from search_notes import searches

from prunekit.console import size_name
from prunekit.disturbances.record import Disturbance


def disturbances_table(result: Mapping[str, Any]) -> str:
    """Return one row per environment and disturbance: returns, and what is kept with its lower bound."""
    rows = []
    for env_id, found in result["environments"].items():
        for name in result["disturbances"]:
            cells = [_cell(found["kept"][form][name]) for form in ("teacher", "compact", "int8")]
            rows.append([env_id, str(found["episodes"]), name, *cells])
    head = ["environment", "episodes", "disturbance", "teacher (share of its own)", "compact", "compact, int8"]
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
    """Return a row per environment, seed and way: what was found, what it keeps under a disturbance, where it holds."""
    rows, runs = [], []
    for env_id, seeds in result["environments"].items():
        under = Disturbance(**result["learned_under"][env_id])
        for seed, ways in seeds.items():
            for way, found in ways.items():
                runs.append({"env": env_id, "seed": seed, "search": found.get("search")})
                learned = "none" if way == "undisturbed" else under.words
                size = f"{size_name(tuple(found['hidden']))}, {found['parameters']:,}"
                kept = f"{under.words}: {_kept_under(found, under)}"
                rows.append([f"{env_id}, {seed}", learned, size, kept, _held(found), result["ladders"][env_id]])
    head = [
        "environment, seed", "searched under", "hidden, parameters", "keeps under", "certified up to", "levels tested",
    ]  # fmt: skip
    return (
        f"{table(head, rows)}\n\n*Keeps*: the share of the teacher's gain over the random policy, with returns clipped "
        "and all policies disturbed. In brackets: a lower bound with 95% confidence. *Certified up to*: the "
        "largest level under which 0.95 is kept, with 95% confidence for all levels together, in at most "
        f"{result['max_episodes']} episodes per level. The first level has no disturbance.{searches(result, runs)} "
        f"{stamp(result)}."
    )


def _kept_under(found: Mapping[str, Any], under: Disturbance) -> str:
    """Return the retention with its bound; the ladder may have ended before."""
    told = [level["certificate"] for level in found["levels"] if Disturbance(**level["disturbance"]) == under]
    if not told:
        return "not played"
    bound = "none" if told[0]["lower_bound"] is None else f"{told[0]['lower_bound']:.3f}"
    return f"{told[0]['retention']:.3f} [{bound}], {told[0]['episodes']} episodes"


def _held(found: Mapping[str, Any]) -> str:
    if found["largest"] is None:
        return "not even undisturbed"
    largest = Disturbance(**found["largest"])
    return "undisturbed" if largest.is_none else largest.words


def _cell(found: Mapping[str, Any]) -> str:
    bound = "none" if found["lower_bound"] is None else f"{found['lower_bound']:.3f}"
    kept = "" if found["retention"] is None else f", {found['retention']:.3f}"
    return f"{found['mean']:,.1f}{kept} [{bound}]"
