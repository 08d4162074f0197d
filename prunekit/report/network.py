"""Drawings of small networks, with lines for weights by sign and size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from prunekit.report.page import Figure
from prunekit.stats.claim import counted

Layers = Sequence[NDArray[np.float32]]
"""Weights [out, in] of linear layers, in order."""
_MAX_LINES = 700
_WIDE, _NARROW = 760, 350
_MAX_HEIGHT = 520


def draw_network(title: str, layers: Layers) -> Figure:
    """Return ``layers`` as a drawing: observation on the left, then hidden units, then outputs.

    At most 700 lines are drawn: the largest weights of each layer.
    """
    total = sum(weight.size for weight in layers)
    lines = [_strongest(weight, max(1, _MAX_LINES * weight.size // total)) for weight in layers]
    drawn = sum(len(entry) for entry in lines)
    shown = "every weight" if drawn == total else f"the strongest {drawn:,} of {total:,} weights, shared among layers"
    widths = [layers[0].shape[1], *(weight.shape[0] for weight in layers)]
    between = [counted(width, "hidden unit") for width in widths[1:-1]]
    caption = (
        f"{counted(widths[0], 'observed value')} at the left, {', '.join(between) or 'no hidden layer'}, "
        f"{counted(widths[-1], 'output')} at the right. A line is a weight "
        f"({shown}): blue is positive, orange negative, and its strength is the weight's size relative to the "
        "largest of "
        "its layer. Biases are not drawn."
    )
    wide, narrow = (_svg(layers, lines, widths, width) for width in (_WIDE, _NARROW))
    return Figure(title=title, wide=wide, narrow=narrow, caption=caption)


def _strongest(weight: NDArray[np.float32], maximum: int) -> list[tuple[int, int]]:
    """Return (out, in) of the largest weights, smallest first, so strong lines are drawn on top."""
    order = np.argsort(np.abs(weight), axis=None, kind="stable")
    kept = [index for index in order[-maximum:] if weight.flat[index] != 0.0] if weight.size > maximum else order
    return [divmod(int(index), weight.shape[1]) for index in kept]


def _svg(layers: Layers, lines: Sequence[list[tuple[int, int]]], widths: Sequence[int], width: int) -> str:
    height = min(_MAX_HEIGHT, max(150, 17 * max(widths)))
    margin = 16 if width == _NARROW else 40
    columns = [margin + index * (width - 2 * margin) / (len(widths) - 1) for index in range(len(widths))]
    places = [_places(count, height) for count in widths]
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">']
    for (left, right), (before, after), weight, chosen in zip(
        pairwise(columns), pairwise(places), layers, lines, strict=True
    ):
        largest = float(np.abs(weight).max()) or 1.0
        for row, column in chosen:
            value = float(weight[row, column])
            share = abs(value) / largest
            parts.append(
                f'<line x1="{left:.1f}" y1="{before[column]:.1f}" x2="{right:.1f}" y2="{after[row]:.1f}" '
                f'stroke="var(--{"plus" if value >= 0.0 else "minus"})" stroke-width="{0.3 + 2.2 * share:.2f}" '
                f'stroke-opacity="{0.12 + 0.88 * share:.2f}"/>'
            )
    for index, (x, ys) in enumerate(zip(columns, places, strict=True)):
        gap = height / len(ys)
        radius = max(1.0, min(5.5, 0.36 * gap))
        ends = index in (0, len(columns) - 1)
        fill = "var(--paper)" if ends else "var(--ink)"
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{fill}" stroke="var(--ink)"/>' for y in ys]
    return "".join([*parts, "</svg>"])


def _places(count: int, height: int) -> list[float]:
    """Return the vertical positions of a layer's units, centred and not too far apart."""
    gap = min((height - 16) / count, 46.0)
    first = (height - gap * (count - 1)) / 2
    return [first + gap * index for index in range(count)]
