"""Tables of a sweep: sizes and returns, retention, disturbances, and missing cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from prunekit.report.charts import mark_of
from prunekit.report.sweep_results import SweepResults, places_of
from prunekit.report.sweep_stats import UNPRUNED, Estimate, Summary, retained, summaries, unpruned_beside
from prunekit.report.table import Cell, Column, Table, number, words
from prunekit.training.fall import fall_of
from prunekit.training.shortfall import falls_short

Place = tuple[str, str, int]
_ABSENT = "-"


def place_name(place: Place) -> str:
    """Return environment, algorithm and steps as text."""
    environment, algorithm, steps = place
    return f"{environment}, {algorithm.upper()}, {steps:,} steps"


def keys_of(results: SweepResults) -> dict[str, str]:
    """Return the mark of every method, the same on the whole page."""
    return {method: mark_of(index) for index, method in enumerate(results.methods)}


def random_mean(results: SweepResults, environment: str) -> float | None:
    """Return the random policy's mean return; None if it was not measured."""
    found = results.random.get(environment)
    return None if found is None else float(np.mean(found))


def unpruned_value(found: Sequence[Summary]) -> float | None:
    """Return the unpruned policies' return; None if there are none."""
    return next((entry.returns.value for entry in found if entry.method == UNPRUNED), None)


def main_table(results: SweepResults, place: Place, found: Sequence[Summary]) -> Table:
    """Return one row per method: seeds, sizes, return, retention and time."""
    keys, random = keys_of(results), random_mean(results, place[0])
    rows = []
    for entry in found:
        kept = retained(entry.returns.value, random, unpruned_beside(entry, found))
        rows.append(
            (
                _method(entry.method, results, keys),
                Cell(text=f"{len(entry.cells)}", value=float(len(entry.cells))),
                Cell(text=entry.hidden, value=entry.units),
                number(entry.parameters, ",.0f"),
                Cell(text=_return(entry.returns.value), value=entry.returns.value),
                _interval(entry.returns),
                number(kept, ".3f", absent=_ABSENT),
                number(entry.seconds / 60.0, ",.1f"),
            )
        )
    columns = (
        Column(name="method", align="left"),
        Column(name="seeds"),
        Column(name="hidden units"),
        Column(name="parameters"),
        Column(name="return"),
        Column(name="95% interval"),
        Column(name="retention"),
        Column(name="training", unit="min"),
    )
    note = (
        f"Return: interquartile mean over seeds of each seed's mean return over {results.episodes:,} episodes (seeds "
        f"from {results.first_seed:,}), with its 95% bootstrap interval over seeds. Retention: the share of what "
        f'"{UNPRUNED}" gains over the random policy, on the same seeds. Parameters and time are medians over seeds.'
    )
    return Table(title="Sizes and returns", columns=columns, rows=tuple(rows), notes=(note,))


def disturbance_table(results: SweepResults, place: Place, found: Sequence[Summary]) -> Table | None:
    """Return one row per method with returns undisturbed and under each disturbance; None without disturbances."""
    names = [name for name in results.disturbances if any(entry.disturbed[name] for entry in found)]
    if not names:
        return None
    keys, random = keys_of(results), random_mean(results, place[0])
    rows = []
    for entry in found:
        cells = [_under(entry.disturbed[name], random, entry.returns.value) for name in names]
        plain = Cell(text=_return(entry.returns.value), value=entry.returns.value)
        rows.append((_method(entry.method, results, keys), plain, *cells))
    columns = (Column(name="method", align="left"), Column(name="undisturbed"), *(Column(name=name) for name in names))
    note = (
        "Interquartile mean over seeds of the mean return; beside it, the share of the policy's own undisturbed gain "
        "over the random policy that is left."
    )
    return Table(title="Under disturbances", columns=columns, rows=tuple(rows), notes=(note,))


