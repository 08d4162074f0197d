"""A child process that answers on standard output what it reads on standard input, and never outlives its parent."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import final

from prunekit.errors import CheckError

_STATUS_SECONDS = 1.0
_END_SECONDS = 10.0


@final
class Wire:
    """An emulator as a child process. ``name`` is its name in errors; ``meanings`` explain its exit statuses."""

    def __init__(self, name: str, command: Sequence[str], timeout_s: float, meanings: dict[int, str]) -> None:
        self._name = name
        self._timeout_s = timeout_s
        self._meanings = meanings
        self._folder = tempfile.TemporaryDirectory(prefix="prunekit-")
        self._errors = Path(self._folder.name) / "stderr"
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                command, cwd=self._folder.name, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=0
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        os.set_blocking(self._in.fileno(), False)
        self._end = weakref.finalize(self, _end, self._process, self._folder)

    @property
    def process_id(self) -> int:
        """The child's process id."""
        return self._process.pid

    def ask(self, question: bytes, answer_bytes: int) -> bytes:
        """Send ``question`` and return the answer; raises CheckError if the process is dead or too slow."""
        deadline = time.monotonic() + self._timeout_s
        left = memoryview(question)
        while left:
            self._wait_until(self._in.fileno(), select.POLLOUT, deadline)
            try:
                left = left[os.write(self._in.fileno(), left) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._death() from error
        return self._receive(answer_bytes, deadline)

    def last(self, answer_bytes: int) -> bytes:
        """Close the input, return the last output, and wait for the end; raises CheckError as ``ask`` does."""
        deadline = time.monotonic() + self._timeout_s
        self._in.close()
        answer = self._receive(answer_bytes, deadline)
        try:
            status = self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            raise self._silence() from error
        if status != 0:
            raise self._death()
        return answer

    def close(self) -> None:
        """End the process if it is still running, and remove its files."""
        self._end()

    def _receive(self, count: int, deadline: float) -> bytes:
        answer = b""
        while len(answer) < count:
            self._wait_until(self._out.fileno(), select.POLLIN, deadline)
            more = os.read(self._out.fileno(), count - len(answer))
            if not more:
                raise self._death()
            answer += more
        return answer

    def _wait_until(self, descriptor: int, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(descriptor, event)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise self._silence()

    def _silence(self) -> CheckError:
        _end_process(self._process)
        return CheckError(f"{self._name} gave no answer within {self._timeout_s:g} s{self._last_line()}")

    def _death(self) -> CheckError:
        _end_process(self._process)
        status = self._process.returncode
        why = self._meanings.get(status, f"status {status}" if status >= 0 else signal.Signals(-status).name)
        return CheckError(f"{self._name} ended early ({why}){self._last_line()}")

    def _last_line(self) -> str:
        lines = self._errors.read_text(errors="replace").split("\n") if self._errors.exists() else []
        fatal = [line for line in lines if "fatal:" in line]  # QEMU prints registers after it
        last = next((line.strip() for line in reversed(fatal or lines) if line.strip()), "")
        return f": {last}" if last else ""


def _end_process(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_STATUS_SECONDS)  # a dying one shall say its status
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_END_SECONDS)


def _end(process: subprocess.Popen[bytes], folder: tempfile.TemporaryDirectory[str]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    process.kill()
    process.wait(_END_SECONDS)
    folder.cleanup()
