"""Progress of a run on the terminal: return, speed, living units per layer, time left."""

from __future__ import annotations

from itertools import pairwise
from types import TracebackType
from typing import final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from prunekit.console import clock, printable, tell
from prunekit.training.status import Status

_BLOCKS = "▁▂▃▄▅▆▇█"
_PLAIN_LINES = 20
_GUARDED = {
    "paused": "paused by the return guard",
    "overruled": "pruning, though the return guard would pause: it is overruled",
}


@final
class TerminalDisplay:
    """A live panel on a terminal, or about twenty plain lines elsewhere. Use it as a context manager."""

    def __init__(self, console: Console, title: str) -> None:
        self._console, self._title = console, title
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
        self._returns: list[float] = []
        self._recent: float | None = None
        self._lines = 0

    def __enter__(self) -> TerminalDisplay:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, status: Status) -> None:
        """Show ``status``."""
        if status.mean_return is not None:
            self._returns.append(status.mean_return)
            self._recent = status.mean_return
        if self._live is not None:
            self._live.update(self._panel(status))
        elif min(status.steps, status.total_steps) * _PLAIN_LINES >= self._lines * status.total_steps:
            self._lines = status.steps * _PLAIN_LINES // status.total_steps + 1
            tell(self._console, self._line(status))
            self._recent = None

    def _line(self, status: Status) -> str:
        recent = "-" if self._recent is None else f"{self._recent:,.1f}"
        living = "  ".join(f"{living}/{width}" for living, width in status.living.values())
        return (
            f"{status.steps:>9,} / {status.total_steps:,} steps  {status.steps_per_second:>6,.0f}/s  return {recent:>8}"
            f"  {status.phase_name:<9}  units {living or 'all'}  {clock(status.seconds_left)} left"
        )

    def _panel(self, status: Status) -> RenderableType:
        grid = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=status.total_steps, completed=status.steps, width=40)
        grid.add_row("steps", bar, f"{status.steps:,} of {status.total_steps:,}")
        grid.add_row("speed", f"{status.steps_per_second:,.0f} steps/s", f"{clock(status.seconds_left)} left")
        recent = f"{self._returns[-1]:,.1f}" if self._returns else "no episode has ended yet"
        grid.add_row("return", sparkline(self._returns, 40), recent)
        for index, (living, width) in enumerate(status.living.values(), start=1):
            bar = ProgressBar(total=width, completed=living, width=40)
            grid.add_row(f"layer {index}", bar, f"{living} of {width} units")
        removed = f"{status.sparsity:.1%} of units removed" if status.living else ""
        phase = _GUARDED.get(status.phase, status.phase_name)
        state = Text(f"{phase}  {removed}", style="dim")
        return Group(Text(printable(self._title), style="bold"), grid, state)


def sparkline(values: list[float], width: int) -> str:
    """Return ``values`` as at most ``width`` block characters, each the mean of an equal share of them."""
    if not values:
        return ""
    width = min(width, len(values))
    edges = [index * len(values) // width for index in range(width + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    spread = (high - low) or 1.0
    return "".join(_BLOCKS[min(int((mean - low) / spread * len(_BLOCKS)), len(_BLOCKS) - 1)] for mean in means)
