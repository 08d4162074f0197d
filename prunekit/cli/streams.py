"""Standard streams that never fail: what cannot be printed is dropped, and reported at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, final

from prunekit.console import printable
from prunekit.errors import InputError

_LINE_ENDS = "\n\t"


@final
class SteadyStream:
    """A text stream whose ``write`` and ``flush`` never fail.

    Characters that its encoding lacks become question marks. After the first failure, stored in ``failure``, nothing
    more is written. ``told`` means that the user was informed. With ``escaped``, everything except line ends is made
    ``printable``, including warnings of libraries.
    """

    def __init__(self, stream: TextIO, *, escaped: bool = False) -> None:
        self._stream, self._escaped = stream, escaped
        self.failure: Exception | None = None
        self.told = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write as much of ``text`` as possible; return its length."""
        if self.failure is None:
            shown = _printable_lines(text) if self._escaped else text
            try:
                try:
                    self._stream.write(shown)
                except UnicodeEncodeError as error:
                    self._stream.write(shown.encode(error.encoding, "replace").decode(error.encoding))
            except (OSError, ValueError) as error:
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Hand over what was written."""
        if self.failure is None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self.failure = error
        with suppress(OSError, ValueError):  # what is in the stream's buffer must go somewhere when Python ends
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextmanager
def steady_streams() -> Iterator[None]:
    """Make standard output and error steady inside the context, and report at the end what was not printed."""
    _fill_gaps()
    before = sys.stdout, sys.stderr
    # Python has None for a stream that was closed from the start.
    output = None if sys.stdout is None else SteadyStream(sys.stdout)
    errors = None if sys.stderr is None else SteadyStream(sys.stderr, escaped=True)
    sys.stdout, sys.stderr = output, errors
    try:
        yield
    finally:
        if output is not None:
            output.flush()
            if errors is not None and not output.told and _lost(output) is not None:
                errors.write(f"prunekit: note: standard output could not be written ({_lost(output)})\n")
        if errors is not None:
            errors.flush()
        sys.stdout, sys.stderr = before


def require_printed() -> None:
    """Raise InputError if output was lost, for a command without any other result."""
    if isinstance(sys.stdout, SteadyStream):
        sys.stdout.flush()
        reason = _lost(sys.stdout)
        if reason is not None:
            sys.stdout.told = True
            raise InputError(f"the result could not be printed ({reason}) and is lost; name a file for it with --json")


def _lost(stream: SteadyStream) -> str | None:
    """Return why something was not printed; None if everything was, or if the reader closed the pipe."""
    if stream.failure is None or isinstance(stream.failure, BrokenPipeError):
        return None
    return getattr(stream.failure, "strerror", None) or str(stream.failure)


def _fill_gaps() -> None:
    """Open standard descriptors that are closed, because the next opened file would take their place."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free


def _printable_lines(text: str) -> str:
    return "".join(char if char in _LINE_ENDS else printable(char) for char in text)
