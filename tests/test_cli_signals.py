"""SIGTERM and SIGHUP end a command as Ctrl-C does: cleaned up, one line, 128 + the signal's number."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from prunekit.cli.signals import Interrupted, Terminated, raising_signals

Run = Callable[..., tuple[int, str, str]]
SIGNALS = [signal.SIGTERM, signal.SIGHUP]
MODEL = Path(__file__).parents[1] / "models" / "CartPole-v1-ppo" / "compact.pt"


@pytest.fixture(autouse=True)
def defaults() -> None:
    assert all(signal.getsignal(number) is signal.SIG_DFL for number in SIGNALS)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_command_with_one_line(
    number: signal.Signals, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaned = []

    def told(*_: object) -> None:
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(number)  # a second one does not break off what cleans up
            cleaned.append(True)

    monkeypatch.setattr("prunekit.benching.inspection.inspect_model", told)
    assert run("inspect", MODEL) == (128 + number, "", f"prunekit: ended by {number.name}\n")
    assert cleaned == [True]
    assert signal.getsignal(number) is signal.SIG_DFL


def test_a_signal_that_a_library_makes_an_error_of(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(*_: object) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException as error:
            raise ImportError("numpy failed to import") from error

    monkeypatch.setattr("prunekit.benching.inspection.inspect_model", told)
    assert run("inspect", MODEL) == (143, "", "prunekit: ended by SIGTERM\n")


@pytest.mark.parametrize(("number", "code", "word"), [(signal.SIGINT, 130, "interrupted")] + [
    (number, 128 + number, f"ended by {number.name}") for number in SIGNALS
])  # fmt: skip
def test_training_says_how_to_go_on_where_there_is_something_to_go_on_with(
    number: signal.Signals, code: int, word: str, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(*_: object, **__: object) -> None:
        signal.raise_signal(number)

    monkeypatch.setattr("prunekit.training.command.prepare", told)
    folder = tmp_path / "run"
    words = ["train", "--resume", "--out", folder, "-q"]
    assert run(*words) == (code, "", f"prunekit: {word}\n")
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    hint = f"prunekit train --resume --out {folder} continues from the last checkpoint"
    assert run(*words) == (code, "", f"prunekit: {word}; {hint}\n")
    (folder / "model.pt").write_text("")
    assert run(*words) == (code, "", f"prunekit: {word}\n")


def test_who_handles_a_signal_goes_on_doing_so() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with raising_signals() as signals:
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (heard, signals.came) == ([signal.SIGTERM], [])


def test_a_thread_of_its_own_leaves_signals_alone() -> None:
    found: list[object] = []

    def look() -> None:
        with raising_signals():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]


def test_no_part_takes_it_for_a_failure() -> None:
    assert not issubclass(Terminated, Exception)


@pytest.mark.parametrize("number", [signal.SIGINT, *SIGNALS])
def test_an_exception_that_is_caught_is_raised_again(
    number: signal.Signals, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(*_: object) -> None:
        try:
            signal.raise_signal(number)
        except BaseException:  # as extensions written in C do
            lost.append(number)
        time.sleep(20.0)

    lost: list[int] = []
    monkeypatch.setattr("prunekit.benching.inspection.inspect_model", told)
    assert run("inspect", MODEL)[0] == 128 + number
    assert lost == [number]


class Finalized:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def test_an_exception_that_a_finalizer_loses_is_raised_again_without_a_word(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(*_: object) -> None:
        Finalized()
        time.sleep(20.0)

    monkeypatch.setattr("prunekit.benching.inspection.inspect_model", told)
    before = sys.unraisablehook
    assert run("inspect", MODEL) == (130, "", "prunekit: interrupted\n")
    assert sys.unraisablehook is before


@pytest.mark.parametrize("number", [signal.SIGINT, *SIGNALS])
def test_an_import_is_not_broken_off(
    number: signal.Signals, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(*_: object) -> None:
        importlib.import_module(f"imported_{number}")
        done.append(True)
        time.sleep(20.0)

    done: list[bool] = []
    (tmp_path / f"imported_{number}.py").write_text(
        f"import signal, time\nsignal.raise_signal({int(number)})\ntime.sleep(0.2)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("prunekit.benching.inspection.inspect_model", told)
    assert run("inspect", MODEL)[0] == 128 + number
    assert done == [True]
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


def test_an_alarm_from_outside_still_rings() -> None:
    code = "import signal, time\nfrom prunekit.cli.signals import raising_signals\n"
    code += "signal.setitimer(signal.ITIMER_REAL, 0.5)\n"
    code += "with raising_signals():\n try:\n  signal.raise_signal(2)\n except KeyboardInterrupt:\n  time.sleep(20)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGALRM, "")


def test_an_import_that_never_ends_is_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "endless.py").write_text(
        "import signal, time\nsignal.raise_signal(2)\ntime.sleep(20.0)\nraise AssertionError('slept')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with raising_signals(max_import_seconds=0.2), pytest.raises(Interrupted):
        importlib.import_module("endless")


def test_ctrl_c_while_python_ends_prints_no_traceback() -> None:
    code = "import atexit, signal, sys\nfrom prunekit.cli import main\n"
    code += "atexit.register(lambda: signal.raise_signal(signal.SIGINT))\nsys.argv = ['prunekit', '--version']\nmain()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


ENDED = """
import signal, sys
import prunekit.cli.app
from prunekit.cli import main
signal.signal(signal.SIGHUP, signal.SIG_IGN if "ignored" in sys.argv else signal.SIG_DFL)
def told(*_, **__):
    signal.raise_signal(signal.SIGHUP)
    sys.exit(5)
prunekit.cli.app.app = told
main()
"""


def test_nohup_is_respected() -> None:
    ended = [
        subprocess.run([sys.executable, "-c", ENDED, *words], capture_output=True, text=True, check=False)
        for words in ([], ["ignored"])
    ]
    assert [(done.returncode, done.stderr) for done in ended] == [(129, "prunekit: ended by SIGHUP\n"), (5, "")]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs signals as POSIX has them")
def test_a_signal_before_the_command_line_is_read() -> None:
    code = "import signal, sys\nfrom prunekit import cli\n"
    code += "class Finder:\n    def find_spec(self, name, *_):\n        if name == 'typer': signal.raise_signal(%d)\n"
    code += "sys.meta_path.insert(0, Finder())\ncli.main()"
    for number, word in ((signal.SIGINT, "interrupted"), (signal.SIGTERM, "ended by SIGTERM")):
        done = subprocess.run([sys.executable, "-c", code % number], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (128 + number, f"prunekit: {word}\n")


def test_a_signal_that_arrives_while_the_command_exits_changes_nothing() -> None:
    code = """
import atexit, os, signal, sys
import prunekit.cli

unregister = atexit.unregister

def killed(function):
    os.kill(os.getpid(), signal.SIGTERM)
    unregister(function)

atexit.unregister = killed
sys.argv = ["prunekit", "--help"]
prunekit.cli.main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "compress" in done.stdout
