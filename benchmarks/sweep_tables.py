"""Tables of sweeps for README and docs: every seed, interquartile means, and differences with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from record import stamp, table

from prunekit.report.sweep_results import SweepCell, SweepResults, from_json
from prunekit.report.sweep_stats import Estimate, Summary, retained, unpruned_beside
from prunekit.report.sweep_tables import (
    Place,
    all_summaries,
    fallen_table,
    random_mean,
    short_table,
    unpruned_value,
)
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
_MASKED = "masked 0.93"
_ENOUGH_PAIRS = 6
"""With fewer pairs of runs, no mean difference over all environments is given."""
_ABOUT_AS_MUCH = 0.05
"""Retentions that differ by no more are counted as about the same."""
_PAIRS = (
    "Differences are those of retention, as means over pairs of runs of the same environment and seed, with two "
    "standard errors. Retention is relative to the unpruned return over all seeds."
)


def masked_training_table(result: Mapping[str, Any]) -> str:
    """Return a row per environment, length and method: sizes, returns, retention, the lead over from scratch."""
    results = from_json(result)
    rows = []
    for place, found in all_summaries(results).items():
        named = _by_method(found)
        for entry in found:
            kept = retained(entry.returns.value, random_mean(results, place[0]), unpruned_beside(entry, found))
            scratch = named.get(_SCRATCH.get(entry.method, ""))
            lead = "" if scratch is None else _lead(entry.cells, scratch.cells)
            rows.append([*_place(place), *_row(entry), "" if kept is None else f"{kept:.3f}", lead])
    head = ["environment", "steps", "method", "seeds", "hidden units", "parameters", "return (95% interval)",
            "each seed", "retention", "difference to from scratch (95% interval)"]  # fmt: skip
    return f"{table(head, rows)}\n\n{_note(results)}{stamp(result)}."


def pairs_table(result: Mapping[str, Any]) -> str:
    """Return a row per method: its difference in retention to masked training, over the longest runs."""
    results = from_json(result)
    places = _longest(all_summaries(results))
    rows = []
    for method in results.methods:
        changes = [] if method == _MASKED else _changes(results, places, method, _MASKED)
        if len(changes) >= _ENOUGH_PAIRS:
            environments = sum(method in _by_method(found) for found in places.values())
            higher, lower = (sum(sign * change > _ABOUT_AS_MUCH for change in changes) for sign in (1, -1))
            counts = (higher, len(changes) - higher - lower, lower)
            rows.append([method, str(environments), str(len(changes)), _mean_change(changes), *map(str, counts)])
    head = ["method", "environments", "pairs", f"difference to {_MASKED}", "higher", "about the same", "lower"]
    note = (
        f"{_PAIRS} Only the longest training of each environment counts. *About the same*: within {_ABOUT_AS_MUCH:g}. "
        f"*noise*: no more than two standard errors."
    )
    return f"{table(head, rows)}\n\n{note} {stamp(result)}."


def kept_in_longest_runs(result: Mapping[str, Any], method: str = _MASKED) -> dict[str, float]:
    """Return the retention of ``method`` in the longest runs of every environment that has it."""
    results, kept = from_json(result), {}
    with_it = {place: found for place, found in all_summaries(results).items() if method in _by_method(found)}
    for place, found in _longest(with_it).items():
        own = _by_method(found)[method]
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
    places = all_summaries(results)
    rows = []
    for method in results.methods:
        changes = [] if method == _BASE else _changes(results, places, method, _BASE)
        told = f"{_mean_change(changes)} ({len(changes)})" if len(changes) >= _ENOUGH_PAIRS else ""
        row = ["base" if method == _BASE else method, told]
        for found in places.values():
            row += _against(_by_method(found).get(method), _by_method(found).get(_BASE))
        rows.append(row)
    heads = ["retention, to base (pairs)"]
    heads += [head for place in places for head in (f"{place[0]}, mean (to base)", "seeds")]
    missing = f"Not run yet: {len(results.missing)} of {len(results.missing) + len(results.cells)} runs. "
    lengths = sorted({f"{place[2]:,}" for place in places})
    note = f"PPO, {', '.join(lengths)} steps. {_PAIRS} *noise*: no more than two standard errors. "
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


def _by_method(found: Sequence[Summary]) -> dict[str, Summary]:
    return {entry.method: entry for entry in found}


def _longest(places: Mapping[Place, list[Summary]]) -> dict[Place, list[Summary]]:
    """Return the places of the longest training of every environment and algorithm."""
    last = {place[:2]: place for place in sorted(places, key=lambda place: place[2])}
    return {place: found for place, found in places.items() if place in last.values()}


def _changes(results: SweepResults, places: Mapping[Place, list[Summary]], method: str, base: str) -> list[float]:
    """Return the difference in retention to ``base`` of every pair of runs of one place and seed."""
    changes: list[float] = []
    for place, found in places.items():
        floor, unpruned, named = random_mean(results, place[0]), unpruned_value(found), _by_method(found)
        if {method, base} <= named.keys():
            own, other = (
                {seed: retained(value, floor, unpruned) for seed, value in _means(named[name].cells).items()}
                for name in (method, base)
            )
            pairs = [(own[seed], other[seed]) for seed in sorted(own.keys() & other.keys())]
            changes += [one - two for one, two in pairs if one is not None and two is not None]
    return changes


def _noise(changes: Sequence[float]) -> float:
    """Return two standard errors of the mean."""
    return 2.0 * float(np.std(changes, ddof=1)) / float(np.sqrt(len(changes)))


def _mean_change(changes: Sequence[float]) -> str:
    mean, noise = float(np.mean(changes)), _noise(changes)
    return f"{mean:+.2f} ± {noise:.2f}" + (", noise" if abs(mean) <= noise else "")


def _against(entry: Summary | None, default: Summary | None) -> list[str]:
    if entry is None:
        return ["", ""]
    own = _means(entry.cells)
    mean, seeds = float(np.mean(list(own.values()))), ", ".join(_value(value) for value in own.values())
    base = {} if default is None else _means(default.cells)
    shared = sorted(own.keys() & base.keys())
    if entry is default or len(shared) < 2:
        return [_value(mean), seeds]
    changes = [own[seed] - base[seed] for seed in shared]
    change = float(np.mean(changes))
    verdict = ", noise" if abs(change) <= _noise(changes) else ""
    return [f"{_value(mean)} ({change:+,.0f}{verdict})", seeds]


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
