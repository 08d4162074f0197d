"""The study as a picture: return against stored parameters, a panel per environment, every seed a faint mark.

Methods that remove the same share of the units have nearly the same size. Each is therefore drawn a little to the side,
by a factor of its own, and the sizes of one method are joined by a line.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter
from record import digest

from prunekit.report.sweep_results import from_json
from prunekit.report.sweep_stats import Summary
from prunekit.report.sweep_tables import all_summaries, random_mean

_FAMILIES = {
    "unpruned": ("#444444", "s", "unpruned", 0),
    "masked": ("#c2410c", "o", "masked, shrunk", 0),
    "reconstruction": ("#d99a00", "h", "masked, reconstruction", -1),
    "one layer": ("#0891b2", "p", "masked, one layer", 0),
    "from scratch": ("#1d5fa8", "^", "the same widths from scratch", 1),
    "scratch, one layer": ("#6ea8dc", "<", "one layer from scratch", 1),
    "compressed": ("#1b6e53", "D", "compress", 0),
    "random units": ("#8a5fb0", "v", "random units, same schedule", -2),
    "static random mask": ("#6f7f1e", "P", "static random mask", 2),
    "one-shot": ("#7a7a7a", "X", "one-shot magnitude", 3),
    "linear": ("#a0527a", "*", "linear", 0),
}
"""Colour, mark, label, and the power of ``_ASIDE`` by which the sizes are drawn aside."""
_ASIDE = 1.13
_LEGEND_COLUMNS = 4
_COLUMNS = 3


def study_picture(result: Mapping[str, Any]) -> bytes:
    """Return the SVG of a sweep's committed results: per environment the longest training that masked policies have.

    The description in it holds the digest of the results, by which a stale picture shows.
    """
    results = from_json(result)
    places: dict[str, tuple[int, list[Summary]]] = {}
    for (environment, algorithm, steps), found in all_summaries(results).items():
        there = {_family(entry.method) for entry in found}
        name = f"{environment}, {algorithm.upper()}"
        if {"masked", "unpruned"} <= there and steps >= places.get(name, (0, []))[0]:
            places[name] = steps, found
    rows = -(-len(places) // _COLUMNS)
    with style.context(["default", {"svg.hashsalt": "prunekit", "svg.fonttype": "none", "font.size": 9}]):
        figure = Figure(figsize=(10.5, 0.6 + 2.7 * rows), layout="constrained")
        shown: set[str] = set()
        for number, (name, (steps, found)) in enumerate(places.items()):
            axes = figure.add_subplot(rows, _COLUMNS, number + 1)
            shown |= _panel(axes, found, random_mean(results, name.split(",")[0]))
            axes.set_title(f"{name}, {steps:,} steps", fontsize=9)
            if number % _COLUMNS == 0:
                axes.set_ylabel("return")
            axes.set_xlabel("stored parameters")
        marks = [
            Line2D([], [], color=color, marker=mark, linestyle="", label=label)
            for family, (color, mark, label, _) in _FAMILIES.items()
            if family in shown
        ]
        figure.legend(handles=marks, loc="outside lower center", ncols=min(len(marks), _LEGEND_COLUMNS), frameon=False)
        buffer = io.BytesIO()
        about = {"Date": None, "Title": "Return against stored parameters", "Description": digest(result)}
        figure.savefig(buffer, format="svg", backend="svg", metadata=about)
    return buffer.getvalue()


def _family(method: str) -> str:
    if method.endswith(", one layer"):
        if method.startswith("from scratch"):
            return "scratch, one layer"
        return "one layer" if method.startswith("masked") else ""
    if method.endswith(", reconstruction"):
        return "reconstruction"
    if method.startswith("masked") and "," in method and not method.startswith("masked, budget"):
        return ""  # what differs from the default is for the tables of ablations
    return next((name for name in _FAMILIES if method.startswith(name)), "")


def _panel(axes: Axes, found: Sequence[Summary], random: float | None) -> set[str]:
    drawn: dict[str, list[tuple[float, float]]] = {}
    for entry in found:
        family = _family(entry.method)
        if not family:
            continue
        color, mark, _, aside = _FAMILIES[family]
        factor = _ASIDE**aside
        sizes = [cell.parameters * factor for cell in entry.cells]
        axes.scatter(sizes, [float(np.mean(cell.returns)) for cell in entry.cells], s=14, color=color, marker=mark,
                     alpha=0.3, linewidths=0, zorder=2)  # fmt: skip
        low, high = entry.returns.interval or (entry.returns.value, entry.returns.value)
        errors = [[entry.returns.value - low], [high - entry.returns.value]]
        size = entry.parameters * factor
        axes.errorbar(size, entry.returns.value, yerr=errors, color=color, marker=mark, markersize=6, capsize=2,
                      linewidth=1.0, zorder=3)  # fmt: skip
        drawn.setdefault(family, []).append((size, entry.returns.value))
    for family, points in drawn.items():
        axes.plot(*zip(*sorted(points), strict=True), color=_FAMILIES[family][0], linewidth=1.0, alpha=0.5, zorder=1)
    if random is not None:
        axes.axhline(random, color="#999999", linewidth=0.8, linestyle=":")
        axes.text(1.0, random, "random ", transform=axes.get_yaxis_transform(), ha="right", va="bottom", fontsize=7,
                  color="#777777")  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.grid(color="#e5e5e5", linewidth=0.6)
    return set(drawn)
