"""How a job is run where it runs: the same for every executor, in the main process or in another one."""

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
    """What a job's function returned, pickled."""

    result: bytes


@final
@dataclass(frozen=True, kw_only=True)
class Raised:
    """What a job's function raised, in words: there are errors that cannot be pickled, or not be unpickled."""

    error: str
    traceback: str


Outcome: TypeAlias = Returned | Raised


@final
class WorkContext:
    """The ``Context`` of one job; its time begins when it is made."""

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
        """Return what is left of the job's seconds."""
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
    """Run a packed job, whose reports ``send`` takes. Only KeyboardInterrupt gets out: the rest is the job's failure.

    The seconds begin after its modules are imported, which takes long in a new process alone.
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
    """Return ``value`` pickled, and raise here, where the job can be blamed, if it cannot be read again.

    It is Python's own pickle: that of multiprocessing would keep a file open for every tensor of torch.
    """
    try:
        content = pickle.dumps(value)
        pickle.loads(content)
    except Exception as error:
        raise TypeError(f"what a job returns or reports must be picklable: {in_one_line(error)}") from error
    return content


def in_one_line(error: BaseException) -> str:
    """Return what an error says, in one line; the errors of prunekit speak for themselves, others are named."""
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = ""
    name = type(error).__name__
    if not isinstance(error, PrunekitError):
        text = f"{name}: {text}" if text else name
    return text if len(text) <= _LONGEST_ERROR else text[: _LONGEST_ERROR - 3] + "..."
