"""The page of a sweep: returns against sizes with controls, training, disturbances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from prunekit.report.page import Block, Figure, Mark, Note, Page, Section, TableBlock
from prunekit.report.plots import Curve, Group, Level, Spot, curves, frontier
from prunekit.report.sweep_results import SweepResults
from prunekit.report.sweep_stats import UNPRUNED, Summary
from prunekit.report.sweep_tables import (
    Place,
    absent_table,
    all_summaries,
    disturbance_table,
    fallen_table,
    glance_table,
    keys_of,
    main_table,
    place_name,
    random_mean,
    short_table,
    unpruned_value,
)
from prunekit.report.training_figures import layer_names, smoothed
from prunekit.stats.bootstrap import Array
from prunekit.stats.claim import counted

_POINTS, _FAINT_POINTS = 120, 50
_CAPTION = (
    "A mark is the interquartile mean over seeds, its line the 95% bootstrap interval, a faint dot one seed. "
    "Up and to the left is better. A control shows what is reached without the method next to it."
)


def sweep_page(results: SweepResults) -> Page:
    """Return the page of ``results``, which may be incomplete."""
    found = all_summaries(results)
    sections = [_place_section(results, place, entries) for place, entries in found.items()]
    if len(found) > 1:
        sections.insert(0, Section(title="All environments", blocks=(TableBlock(table=glance_table(results, found)),)))
    named = filter(None, (fallen_table(results), short_table(results)))
    sections += [Section(title=table.title, blocks=(TableBlock(table=table),)) for table in named]
    absent = absent_table(results)
    if absent is not None:
        sections.append(Section(title="What is not there", blocks=(TableBlock(table=absent),)))
    if not results.cells:
        sections.insert(0, Section(title="Results", blocks=(Note(text="No cell has a result yet.", warning=True),)))
    date = " to ".join(dict.fromkeys((results.dates[0], results.dates[-1]))) if results.dates else "unknown"
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    return Page(
        title=results.title,
        subtitle=_subtitle(results, len(found)),
        sections=tuple(sections),
        facts=(("date", date), *((("versions", versions),) if versions else ())),
    )


def _subtitle(results: SweepResults, places: int) -> str:
    seeds = len({cell.seed for cell in results.cells})
    text = (
        f"{counted(len(results.methods), 'method')} on {counted(places, 'environment')} with up to "
        f"{counted(seeds, 'seed')}: {counted(len(results.cells), 'training run')}, each judged by "
        f"{counted(results.episodes, 'episode')} of its exported policy."
    )
    lacking = [f"{len(results.missing):,} missing"] * bool(results.missing)
    lacking += [f"{len(results.failed):,} failed"] * bool(results.failed)
    whole = len(results.cells) + len(results.missing) + len(results.failed)
    return f"{text} Incomplete: of {whole:,} cells {' and '.join(lacking)}." if lacking else text


def _place_section(results: SweepResults, place: Place, found: Sequence[Summary]) -> Section:
    keys = keys_of(results)
    blocks: list[Block] = [_frontier(results, place, found, keys), TableBlock(table=main_table(results, place, found))]
    disturbed = disturbance_table(results, place, found)
    if disturbed is not None:
        blocks.append(TableBlock(table=disturbed))
    blocks += _training(found, keys)
    return Section(title=place_name(place), blocks=tuple(blocks))


def _frontier(results: SweepResults, place: Place, found: Sequence[Summary], keys: Mapping[str, str]) -> Figure:
    groups = []
    for entry in found:
        spot = Spot(x=entry.parameters, y=entry.returns.value, low=entry.returns.low, high=entry.returns.high)
        dots = tuple((float(cell.parameters), float(np.mean(cell.returns))) for cell in entry.cells)
        groups.append(Group(name=_named(entry.method, results), key=keys[entry.method], spots=(spot,), dots=dots))
    levels = []
    random, unpruned = random_mean(results, place[0]), unpruned_value(found)
    if unpruned is not None:
        levels.append(Level(name=UNPRUNED, y=unpruned))
    if random is not None:
        levels.append(Level(name="random policy", y=random))
    return frontier(
        "Parameters against return",
        groups,
        levels,
        x_label="parameters stored, logarithmic",
        y_label="return",
        caption=_CAPTION,
    )


def _named(method: str, results: SweepResults) -> str:
    return f"{method} (control)" if results.controls.get(method) else method


def _training(found: Sequence[Summary], keys: Mapping[str, str]) -> list[Figure]:
    """Return charts of living units per layer and of returns over training, for cells with curves."""
    traced = [entry for entry in found if any(cell.curve is not None for cell in entry.cells)]
    groups = list(
        dict.fromkeys(group for entry in traced for cell in entry.cells if cell.curve for group in cell.curve.living)
    )
    legend = [Mark(name=entry.method, key=keys[entry.method]) for entry in traced]
    drawn = {line.key for entry in traced for group in groups for line in _lines(entry, keys[entry.method], group)}
    figures = []
    if groups:
        panels = [
            (name, [line for entry in traced for line in _lines(entry, keys[entry.method], group)])
            for group, name in zip(groups, layer_names(groups), strict=True)
        ]
        caption = "Mean over seeds (every seed faint). The lines of methods with the same schedule coincide."
        figures.append(
            curves(
                "Living units per layer",
                panels,
                y_label="living units",
                caption=caption,
                legend=[mark for mark in legend if mark.key in drawn],
                from_zero=True,
            )
        )
    lines = [line for entry in traced for line in _lines(entry, keys[entry.method], None)]
    if lines:
        caption = "Return of training episodes, exploration included: mean over seeds (every seed faint), smoothed."
        figures.append(
            curves("Return in training", [("", lines)], y_label="mean return", caption=caption, legend=legend)
        )
    return figures


def _lines(entry: Summary, key: str, group: str | None) -> list[Curve]:
    """Return a faint line per seed, and one for the mean: of living units in ``group``, or of returns without one."""
    own = []
    for cell in entry.cells:
        if cell.curve is None or (group is not None and group not in cell.curve.living):
            continue
        values = cell.curve.returns if group is None else cell.curve.living[group]
        points = [(step, value) for step, value in zip(cell.curve.steps, values, strict=True) if value is not None]
        if len(points) > 1:
            x, y = zip(*points, strict=True)
            own.append((np.asarray(x, np.float64), np.asarray(smoothed(y) if group is None else y, np.float64)))
    if not own:
        return []
    first, last = max(x[0] for x, _ in own), min(x[-1] for x, _ in own)
    grid = np.linspace(first, max(first, last), _POINTS)
    mean = np.mean([np.interp(grid, x, y) for x, y in own], axis=0)
    coarse = np.linspace(first, max(first, last), _FAINT_POINTS)
    faint = [_curve(key, coarse, np.interp(coarse, x, y), faint=True) for x, y in own] if len(own) > 1 else []
    return [*faint, _curve(key, grid, mean)]


def _curve(key: str, x: Array, y: Array, *, faint: bool = False) -> Curve:
    return Curve(key=key, x=tuple(x.tolist()), y=tuple(y.tolist()), faint=faint)
