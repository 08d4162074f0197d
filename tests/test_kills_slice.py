"""A short, fixed part of ``benchmarks/kills.py``, and proof that it sees what it looks for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))

from killing import victims  # noqa: E402
from killing.outputs import state_between  # noqa: E402

KILLS = {"dqn": 4, "shrink": 8, "export c": 8}
# What they import takes as long as half of them.
ONE_AFTER_THE_OTHER = """
import json, sys, kills
codes = []
for words in json.loads(sys.argv[1]):
    sys.argv[1:] = words
    try:
        kills.main()
    except SystemExit as stop:
        codes.append(stop.code)
sys.exit(max(codes))
"""
OLD = {"a.c": b"1", "a.h": b"2", "same": b"0"}
NEW = {"a.c": b"3", "a.h": b"4", "same": b"0"}


def test_a_slice_of_the_kills(tmp_path: Path) -> None:
    folders = {name: tmp_path / name.replace(" ", "-") for name in KILLS}
    words = [["--state", str(folder), "--only", name, "-n", str(KILLS[name])] for name, folder in folders.items()]
    command = [sys.executable, "-c", ONE_AFTER_THE_OTHER, json.dumps(words)]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for name, folder in folders.items():
        records = [json.loads(line) for line in (folder / "seed-0.jsonl").read_text().splitlines()]
        assert [record["signal"] for record in records if record["signal"]] == [
            victims.signal_of(number) for number in range(KILLS[name])
        ], name


def ended(monkeypatch: pytest.MonkeyPatch, folder: Path, command: Callable[[], None], sent: int | None) -> list[str]:
    """Return what is wrong with a command that is killed as soon as it says that it is there."""
    monkeypatch.setattr(victims.prunekit.cli, "main", command)
    moment = victims.on_sight(folder, "there")
    return victims.killed([], folder, sent, moment, patience=20.0, orphans_after=0.5).troubles(sent)


def wait() -> None:
    Path("there").write_text("")
    time.sleep(30)


def be_deaf() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    wait()


def leave_a_process() -> None:
    subprocess.Popen(["sleep", "30"])
    wait()


def fail() -> None:
    raise ValueError("odd")


def test_a_command_that_ends_by_its_signal_is_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert ended(monkeypatch, tmp_path, wait, signal.SIGTERM) == []
    assert ended(monkeypatch, tmp_path, lambda: None, None) == []


@pytest.mark.parametrize(
    ("command", "words"), [(be_deaf, "exit code 7"), (leave_a_process, "orphan: sleep 30"), (fail, "Traceback")]
)
def test_a_planted_fault_is_found(
    command: Callable[[], None], words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = ended(monkeypatch, tmp_path, command, signal.SIGTERM)
    assert any(words in text for text in found), found


@pytest.mark.parametrize(
    ("kept", "state"),
    [
        (OLD, "old"),
        (NEW, "new"),
        ({**OLD, "a.h": b"4"}, "mixed"),
        ({**NEW, "a.h": b""}, "torn"),
        ({"a.c": b"3", "same": b"0"}, "incomplete"),
    ],
)
def test_what_is_left_of_files(kept: dict[str, bytes], state: str) -> None:
    assert state_between(kept, OLD, NEW) == state


def test_a_kill_that_nobody_hears_ends_all_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def never_end() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        wait()

    monkeypatch.setattr(victims.prunekit.cli, "main", never_end)
    end = victims.killed([], tmp_path, signal.SIGTERM, victims.on_sight(tmp_path, "there"), patience=0.5)
    assert end.code == -99
    assert os.path.exists(tmp_path / "there")
