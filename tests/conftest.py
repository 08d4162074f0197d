"""What holds for every test, and fixtures that the tests of the command line share."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
from hypothesis import settings

from prunekit import cli

settings.register_profile("fixed", derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))  # "fixed": the same examples in every run

Run = Callable[..., tuple[int, str, str]]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
HANDLERS = [signal.getsignal(number) for number in SIGNALS]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Send a module with ``pytestmark = ... xdist_group(...)`` to one worker.

    xdist 3.8 writes the group of a test where pytest 9.2 does not read it, and sends each test anywhere.
    """
    from xdist.scheduler import LoadScopeScheduling

    @cache
    def group_of(module: str) -> str:
        text = (config.rootpath / module).read_text()
        found = re.search(r'(?m)^pytestmark = .*xdist_group\("(\w+)"\)', text)
        return found[1] if found else ""

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid.partition("::")[0]) or nodeid

    return Groups(config, log) if config.getvalue("dist") == "loadgroup" else None


@pytest.fixture(autouse=True)
def signal_handlers_are_left() -> Iterator[None]:
    """A test that leaves a handler behind fails itself, instead of others that come after it."""
    yield
    left = [signal.getsignal(number) for number in SIGNALS]
    for number, handler in zip(SIGNALS, HANDLERS, strict=True):
        signal.signal(number, handler)
    assert left == HANDLERS


@pytest.fixture(scope="session", autouse=True)
def commands_are_built_once() -> Iterator[None]:
    """Typer builds all commands for every command line, which takes five times as long as to read it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", cache(typer.main.get_command))
        yield


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["prunekit", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    return call


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "run"
    command = ["train", "--env", "CartPole-v1", "--steps", "4096", "--hidden", "48,48", "--out", str(folder), "-q"]
    done = subprocess.run([sys.executable, "-m", "prunekit", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == done.stderr == ""
    return folder
