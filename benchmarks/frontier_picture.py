"""The README's picture: what ``compress`` found, retention against stored parameters, a panel per environment."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter
from record import digest

_TRIED, _CERTIFIED, _TEACHER = "#9aa3ad", "#1b6e53", "#444444"
_LOWEST = -0.05
_SIZES = (10, 100, 1_000, 10_000, 100_000)


def frontier_picture(result: Mapping[str, Any]) -> bytes:
    """Return the SVG of the committed compressions; its description holds the digest of the results."""
    runs: dict[str, list[Mapping[str, Any]]] = {}
    for run in result["runs"]:
        runs.setdefault(run["env"], []).append(run)
    with style.context(["default", {"svg.hashsalt": "prunekit", "svg.fonttype": "none", "font.size": 9}]):
        figure = Figure(figsize=(11.0, 2.9), layout="constrained")
        panels = figure.subplots(1, len(runs), sharey=True, squeeze=False)[0]
        for axes, (environment, found) in zip(panels, runs.items(), strict=True):
            _panel(axes, found, result["keep"])
            axes.set_title(environment, fontsize=9)
            axes.set_xlabel("parameters")
        panels[0].set_ylabel("share of the return kept")
        marks = [
            Line2D([], [], color=_TEACHER, marker="s", linestyle="", label="teacher (256x256)"),
            Line2D([], [], color=_TRIED, marker="o", linestyle="", markersize=4, label="tried by the search"),
            Line2D([], [], color=_CERTIFIED, marker="D", linestyle="", label="certified (three seeds)"),
            Line2D([], [], color=_CERTIFIED, linestyle="--", linewidth=1.0, label=f"asked for: {result['keep']:g}"),
        ]
        figure.legend(handles=marks, loc="outside lower center", ncols=len(marks), frameon=False)
        buffer = io.BytesIO()
        about = {"Date": None, "Title": "Retention against stored parameters", "Description": digest(result)}
        figure.savefig(buffer, format="svg", backend="svg", metadata=about)
    return buffer.getvalue()


def _panel(axes: Axes, runs: Sequence[Mapping[str, Any]], keep: float) -> None:
    axes.axhline(keep, color=_CERTIFIED, linestyle="--", linewidth=1.0, zorder=1)
    for run in runs:
        tried = run["frontier"]
        kept = [max(entry["retention"], _LOWEST) for entry in tried]
        axes.scatter(
            [entry["parameters"] for entry in tried], kept, s=9, color=_TRIED, alpha=0.6, linewidths=0, zorder=2
        )
        axes.plot(run["teacher"]["size"]["parameters"], 1.0, color=_TEACHER, marker="s", markersize=6, zorder=3)
        if run["certified"]:
            axes.plot(run["parameters"], run["tested"][-1]["retention"], color=_CERTIFIED, marker="D", markersize=6,
                      alpha=0.8, zorder=4)  # fmt: skip
    axes.set_xscale("log")
    axes.set_ylim(_LOWEST - 0.05, 1.15)
    axes.set_xlim(_SIZES[0] / 2.0, _SIZES[-1] * 1.6)
    axes.set_xticks(_SIZES, ["10", "100", "1k", "10k", "100k"])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e5e5e5", linewidth=0.6)
