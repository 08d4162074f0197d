"""Charts of a run over its steps: living units per layer, and returns."""

from __future__ import annotations

from collections.abc import Sequence

from prunekit.report.charts import mark_of
from prunekit.report.page import Figure, Mark
from prunekit.report.plots import Curve, curves
from prunekit.report.run_folder import Progress

_SMOOTHED = 15


def training_figures(found: Progress, prefix: str = "") -> list[Figure]:
    """Return charts of living units per layer and of the return; their titles begin with ``prefix``."""
    figures = []
    if found.living:
        names = layer_names(list(found.living))
        lines = [
            Curve(key=mark_of(index), x=tuple(map(float, found.steps)), y=tuple(map(float, living)))
            for index, living in enumerate(found.living.values())
        ]
        legend = [Mark(name=name, key=mark_of(index)) for index, name in enumerate(names)]
        figures.append(
            curves(
                _titled(prefix, "living units per layer"),
                [("", lines)],
                y_label="living units",
                caption="A unit that dies stays dead; where a line is flat, nothing is removed.",
                legend=legend,
                from_zero=True,
                steps=float(found.steps[-1]),
            )
        )
    points = [(float(step), value) for step, value in zip(found.steps, found.returns, strict=True) if value is not None]
    if points:
        x, y = zip(*points, strict=True)
        lines = [Curve(key="7", x=x, y=y, faint=True), Curve(key="0", x=x, y=smoothed(y))]
        figures.append(
            curves(
                _titled(prefix, "return in training"),
                [("", lines)],
                y_label="mean return",
                caption="Mean return of the episodes that ended between two records, exploration included (faint), and "
                f"its running mean over {_SMOOTHED} records.",
                steps=float(found.steps[-1]),
            )
        )
    return figures


def layer_names(groups: Sequence[str]) -> list[str]:
    """Return the names of groups on charts: hidden layers in order, those of a critic separately."""
    names, counts = [], {"": 0, "critic ": 0}
    for group in groups:
        part = "critic " if group.startswith("critic.") else ""
        counts[part] += 1
        names.append(f"{part}hidden layer {counts[part]}")
    return names


def smoothed(values: Sequence[float], width: int = _SMOOTHED) -> tuple[float, ...]:
    """Return the mean of each value and the ``width`` - 1 before it; of fewer at the beginning."""
    return tuple(
        sum(values[max(0, end - width) : end]) / len(values[max(0, end - width) : end])
        for end in range(1, len(values) + 1)
    )


def _titled(prefix: str, text: str) -> str:
    return f"{prefix}{text}" if prefix else text.capitalize()
