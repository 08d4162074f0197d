"""The display of a run: what it says of the return guard."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from prunekit.training.progress import TerminalDisplay
from prunekit.training.status import Status


def status_in(phase: str) -> Status:
    return Status(
        steps=700, total_steps=1000, seconds=7.0, steps_per_second=100.0, mean_return=12.5, phase=phase,
        living={"0": (9, 32)}, sparsity=0.71875, penalty=0.0,
    )  # fmt: skip


def shown(phase: str, *, terminal: bool) -> str:
    """Return what is on the screen while a run is in ``phase``."""
    status = status_in(phase)
    stream = StringIO()
    console = Console(file=stream, force_terminal=terminal, width=100, color_system=None)
    with TerminalDisplay(console, "a run") as display:
        display.update(status)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        ("dense", "unpruned  71.9% of units removed"),
        ("pruning", "pruning  71.9% of units removed"),
        ("paused", "paused by the return guard  71.9% of units removed"),
        ("overruled", "pruning, though the return guard would pause: it is overruled  71.9% of units removed"),
    ],
)
def test_the_panel_says_what_the_return_guard_does(phase: str, words: str) -> None:
    lines = [line.rstrip() for line in shown(phase, terminal=True).splitlines()]
    assert words in lines


@pytest.mark.parametrize(
    ("phase", "word"), [("dense", "unpruned "), ("paused", "paused   "), ("overruled", "overruled")]
)
def test_plain_lines_have_the_phase_in_a_column(phase: str, word: str) -> None:
    line = shown(phase, terminal=False)
    assert f"  return     12.5  {word}  units 9/32  0:03 left" in line


def test_a_plain_line_has_the_return_since_the_line_before_and_the_last_one_is_the_end() -> None:
    stream, status = StringIO(), status_in("pruning")
    with TerminalDisplay(Console(file=stream, width=100, color_system=None), "a run") as display:
        for steps, mean in ((700, 12.5), (705, 1234.5), (710, None), (750, None), (800, None), (999, 9.5), (1000, 8.5)):
            display.update(replace(status, steps=steps, mean_return=mean))
    lines = [line.split() for line in stream.getvalue().splitlines()]
    assert [(line[0], line[6]) for line in lines] == [
        ("700", "12.5"), ("750", "1,234.5"), ("800", "-"), ("999", "9.5"), ("1,000", "8.5"),
    ]  # fmt: skip