def glance_table(results: SweepResults, found: Mapping[Place, Sequence[Summary]]) -> Table:
    """Return retention with one row per method and one column per place."""
    keys = keys_of(results)
    rows = []
    for method in results.methods:
        cells = []
        for place, entries in found.items():
            own = next((entry for entry in entries if entry.method == method), None)
            random = random_mean(results, place[0])
            kept = None if own is None else retained(own.returns.value, random, unpruned_beside(own, entries))
            cells.append(number(kept, ".3f", absent=_ABSENT))
        rows.append((_method(method, results, keys), *cells))
    alone = len({place[0] for place in found}) == len(found)
    heads = [Column(name=place[0] if alone else place_name(place)) for place in found]
    note = f'The share of what "{UNPRUNED}" gains over the random policy, by interquartile means over seeds.'
    columns = (Column(name="method", align="left"), *heads)
    return Table(title="Retention at a glance", columns=columns, rows=tuple(rows), notes=(note,))


def absent_table(results: SweepResults) -> Table | None:
    """Return the failed and missing cells with reasons; None if there are none."""
    rows = [(words(name), words(reason)) for name, reason in results.failed]
    rows += [(words(name), words("not there yet")) for name in results.missing]
    columns = (Column(name="cell", align="left"), Column(name="reason", align="left"))
    return Table(title="Cells without a result", columns=columns, rows=tuple(rows)) if rows else None


def fallen_table(results: SweepResults) -> Table | None:
    """Return the cells whose return fell while they trained and did not recover; None where there are none."""
    rows = []
    for cell in results.cells:
        floor = random_mean(results, cell.environment)
        fall = None if cell.curve is None or floor is None else fall_of(cell.curve.steps, cell.curve.returns, floor)
        if fall is not None:
            found = [fall.best, fall.best_steps, fall.end, float(np.mean(cell.returns))]
            rows.append((words(cell.name), *(number(value, ",.0f") for value in found)))
    columns = (
        Column(name="cell", align="left"),
        Column(name="best return in training"),
        Column(name="up to step"),
        Column(name="last return in training"),
        Column(name="return"),
    )
    note = (
        "Means of the best and the last tenth of training, exploration included. The last one lost more than half of "
        "what the best one had gained over the random policy."
    )
    return Table(title="Trainings that fell", columns=columns, rows=tuple(rows), notes=(note,)) if rows else None


def short_table(results: SweepResults) -> Table | None:
    """Return the cells whose policy earns far less than its training did at the end; None where there are none."""
    rows = []
    for cell in results.cells:
        floor = random_mean(results, cell.environment)
        last = [] if cell.curve is None else _last_returns(cell.curve.returns)
        if floor is not None and falls_short(cell.returns, last, floor):
            found = [float(np.mean(last)), float(np.mean(cell.returns))]
            rows.append((words(cell.name), *(number(value, ",.0f") for value in found)))
    columns = (Column(name="cell", align="left"), Column(name="last return in training"), Column(name="return"))
    note = (
        "The policy plays without exploration, while training explores. Its gain over the random policy is less than "
        "half of the gain in the last tenth of training."
    )
    title = "Policies that fall short of their training"
    return Table(title=title, columns=columns, rows=tuple(rows), notes=(note,)) if rows else None


def _last_returns(returns: Sequence[float | None]) -> list[float]:
    """Return the training returns of the last tenth of a curve, without gaps."""
    return [value for value in returns[len(returns) - max(1, len(returns) // 10) :] if value is not None]


def all_summaries(results: SweepResults) -> dict[Place, list[Summary]]:
    """Return the summaries of all methods, by place."""
    return {
        place: summaries(cells, results.methods, results.disturbances)
        for place, cells in places_of(results.cells).items()
    }


def _method(method: str, results: SweepResults, keys: Mapping[str, str]) -> Cell:
    control = "control" if results.controls.get(method) else ""
    return Cell(text=method, value=method, detail=control, key=keys[method])


def _interval(found: Estimate) -> Cell:
    if found.interval is None:
        return Cell(text=_ABSENT)
    return Cell(text=" to ".join(map(_return, found.interval)), value=found.interval[0])


def _under(found: Estimate | None, random: float | None, own: float) -> Cell:
    if found is None:
        return Cell(text=_ABSENT)
    left = retained(found.value, random, own)
    return Cell(text=_return(found.value), value=found.value, detail="" if left is None else f"{left:.0%}")


def _return(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}"
