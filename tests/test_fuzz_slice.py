"""A short, fixed part of ``benchmarks/fuzz.py``, and proof that its watch sees what it looks for."""

from __future__ import annotations

import ctypes
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))

from fuzzing import reader as reading  # noqa: E402
from fuzzing.inputs import Input  # noqa: E402
from fuzzing.sound import DISCRETE, Sound  # noqa: E402
from fuzzing.state import Chunk, chunks_of, code_digest, pending, summary, together  # noqa: E402
from fuzzing.storages import beyond  # noqa: E402
from fuzzing.targets import KINDS  # noqa: E402
from fuzzing.values import BAIT_FILE, BAIT_MODULE  # noqa: E402
from fuzzing.watch import MEBIBYTE, Limits, Report, watched  # noqa: E402
from fuzzing.zips import Entry, archive_of, entries_of  # noqa: E402

from prunekit.errors import InputError  # noqa: E402

LIMITS = Limits(seconds=1.0, memory=200 * MEBIBYTE)
FILE = Sound(
    kind="statistics", name="planted", files={"statistics.pkl": b"sound"}, subject="statistics.pkl", spaces=DISCRETE
)
INPUTS = 16
"""Of each kind."""


def raise_error(error: Exception) -> None:
    raise error


def write(name: str) -> None:
    Path(name).write_text("x")


def write_without_python(name: str) -> None:
    library = ctypes.CDLL(None)
    library.close(library.creat(name.encode(), 0o600))


def grow() -> None:
    bytearray(b"x" * 300 * MEBIBYTE)
    time.sleep(0.2)


PLANTED: dict[str, tuple[Callable[[], object], str]] = {
    "an exception": (lambda: raise_error(ValueError("odd")), "exception: ValueError"),
    "too deep": (lambda: raise_error(RecursionError()), "exception: RecursionError"),
    "no memory": (lambda: raise_error(MemoryError()), "exception: MemoryError"),
    "an answer with an escape": (lambda: sys.stdout.write("\x9b31m"), "control characters"),
    "two lines": (lambda: (sys.stdout.write("one\n"), raise_error(InputError("two"))), "more than one line"),
    "a write": (lambda: write("/dev/shm/prunekit-fuzz-planted"), "write: opened"),
    "a file left": (lambda: write(BAIT_FILE), "write: left"),
    "a file left by C": (lambda: write_without_python(BAIT_FILE), "write: left"),
    "a folder left": (lambda: Path("../home/cache").mkdir(), "write: left"),
    "an import": (lambda: __import__(BAIT_MODULE), f"import: {BAIT_MODULE}"),
    "a command": (lambda: os.system("true"), "command: os.system"),
    "a program": (lambda: subprocess.run(["true"], check=True), "command: subprocess.Popen"),
    "an exit": (lambda: sys.exit(3), "exit code: 3"),
}


def reports_of(actions: list[Callable[[], object]], folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Report]:
    reader = reading.Reader(folder)
    monkeypatch.setitem(reading.TARGETS, "statistics", {"planted": lambda *_: actions[current[0]]()})
    current = [0]

    def make(number: int) -> Input:
        current[0] = number
        return Input(number=number, sound=FILE, done=(), content=b"damaged")

    return list(watched(range(len(actions)), make, reader.read, LIMITS))


def test_what_is_read_or_refused_is_no_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = [InputError("file: is damaged; write it again"), InputError("an escape, which is spelled out: \x1b[31m")]
    actions = [lambda: None, *(partial(raise_error, error) for error in errors), lambda: None]
    reports = reports_of(actions, tmp_path, monkeypatch)
    assert [report.outcome for report in reports] == ["read", "refused", "refused", "read"]
    assert not any(report.troubles for report in reports)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    action, words = PLANTED[name]
    before, fault, after = reports_of([lambda: None, action, lambda: None], tmp_path, monkeypatch)
    assert (before.outcome, fault.outcome, after.outcome) == ("read", "trouble", "read")
    assert any(words in text for text in fault.troubles), fault.troubles


