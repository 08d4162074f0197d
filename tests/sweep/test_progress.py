"""What a sweep shows on a terminal."""

from __future__ import annotations

import io
import time

from rich.console import Console

from prunekit.sweep.progress import TerminalDisplay


def seen(stream: io.StringIO, text: str) -> None:
    """Wait for the live view, which is drawn twice a second."""
    deadline = time.monotonic() + 10.0
    while text not in stream.getvalue():
        assert time.monotonic() < deadline, f"{text} is not shown"
        time.sleep(0.05)


def test_a_terminal_shows_what_runs() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100)
    with TerminalDisplay(console, "Sizes \x1b[2J") as display:
        assert not stream.getvalue(), "the terminal is left alone while cells are looked at"
        display.counted(1, 0, 4)
        display.running("cell \x1b]0;x", {"phase": "begun"})
        seen(stream, "begun")
        display.running("cell \x1b]0;x", {"steps": 10, "total": 20, "return": 3.25, "hidden": "4x4"})
        seen(stream, "return 3.2")
        display.counted(2, 1, 4)
        display.said("cell: done")
        display.running("cell \x1b]0;x", None)
    text = stream.getvalue()
    assert r"Sizes \x1b[2J" in text
    assert "2 of 4 cells done, 1 failed, about 0:0" in text
    assert "[2/4] cell: done" in text
    assert r"cell \x1b]0;x" in text
    assert "\x1b]0" not in text


def test_elsewhere_there_is_a_line_per_cell() -> None:
    stream = io.StringIO()
    with TerminalDisplay(Console(file=stream), "Sizes") as display:
        display.counted(1, 0, 1)
        display.running("cell", {"steps": 1, "total": 2})
        display.said("cell: done")
    assert stream.getvalue() == "[1/1] cell: done\n"
