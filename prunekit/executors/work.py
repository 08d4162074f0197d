"""The execution of one job, the same for every executor."""

from __future__ import annotations

import math
import pickle
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, final

from prunekit.errors import PrunekitError

_LONGEST_ERROR = 500


@final
@dataclass(frozen=True, kw_only=True)
class Returned:
    """The pickled return value of a job's function."""

    result: bytes


@final
@dataclass(frozen=True, kw_only=True)
class Raised:
    """The error of a job's function as text, because some exceptions cannot be pickled or unpickled."""

    error: str
    traceback: str


Outcome: TypeAlias = Returned | Raised


@final
class WorkContext:
    """The ``Context`` of one job; its time starts when it is created."""

    def __init__(
        self,
        *,
        shared: bytes | None,
        seconds: float | None,
        cancelled: Callable[[], bool],
        send: Callable[[bytes], None],
    ) -> None:
        self.shared = shared
        self.cancelled = cancelled
        self._end = math.inf if seconds is None else time.monotonic() + seconds
        self._send = send

    def seconds_left(self) -> float:
        """Return the remaining seconds of the job."""
        return max(0.0, self._end - time.monotonic())

    def report(self, event: Any) -> None:
        """Send ``event`` to the main process."""
        self._send(portable(event))


def perform(
    packed: bytes,
    *,
    shared: bytes | None,
    seconds: float | None,
    cancelled: Callable[[], bool],
    send: Callable[[bytes], None],
) -> Outcome:
    """Run a pickled job and return its outcome; ``send`` takes its reports. Only KeyboardInterrupt is raised.

    The time starts after the job's modules are imported, which takes long in a new process.
    """
    try:
        function, argument = pickle.loads(packed)  # of this program's own main process
        context = WorkContext(shared=shared, seconds=seconds, cancelled=cancelled, send=send)
        return Returned(result=portable(function(argument, context)))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return Raised(error=in_one_line(error), traceback=traceback.format_exc())


def portable(value: Any) -> bytes:
    """Return ``value`` pickled; raises here, where the job is known, if the result cannot be unpickled.

    It uses Python's own pickle, because that of multiprocessing would keep a file open for every torch tensor.
    """
    try:
        content = pickle.dumps(value)
        pickle.loads(content)
    except Exception as error:
        raise TypeError(f"what a job returns or reports must be picklable: {in_one_line(error)}") from error
    return content


def in_one_line(error: BaseException) -> str:
    """Return an error as one line: the message of prunekit's own errors, and the class name with the message of
    others.
    """
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = ""
    name = type(error).__name__
    if not isinstance(error, PrunekitError):
        text = f"{name}: {text}" if text else name
    return text if len(text) <= _LONGEST_ERROR else text[: _LONGEST_ERROR - 3] + "..."
