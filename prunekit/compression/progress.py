"""The progress of a compression on the terminal: the networks judged so far, with size and retention."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from prunekit.compression.candidates import CandidateSummary
from prunekit.console import printable, size_name, tell
from prunekit.stats.claim import counted

_BAR = 40
_ROWS = 16
_FIRST_TOLD = 100


@final
class TerminalDisplay:
    """A live table on a terminal, or one plain line per judged network elsewhere. Use as a context manager.

    Among plain lines, a certificate has one when it begins, and one at 100, 200, 400, ... episodes.
    """

    def __init__(self, console: Console, title: str, keep: float) -> None:
        self._console, self._title, self._keep = console, title, keep
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
        self._points: Sequence[CandidateSummary] = ()
        self._teacher = ""
        self._state = "the teacher plays"

    def __enter__(self) -> TerminalDisplay:
        if self._live is not None:
            self._live.start()
            self._show()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def started(self, dense: float, random: float) -> None:
        """Show the teacher's mean return and the random policy's."""
        self._teacher = f"teacher {dense:,.1f}  random {random:,.1f}"
        self._state = "searching"
        self._show(self._teacher)

    def judged(self, points: Sequence[CandidateSummary]) -> None:
        """Show the networks judged so far."""
        self._points = points
        self._show(_line(points[-1], self._keep))

    def confirming(self, name: str, episodes: int) -> None:
        """Show how many episodes of its confirmation the network ``name`` has played."""
        self._state = f"confirming {_hidden(name)}: {counted(episodes, 'episode')}"
        self._show(f"  confirming {_hidden(name)}" if episodes == 1 else None)

    def certifying(self, name: str, episodes: int) -> None:
        """Show how many episodes of its certificate the network ``name`` has played."""
        self._state = f"certifying {_hidden(name)}: {counted(episodes, 'fresh episode')}"
        began = f"  certifying {_hidden(name)}" if episodes == 1 else None
        self._show(began or (f"  {self._state}" if _is_told(episodes) else None))

    def _show(self, line: str | None = None) -> None:
        if self._live is not None:
            self._live.update(self._panel())
        elif line is not None:
            tell(self._console, line)

    def _panel(self) -> RenderableType:
        grid = Table.grid(padding=(0, 2))
        for point in best_per_size(self._points)[:_ROWS]:
            style = "green" if point.good else "dim"
            bar = Text(_bar(point.retention, self._keep), style=style)
            grid.add_row(size_name(point.hidden), f"{point.parameters:,} parameters", bar, f"{point.retention:.3f}")
        state = Text(printable(f"{self._state}  {self._teacher if self._points else ''}"), style="dim")
        return Group(Text(printable(self._title), style="bold"), grid, state)


def best_per_size(points: Sequence[CandidateSummary]) -> list[CandidateSummary]:
    """Return the best network of each number of parameters, smallest first."""
    best: dict[int, CandidateSummary] = {}
    for point in points:
        known = best.get(point.parameters)
        if known is None or (point.good, point.retention) > (known.good, known.retention):
            best[point.parameters] = point
    return [best[parameters] for parameters in sorted(best)]


def _hidden(name: str) -> str:
    """Return the name of a size as it is shown: "hidden 18x18", or "linear"."""
    return f"hidden {name}" if name[0].isdigit() else name


def _line(point: CandidateSummary, keep: float) -> str:
    verdict = "good" if point.good else "not good enough" if point.retention < keep else "not shown to be good"
    name = _hidden(size_name(point.hidden))
    return f"{name:>14}  {point.parameters:>7,} parameters  retention {point.retention:6.3f}  {verdict}"


def _is_told(episodes: int) -> bool:
    """Return whether this number of episodes gets a line: 100, 200, 400, ..."""
    return episodes % _FIRST_TOLD == 0 and (episodes // _FIRST_TOLD).bit_count() == 1


def _bar(retention: float, keep: float) -> str:
    """Return a bar of the retention, full at 1, with a mark at ``keep``."""
    filled, mark = round(min(max(retention, 0.0), 1.0) * _BAR), min(round(keep * _BAR), _BAR - 1)
    cells = ["━" if index < filled else " " for index in range(_BAR)]
    cells[mark] = "╋" if mark < filled else "│"
    return "".join(cells)
