"""The kinds of charts on pages: sizes against returns, curves over training, and rows of figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from prunekit.report.charts import INK, LINE, SOFT, color_of, figure, label, linear, logarithmic, shape_of
from prunekit.report.page import Figure, Mark

_MANY = 20.0
"""From such a ratio of the largest to the smallest figure on, a scale is logarithmic."""
_CLOSE, _SIDE = 0.1, 0.3
"""Shares of a chart's height and width: what is closer to a name, or at the side where it stands, is in its way."""


@final
@dataclass(frozen=True, kw_only=True)
class Spot:
    """A point: the size ``x`` and the return ``y``, between ``low`` and ``high`` (None if unknown)."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Group:
    """The points of one mark: ``spots``, and single observations as faint dots (x, y) behind them."""

    name: str
    key: str
    spots: tuple[Spot, ...]
    dots: tuple[tuple[float, float], ...] = ()


@final
@dataclass(frozen=True, kw_only=True)
class Level:
    """A return that is drawn as a horizontal line, with its name."""

    name: str
    y: float
    dashed: bool = True


@final
@dataclass(frozen=True, kw_only=True)
class Curve:
    """A line over training; a faint one is a single run behind the mean of all."""

    key: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    faint: bool = False


@final
@dataclass(frozen=True, kw_only=True)
class Bar:
    """A figure in a row, for the mark ``key``; a thin line to the right ends at ``upper``."""

    key: str
    value: float
    upper: float | None = None


def frontier(
    title: str,
    groups: Sequence[Group],
    levels: Sequence[Level],
    *,
    x_label: str,
    y_label: str,
    caption: str,
) -> Figure:
    """Return a chart of returns against sizes (logarithmic)."""

    def draw(drawing: Drawing, narrow: bool) -> None:
        axes = drawing.add_subplot()
        for level in levels:
            axes.axhline(level.y, color=SOFT, linewidth=1.0, linestyle=(0, (3, 3)) if level.dashed else "-", zorder=1.5)
        for group in groups:
            color, shape = color_of(group.key), shape_of(group.key)
            if group.dots:
                x, y = zip(*group.dots, strict=True)
                axes.plot(x, y, shape, color=color, alpha=0.45, markersize=4, markeredgewidth=0)
            for spot in group.spots:
                if spot.low is not None and spot.high is not None:
                    axes.vlines(spot.x, spot.low, spot.high, color=color, linewidth=1.6, zorder=2.5)
                axes.plot([spot.x], [spot.y], shape, color=color, markersize=7, markeredgewidth=0, zorder=3)
        axes.margins(x=0.08, y=0.1)
        logarithmic(axes)
        linear(axes, "y", 5 if narrow else 6)
        axes.set_xlabel(label(x_label))
        axes.set_ylabel(label(y_label))
        _name_levels(axes, groups, levels)

    legend = [Mark(name=group.name, key=group.key) for group in groups]
    return figure(title, draw, caption, legend=legend)


def _name_levels(axes: Axes, groups: Sequence[Group], levels: Sequence[Level]) -> None:
    """Label the lines of levels, above or below so labels do not collide, on the side without points."""
    to_axes = axes.transData + axes.transAxes.inverted()
    marks = [(spot.x, y) for group in groups for spot in group.spots for y in (spot.low, spot.y, spot.high)]
    marks += [dot for group in groups for dot in group.dots]
    taken = [tuple(to_axes.transform((x, y))) for x, y in marks if y is not None]
    before: float | None = None
    for level in sorted(levels, key=lambda entry: -entry.y):
        height = float(to_axes.transform((1.0, level.y))[1])
        below = before is not None and before - height < _CLOSE
        near = [x for x, y in taken if abs(y - height) < _CLOSE]
        right = min(near, default=1.0) < _SIDE and max(near, default=0.0) < 1.0 - _SIDE
        axes.annotate(
            label(level.name),
            (float(right), level.y),
            xycoords=("axes fraction", "data"),
            xytext=(-4 if right else 4, -3 if below else 3),
            textcoords="offset points",
            ha="right" if right else "left",
            va="top" if below else "bottom",
            color=SOFT,
            fontsize="small",
        )
        before = height


def curves(
    title: str,
    panels: Sequence[tuple[str, Sequence[Curve]]],
    *,
    y_label: str,
    caption: str,
    legend: Sequence[Mark] = (),
    from_zero: bool = False,
    steps: float | None = None,
) -> Figure:
    """Return charts of curves over environment ``steps``, next to each other, or below each other on narrow screens."""

    def draw(drawing: Drawing, narrow: bool) -> None:
        count = len(panels)
        grid = drawing.subplots(count if narrow else 1, 1 if narrow else count, squeeze=False, sharey=not narrow)
        for index, (name, lines) in enumerate(panels):
            axes = grid.flat[index]
            for line in lines:
                weight = {"alpha": 0.28, "linewidth": 0.9} if line.faint else {"alpha": 1.0, "linewidth": 1.8}
                axes.plot(line.x, line.y, color=color_of(line.key), **weight)
                if not line.faint:
                    end = {"markersize": 6, "markeredgewidth": 0, "color": color_of(line.key)}
                    axes.plot(line.x[-1:], line.y[-1:], shape_of(line.key), **end)
            linear(axes, "y", 5)
            if from_zero:
                axes.set_ylim(bottom=0.0)
            if steps is not None:
                axes.set_xlim(0.0, 1.03 * steps)
            linear(axes, "x", 4 if narrow or count > 1 else 6)
            if name:
                axes.set_title(label(name))
            if not narrow or index == count - 1:
                axes.set_xlabel("environment steps")
            if narrow or index == 0:
                axes.set_ylabel(label(y_label))

    heights = (250, 40 + 215 * len(panels))
    return figure(title, draw, caption, heights=heights, legend=legend)


def rows_of_figures(
    title: str, rows: Sequence[tuple[str, Sequence[Bar]]], *, x_label: str, caption: str, legend: Sequence[Mark] = ()
) -> Figure:
    """Return a chart with one row per name and a mark per figure; logarithmic if the figures differ widely."""
    values = [bar.value for _, bars in rows for bar in bars if bar.value > 0.0]
    tops = [bar.upper or bar.value for _, bars in rows for bar in bars]
    wide_range = bool(values) and max(tops) > _MANY * min(values)
    max_bars = max((len(bars) for _, bars in rows), default=1)

    def draw(drawing: Drawing, narrow: bool) -> None:
        axes = drawing.add_subplot()
        for index, (name, bars) in enumerate(rows):
            for place, bar in enumerate(bars):
                if wide_range and bar.value <= 0.0:
                    continue
                color, shape = color_of(bar.key), shape_of(bar.key)
                y = -index + (0.0 if len(bars) == 1 else 0.32 - 0.64 * place / (len(bars) - 1))
                if bar.upper is not None:
                    axes.hlines(y, bar.value, bar.upper, color=color, linewidth=1.2)
                axes.plot([bar.value], [y], shape, color=color, markersize=6.5, markeredgewidth=0)
            if narrow:
                axes.annotate(
                    label(name),
                    (0.0, -index + 0.38),
                    xycoords=("axes fraction", "data"),
                    va="bottom",
                    color=INK,
                    fontsize="small",
                )
            if index:
                axes.axhline(-index + 0.62 if narrow else -index + 0.5, color=LINE, linewidth=0.8)
        axes.set_yticks([] if narrow else [-index for index in range(len(rows))])
        if not narrow:
            axes.set_yticklabels([label(name) for name, _ in rows], color=INK)
        axes.grid(False, axis="y")
        axes.set_ylim(-len(rows) + 0.45, 0.62 if narrow else 0.5)
        if wide_range:
            logarithmic(axes)
        else:
            axes.set_xlim(left=0.0)
            linear(axes, "x", 4 if narrow else 7)
        axes.set_xlabel(label(x_label))

    row = 18 + 11 * max_bars
    return figure(title, draw, caption, heights=(52 + row * len(rows), 52 + (row + 14) * len(rows)), legend=legend)
