"""The frontier as a picture: parameters against retention, for every network that was judged."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunekit.compression.result import Compressed
from prunekit.console import printable, size_name
from prunekit.errors import InputError
from prunekit.files import write_together
from prunekit.lazy import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES = ("frontier.svg", "frontier.png")
"""What ``draw`` writes."""
_GOOD, _BAD, _CHOSEN = "#1b6e53", "#b8b8b8", "#c2410c"
_STYLE: dict[str, Any] = {"svg.hashsalt": "prunekit", "svg.fonttype": "none"}


def draw(result: Compressed, title: str, folder: Path) -> list[Path]:
    """Write ``frontier.svg`` and ``frontier.png`` to ``folder``, both or none; return their paths.

    It needs no matplotlib backend and selects none. The caller's style (rcParams) has no effect and is restored; while
    the pictures are drawn, matplotlib's default style applies to the whole process. Raises InputError if matplotlib is
    missing or the pictures cannot be written; earlier pictures in ``folder`` are then removed, as they show another
    result.
    """
    paths = [folder / name for name in PICTURES]
    contents = []
    try:
        require("matplotlib", "the picture of the frontier")
    except InputError:
        _remove(paths)
        raise
    from matplotlib import style

    with style.context(["default", _STYLE]):
        figure = _figure(result, title)
        for form, canvas, metadata in (("svg", "svg", {"Date": None}), ("png", "agg", None)):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=form, backend=canvas, dpi=150, metadata=metadata)
            contents.append(buffer.getvalue())
    try:
        write_together(dict(zip(paths, contents, strict=True)))
    except InputError:
        _remove(paths)
        raise
    return paths


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _figure(result: Compressed, title: str) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.ticker import StrMethodFormatter

    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    axes = figure.add_subplot()
    keep = result.certificate.claim.keep
    for good, label, color in ((False, "not good enough", _BAD), (True, "good on the selection's episodes", _GOOD)):
        points = [point for point in result.points if point.good is good]
        if not points:
            continue
        sizes, kept = [point.parameters for point in points], [max(point.retention, 0.0) for point in points]
        axes.scatter(sizes, kept, s=22, color=color, label=label, zorder=2)
    axes.axhline(keep, color="black", linewidth=0.8, linestyle=":", zorder=1)
    axes.text(1.0, keep, f" {keep:g}", transform=axes.get_yaxis_transform(), va="center")
    if result.teacher.size is not None:
        axes.scatter([result.teacher.size.parameters], [1.0], marker="s", s=36, color="black", label="teacher")
    bound = result.certificate.lower_bound or 0.0
    retention = result.certificate.retention or 0.0
    axes.errorbar(
        [result.chosen.parameters],
        [retention],
        yerr=[[max(retention - bound, 0.0)], [0.0]],
        fmt="o",
        markersize=8,
        markerfacecolor="none",
        color=_CHOSEN,
        capsize=4,
        label=f"{'certified' if result.certified else 'not certified'}: hidden {size_name(result.chosen.hidden)}, "
        f"{result.chosen.parameters:,} parameters",
        zorder=3,
    )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_ylim(0.0, max(1.1, 1.05 * max(point.retention for point in result.points)))
    axes.set_xlabel("parameters")
    axes.set_ylabel("retention of the teacher's return")
    axes.set_title(printable(title), loc="left", parse_math=False)
    axes.legend(loc="lower right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