def test_a_reader_that_crashes_hangs_or_grows_is_ended_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    actions = [lambda: None, os.abort, lambda: time.sleep(30), grow, lambda: os._exit(3), lambda: None]
    reports = reports_of(actions, tmp_path, monkeypatch)
    assert [report.outcome for report in reports] == ["read", "crash", "hang", "memory", "crash", "read"]
    assert [bool(report.troubles) for report in reports] == [False, True, True, True, True, False]


def test_a_slice_of_the_whole_run(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "fuzz.py"), "--workers", "1", "--state", str(tmp_path)]
    done = subprocess.run([*command, "--count", str(INPUTS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    files = {kind: tmp_path / f"{kind}-seed-0.jsonl" for kind in KINDS}
    lines = [json.loads(line) for file in files.values() for line in file.read_text().splitlines()]
    assert sum(line["count"] for line in lines) == INPUTS * len(KINDS)
    counts = {name: number for line in lines for name, number in line["counts"].items()}
    assert {name.split("/")[0] for name in counts} == set(KINDS)
    assert {name.split("/")[1] for name in counts} == {"read", "refused"}


def test_tensors_beyond_their_records_are_seen() -> None:
    buffer = io.BytesIO()
    torch.save({"weight": torch.ones(4, 3)}, buffer)
    sound = buffer.getvalue()
    assert beyond(sound) is None
    entries = entries_of(sound)
    (record,) = [entry for entry in entries if entry.name.endswith(b"/data/0")]
    record.content = record.content[:-1]
    assert "12 elements of Float over 47 bytes" in (beyond(archive_of(entries)) or "")
    (pickled,) = [entry for entry in entries_of(sound) if entry.name.endswith(b"data.pkl")]
    wider = pickled.content.replace(b"K\x04K\x03\x86", b"K\x04K\x04\x86")
    assert wider != pickled.content
    assert "over 12 elements" in (beyond(archive_of([Entry(name=pickled.name, content=wider)])) or "")


def chunk(first: int, code: str, *numbers: int, count: int = 100) -> Chunk:
    findings = [{"number": number, "outcome": "crash"} for number in numbers]
    counts = {"onnx/crash": len(numbers), "onnx/refused": count - len(numbers)}
    made = {"first": first, "count": count, "code": code, "counts": counts, "findings": findings}
    return {**made, "seconds": 0.1, "memory": 1, "elapsed": 2.0}


def test_a_run_goes_on_where_it_stopped_and_reads_again_what_it_is_told_to() -> None:
    code = code_digest()
    known = [chunk(0, "old"), chunk(100, code, 117), chunk(200, code, count=50)]
    assert pending(known, 400, 100, None) == [200, 300]
    assert pending(known, 250, 100, None) == []
    assert pending(known, 400, 100, "findings") == [100, 200, 300]
    assert pending(known, 400, 100, "older") == [0, 200, 300]
    assert pending([*known, chunk(100, code)], 200, 100, "findings") == []


def test_what_was_found_stays_known_after_it_was_mended() -> None:
    known = [chunk(0, "old", 7, 8), chunk(100, "old", 117), chunk(0, "new", 8)]
    total = summary(known, 200)
    assert (total["inputs"], total["counts"]) == (200, {"crash": 2, "refused": 198})
    assert [finding["number"] for finding in total["findings"]] == [8, 117]
    assert [(finding["number"], finding["mended_in"]) for finding in total["mended"]] == [(7, "new")]
    assert total["codes"] == {"new": 100, "old": 100}
    assert summary(known, 100)["inputs"] == 100
    both = together({"onnx": total, "brax": summary([chunk(0, "new")], 200)})
    assert (both["inputs"], both["inputs_by_code"]) == (300, {"new": 200, "old": 100})
    assert both["counts"]["onnx"] == {"inputs": 200, "crash": 2, "refused": 198}


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    state = tmp_path / "state.jsonl"
    whole = json.dumps(chunk(0, "old"))
    state.write_text(f"{whole}\n{whole[:40]}")
    assert chunks_of(state) == [chunk(0, "old")]
    assert chunks_of(tmp_path / "nothing") == []
