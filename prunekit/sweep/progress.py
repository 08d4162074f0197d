"""Progress of a sweep on the terminal: finished cells, running jobs, and the time left."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, final

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from prunekit.console import clock, printable, tell


@final
class TerminalDisplay:
    """A live table on a terminal, or one line per finished cell elsewhere. Use it as a context manager."""

    def __init__(self, console: Console, title: str) -> None:
        self._console, self._title = console, title
        self._live = Live(console=console, refresh_per_second=2, transient=True) if console.is_terminal else None
        self._running: dict[str, dict[str, Any]] = {}
        self._done, self._failed, self._of = 0, 0, 0
        self._first: tuple[float, int] | None = None

    def __enter__(self) -> TerminalDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def counted(self, done: int, failed: int, of: int) -> None:
        """Show the number of finished cells."""
        self._done, self._failed, self._of = done, failed, of
        if self._first is None:
            self._first = (time.monotonic(), done)
            if self._live is not None:  # not earlier: what libraries print before goes to a file
                self._live.start()
        self._show()

    def running(self, name: str, state: dict[str, Any] | None) -> None:
        """Show the state of a job; None means that it has ended."""
        if state is None:
            self._running.pop(name, None)
        else:
            self._running[name] = {**self._running.get(name, {}), **state}
        self._show()

    def said(self, text: str) -> None:
        """Print a permanent line."""
        tell(self._console, f"[{self._done}/{self._of}] {text}")

    def _show(self) -> None:
        if self._live is not None:
            self._live.update(self._panel())

    def _panel(self) -> Group:
        head = f"{self._title}  {self._done} of {self._of} cells done"
        head += f", {self._failed} failed" * bool(self._failed) + self._time_left()
        grid = Table.grid(padding=(0, 2))
        for name, state in self._running.items():
            steps, total = state.get("steps"), state.get("total")
            bar = ProgressBar(total=total, completed=steps, width=20) if steps is not None else Text("")
            recent = state.get("return")
            grid.add_row(
                Text(printable(name), overflow="ellipsis", no_wrap=True),
                bar,
                Text(str(state.get("phase", ""))),
                Text("" if recent is None else f"return {recent:,.1f}"),
                Text(printable(state.get("hidden", ""))),
            )
        return Group(Text(printable(head), style="bold"), grid)

    def _time_left(self) -> str:
        """Return the estimated time left, at the pace since this command started."""
        if self._first is None or self._done == self._first[1]:
            return ""
        began, before = self._first
        pace = (time.monotonic() - began) / (self._done - before)
        return f", about {clock(pace * (self._of - self._done - self._failed))} left"
