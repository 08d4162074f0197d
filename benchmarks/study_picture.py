"""The study as a picture: return against stored parameters, a panel per environment, every seed a faint mark."""

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
    "unpruned": ("#444444", "s", "unpruned"),
    "masked": ("#c2410c", "o", "masked training, shrunk"),
    "reconstruction": ("#d99a00", "h", "masked training with reconstruction"),
    "from scratch": ("#1d5fa8", "^", "the same widths from scratch"),
    "compressed": ("#1b6e53", "D", "compress"),
    "random units": ("#8a5fb0", "v", "random units, same schedule"),
    "static random mask": ("#b08a2e", "P", "static random mask"),
    "one-shot": ("#7a7a7a", "X", "one-shot magnitude"),
    "linear": ("#a0527a", "*", "linear"),
}
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
            for family, (color, mark, label) in _FAMILIES.items()
            if family in shown
        ]
        figure.legend(handles=marks, loc="outside lower center", ncols=len(marks), frameon=False)
        buffer = io.BytesIO()
        about = {"Date": None, "Title": "Return against stored parameters", "Description": digest(result)}
        figure.savefig(buffer, format="svg", backend="svg", metadata=about)
    return buffer.getvalue()


def _family(method: str) -> str:
    if method.endswith(", reconstruction"):
        return "reconstruction"
    if method.startswith("masked") and "," in method and not method.startswith("masked, budget"):
        return ""  # what differs from the default is for the tables of ablations
    return next((name for name in _FAMILIES if method.startswith(name)), "")


def _panel(axes: Axes, found: Sequence[Summary], random: float | None) -> set[str]:
    shown = set()
    for entry in found:
        family = _family(entry.method)
        if not family:
            continue
        color, mark, _ = _FAMILIES[family]
        sizes = [cell.parameters for cell in entry.cells]
        axes.scatter(sizes, [float(np.mean(cell.returns)) for cell in entry.cells], s=14, color=color, marker=mark,
                     alpha=0.3, linewidths=0, zorder=2)  # fmt: skip
        low, high = entry.returns.interval or (entry.returns.value, entry.returns.value)
        errors = [[entry.returns.value - low], [high - entry.returns.value]]
        axes.errorbar(entry.parameters, entry.returns.value, yerr=errors, color=color, marker=mark, markersize=7,
                      capsize=3, linewidth=1.2, zorder=3)  # fmt: skip
        shown.add(family)
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
    return shown
