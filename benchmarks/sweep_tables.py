"""Tables of sweeps for README and docs: every seed, interquartile means, and differences with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from record import stamp, table

from prunekit.report.sweep_results import SweepCell, SweepResults, from_json
from prunekit.report.sweep_stats import Estimate, Summary, retained, unpruned_beside
from prunekit.report.sweep_tables import Place, all_summaries, fallen_table, random_mean, short_table
from prunekit.report.table import Table
from prunekit.stats.bootstrap import RESAMPLES, interquartile_mean

CHOSEN_ON = {"CartPole-v1", "LunarLander-v3", "Hopper-v5", "Walker2d-v5", "HalfCheetah-v5"}
"""Environments that defaults were chosen on."""
_SCRATCH = {
    "masked 0.93": "from scratch 0.93",
    "masked 0.93, reconstruction": "from scratch 0.93",
    "masked 0.98": "from scratch 0.98",
    "masked 0.98, reconstruction": "from scratch 0.98",
    "masked 0.98, one layer": "from scratch 0.98, one layer",
}
"""Methods that are compared with training from scratch of about the same widths."""
_BASE = "default"
"""The method that the rows of the ablations are compared with."""
_ENOUGH_PAIRS = 6
_ABOUT_AS_MUCH = 0.05


def masked_training_table(result: Mapping[str, Any]) -> str:
    """Return a row per environment, length and method: sizes, returns, retention, the lead over from scratch."""
    results = from_json(result)
    rows = []
    for place, found in all_summaries(results).items():
        named = {entry.method: entry for entry in found}
        for entry in found:
            kept = retained(entry.returns.value, random_mean(results, place[0]), unpruned_beside(entry, found))
            scratch = named.get(_SCRATCH.get(entry.method, ""))
            lead = "" if scratch is None else _lead(entry.cells, scratch.cells)
            rows.append([*_place(place), *_row(entry), "" if kept is None else f"{kept:.3f}", lead])
    head = ["environment", "steps", "method", "seeds", "hidden units", "parameters", "return (95% interval)",
            "each seed", "retention", "difference to from scratch (95% interval)"]  # fmt: skip
    return f"{table(head, rows)}\n\n{_note(results)}{stamp(result)}."


def pairs_table(result: Mapping[str, Any]) -> str:
    """Return a row per method: its mean difference to masked training in the longest runs of all environments."""
    results, base = from_json(result), "masked 0.93"
    longest = {place[:2]: place for place in sorted(all_summaries(results), key=lambda place: place[2])}
    summaries = all_summaries(results)
    found = {place: {entry.method: entry for entry in summaries[place]} for place in longest.values()}
    rows = []
    for method in results.methods:
        changes = _changes(results, found, method, base)
        if len(changes) >= _ENOUGH_PAIRS and method != base:
            apart = [change for change in changes if abs(change) > _ABOUT_AS_MUCH]
            higher = sum(change > 0.0 for change in apart)
            counts = [higher, len(changes) - len(apart), len(apart) - higher]
            ran_in = sum({method, base} <= entries.keys() for entries in found.values())
            rows.append(
                [method, str(ran_in), str(len(changes)), _mean_change(changes), *(str(count) for count in counts)]
            )
    head = ["method", "environments", "pairs", "difference to masked 0.93", "higher", "about the same", "lower"]
    note = (
        "Pairs of runs of the same environment and seed, with the longest training of each environment. Differences "
        "are in units of the unpruned policy's gain over the random policy, with two standard errors. *noise*: no more "
        f"than these. *About the same*: within {_ABOUT_AS_MUCH:g}."
    )
    return f"{table(head, rows)}\n\n{note} {stamp(result)}."


def kept_in_longest_runs(result: Mapping[str, Any], method: str = "masked 0.93") -> dict[str, float]:
    """Return the retention of ``method`` in the longest runs of every environment."""
    results, kept = from_json(result), {}
    for place, found in sorted(all_summaries(results).items(), key=lambda item: item[0][2]):
        own = next((entry for entry in found if entry.method == method), None)
        if own is not None:
            share = retained(own.returns.value, random_mean(results, place[0]), unpruned_beside(own, found))
            if share is not None:
                kept[place[0]] = share
    return kept


def robustness_table(result: Mapping[str, Any]) -> str:
    """Return a row per environment, length and method: returns undisturbed and disturbed."""
    results = from_json(result)
    rows = []
    for place, found in all_summaries(results).items():
        floor = random_mean(results, place[0])
        for entry in found:
            told = [_disturbed(entry, name, floor) for name in results.disturbances]
            if any(told):
                rows.append([*_place(place), entry.method, str(len(entry.cells)), _value(entry.returns.value), *told])
    head = ["environment", "steps", "method", "seeds", "undisturbed", *results.disturbances]
    note = "In brackets: the share of the policy's own undisturbed gain over the random policy that is left."
    return f"{table(head, rows)}\n\n{note} {stamp(result)}."


def ablations_sweep_table(result: Mapping[str, Any]) -> str:
    """Return a row per variant: its mean difference to the base over all runs, return per environment, each seed."""
    results = from_json(result)
    found = {place: {entry.method: entry for entry in entries} for place, entries in all_summaries(results).items()}
    rows = []
    for method in results.methods:
        changes = [] if method == _BASE else _changes(results, found, method, _BASE)
        told = f"{_mean_change(changes)} ({len(changes)})" if len(changes) >= _ENOUGH_PAIRS else ""
        row = ["base" if method == _BASE else method, told]
        for entries in found.values():
            row += _against(entries.get(method), entries.get(_BASE))
        rows.append(row)
    heads = ["to base, all runs"]
    heads += [head for place in found for head in (f"{place[0]}, mean (to base)", "seeds")]
    missing = f"Not run yet: {len(results.missing)} of {len(results.missing) + len(results.cells)} runs. "
    lengths = sorted({f"{place[2]:,}" for place in found})
    note = (
        f"PPO, {', '.join(lengths)} steps. *To base, all runs*: the mean difference between runs of one environment "
        f"and seed, in units of the unpruned policy's gain over the random policy, with two standard errors and the "
        f"number of pairs. *noise*: no more than two standard errors. "
    )
    return f"{table(['changed', *heads], rows)}\n\n{note}{missing * bool(results.missing)}{stamp(result)}."


def sweep_kills_text(result: Mapping[str, Any]) -> str:
    """Return what killing sweeps came to, in words."""
    killed, ray = ("the same" if result[key] else "NOT the same" for key in ("killed_equal", "ray_equal"))
    kills, again = result["kills"], result["ray_jobs_lost"]
    return (
        f"A sweep of {result['cells']} cells was killed {kills} times with SIGKILL at random moments. Except for "
        f"times, its results were {killed} as those of an undisturbed sweep. Another one ran on two nodes of Ray, of "
        f"which one was killed at work (jobs run again: {again}). Its results were {ray} too. {stamp(result)}."
    )


def _place(place: Place) -> list[str]:
    environment, algorithm, steps = place
    mark = "" if environment in CHOSEN_ON else " (new)"
    return [f"{environment}, {algorithm.upper()}{mark}", f"{steps:,}"]


def _row(entry: Summary) -> list[str]:
    means = ", ".join(_value(float(np.mean(cell.returns))) for cell in entry.cells)
    return [
        entry.method,
        str(len(entry.cells)),
        entry.hidden,
        f"{entry.parameters:,.0f}",
        _estimate(entry.returns),
        means,
    ]


def _estimate(found: Estimate) -> str:
    interval = "" if found.interval is None else f" ({_value(found.interval[0])} to {_value(found.interval[1])})"
    return f"{_value(found.value)}{interval}"


def _lead(own: Sequence[SweepCell], other: Sequence[SweepCell]) -> str:
    """Return the difference of interquartile means over the seeds of both, with its paired bootstrap interval."""
    one, two = (_means(cells) for cells in (own, other))
    seeds = sorted(one.keys() & two.keys())
    if len(seeds) < 2:
        return ""
    pairs = np.array([[one[seed], two[seed]] for seed in seeds])
    chosen = np.random.default_rng(0).integers(0, len(seeds), size=(RESAMPLES, len(seeds)))
    found = [_difference(pairs[rows]) for rows in chosen]
    low, high = np.percentile(found, [2.5, 97.5])
    return f"{_difference(pairs):+,.0f} ({low:+,.0f} to {high:+,.0f})"


def _difference(pairs: NDArray[np.float64]) -> float:
    return interquartile_mean(pairs[:, 0]) - interquartile_mean(pairs[:, 1])


def _means(cells: Sequence[SweepCell]) -> dict[int, float]:
    return {cell.seed: float(np.mean(cell.returns)) for cell in cells}


def _disturbed(entry: Summary, name: str, floor: float | None) -> str:
    found = entry.disturbed[name]
    if found is None:
        return ""
    left = retained(found.value, floor, entry.returns.value)
    return f"{_value(found.value)}" + ("" if left is None else f" ({left:.0%})")


def _changes(
    results: SweepResults, found: Mapping[Place, Mapping[str, Summary]], method: str, base: str
) -> list[float]:
    """Return the difference to ``base`` of every pair of runs of one place and seed, in units of the unpruned gain."""
    changes: list[float] = []
    for place, entries in found.items():
        floor, unpruned = random_mean(results, place[0]), entries.get("unpruned")
        if unpruned is None or floor is None or not {method, base} <= entries.keys():
            continue
        own, other = _means(entries[method].cells), _means(entries[base].cells)
        gain = float(np.mean(list(_means(unpruned.cells).values()))) - floor
        changes += [(own[seed] - other[seed]) / gain for seed in sorted(own.keys() & other.keys())]
    return changes


def _mean_change(changes: Sequence[float]) -> str:
    mean, error = float(np.mean(changes)), 2.0 * float(np.std(changes, ddof=1)) / len(changes) ** 0.5
    return f"{mean:+.2f} ± {error:.2f}" + (", noise" if abs(mean) <= error else "")


def _against(entry: Summary | None, default: Summary | None) -> list[str]:
    if entry is None:
        return ["", ""]
    own = _means(entry.cells)
    mean, seeds = float(np.mean(list(own.values()))), ", ".join(_value(value) for value in own.values())
    base = {} if default is None else _means(default.cells)
    shared = sorted(own.keys() & base.keys())
    if entry is default or len(shared) < 2:
        return [_value(mean), seeds]
    changes = np.array([own[seed] - base[seed] for seed in shared])
    noise = 2.0 * float(changes.std(ddof=1)) / len(shared) ** 0.5
    verdict = ", noise" if abs(changes.mean()) <= noise else ""
    return [f"{_value(mean)} ({changes.mean():+,.0f}{verdict})", seeds]


def _value(value: float) -> str:
    return f"{value:,.0f}"


def _note(results: SweepResults) -> str:
    missing = len(results.missing)
    told = f"Not run yet: {missing} of {missing + len(results.cells)} runs. " if missing else ""
    return (
        f"Return: interquartile mean over seeds of the mean of {results.episodes} episodes, the same for all. "
        f"Retention: relative to unpruned training of the same seeds. {_named(fallen_table(results))}"
        f"{_named(short_table(results))}{told}"
    )


def _named(found: Table | None) -> str:
    """Return the title of a table of cells, and their names."""
    return "" if found is None else f"{found.title}: {', '.join(row[0].text for row in found.rows)}. "
