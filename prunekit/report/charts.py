"""Drawings by matplotlib as SVG, with colours and font from the page, so one file serves light and dark mode.

Drawings use placeholder colours, which become CSS variables of the page. Every drawing is made twice, for wide and for
narrow screens, because text would be too small on a phone otherwise.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from prunekit.formats.text import shown
from prunekit.report.page import Figure, Mark

INK, SOFT, LINE = "#010101", "#020202", "#030303"
"""Placeholders of the page's colours for text, for captions and for lines."""
SERIES = tuple(f"#0400{number:02x}" for number in range(8))
"""Placeholders of the colours of the marks."""
SHAPES = ("o", "s", "^", "D", "v", "P", "X", "p")
_NAMES = {INK: "ink", SOFT: "soft", LINE: "line"} | {color: f"c{number}" for number, color in enumerate(SERIES)}
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "prunekit",
    "text.parse_math": False,
    "axes.unicode_minus": False,
    "text.color": INK,
    "axes.labelcolor": SOFT,
    "axes.titlecolor": INK,
    "axes.titleweight": "normal",
    "axes.titlelocation": "left",
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "figure.facecolor": "none",
    "lines.solid_capstyle": "round",
}
WIDE, NARROW = 760, 350
_LONGEST = 40
Draw = Callable[[Drawing, bool], None]


def figure(
    title: str, draw: Draw, caption: str, *, heights: tuple[int, int] = (320, 260), legend: Sequence[Mark] = ()
) -> Figure:
    """Return a figure; ``draw`` is called once per width, with empty axes and whether the width is the narrow one."""
    wide, narrow = (_svg(draw, is_narrow, heights[is_narrow]) for is_narrow in (False, True))
    return Figure(title=title, wide=wide, narrow=narrow, caption=caption, legend=tuple(legend))


def mark_of(number: int) -> str:
    """Return the key of the mark with this number. Marks repeat after 64; colours and shapes after 8 each."""
    return str(number % len(SERIES) ** 2)


def color_of(key: str) -> str:
    """Return the placeholder colour of the mark ``key``."""
    return SERIES[(int(key) + int(key) // 8) % 8]


def shape_of(key: str) -> str:
    """Return matplotlib's name of the shape of the mark ``key``."""
    return SHAPES[int(key) % 8]


def logarithmic(axes: Axes) -> None:
    """Make the x axis of ``axes`` logarithmic, with plain numbers."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    few = high < 30 * max(low, 1e-300)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def linear(axes: Axes, axis: str, ticks: int) -> None:
    """Label an axis of ``axes`` with at most ``ticks`` plain numbers."""
    chosen = axes.xaxis if axis == "x" else axes.yaxis
    chosen.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]))
    chosen.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))


def label(text: str) -> str:
    """Return ``text`` shortened to 40 plain characters, for a drawing."""
    return shown(text, _LONGEST)


def plain(value: float) -> str:
    """Return a number for an axis: 12, 1,200, 0.05, 2M."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:,.4g}M"
    return f"{value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:.4g}"


def _svg(draw: Draw, narrow: bool, height: int) -> str:
    size = {"font.size": 10.5 if narrow else 9.5, "axes.titlesize": 10.5 if narrow else 9.5}
    buffer = io.BytesIO()
    with style.context(["default", {**_STYLE, **size}]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the page's fonts draw the text, not this one
        drawing = Drawing(figsize=((NARROW if narrow else WIDE) / 72, height / 72), layout="constrained")
        draw(drawing, narrow)
        drawing.savefig(buffer, format="svg", backend="svg", dpi=72, metadata={"Date": None})
    return _themed(buffer.getvalue().decode())


def _themed(text: str) -> str:
    """Return only the drawing, with the page's colours and font."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r' d="[^"]*"', lambda found: re.sub(r"\d+\.\d{2,}", _rounded, found[0]), text)
    text = re.sub(r"font-family: [^;\"]*", "font-family: var(--font)", text)
    return re.sub("|".join(_NAMES), lambda found: f"var(--{_NAMES[found[0]]})", text)


def _rounded(found: re.Match[str]) -> str:
    return f"{float(found[0]):.1f}"
