"""Workers that play episodes and rounds of branches: in this process, in others, or on a cluster, by an executor.

The result does not depend on how many workers there are or where they run: an episode depends only on its seed, and a
round only on the state of its branch when it begins.
"""

from __future__ import annotations

import itertools
import pickle
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, final

import torch

from prunekit.compression.branch import Branch, Round, RoundSettings
from prunekit.compression.rounds import advance
from prunekit.compression.task import Played, Policy, Stopwatch, Task, Worked, Worker
from prunekit.errors import CheckError, FailedEpisodeError, PrunekitError
from prunekit.executors import Context, Event, Executor, Failed, Finished, Job, Progress, executor_named

# Episodes per job, and jobs per worker that are submitted before they are needed.
_EPISODES_PER_JOB, _JOBS_AHEAD = 4, 2
# The weight that earlier work keeps in the recent share of a core, with every job that ends.
_FADING = 0.8
# Seconds between looks at what has happened.
_PATIENCE = 0.2


@final
@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """What a job came to: a value, or the error that it raised."""

    worked: Worked
    value: Any = None
    error: Exception | None = None


@final
class WorkerPool:
    """Workers that an executor runs for ``task``, ``slots`` of them. Use as a context manager, from one thread.

    ``engine`` and ``address`` are those of ``prunekit/executors``; by default a single worker runs in the calling
    process, and several in processes of their own. ``worker`` is that of the calling process; making it finds out what
    is wrong with the teacher before anything else starts. ``steps`` counts the environment steps of the episodes that
    were asked for, once each, not of those that were played ahead; ``own_steps`` leaves out those that select.
    """

    def __init__(
        self, task: Task, slots: int = 1, engine: str | None = None, address: str | None = None, max_batch: int = 16
    ) -> None:
        self._worked = self._recent = Worked()
        self.worker = Worker(task, max_batch)
        self.steps = self.own_steps = self.worker.own.steps  # not 0 if the deviation of observations was measured
        self._token = b""
        named = engine or ("serial" if slots == 1 else "processes")
        try:
            if named == "serial":
                self._token = uuid.uuid4().bytes
                _HERE[self._token] = self.worker
                self._executor: Executor = executor_named(named, 1, self._token)
            else:
                checked = named == "processes"  # on this machine only: others may have another EnvPool
                shared = pickle.dumps((self.worker.task, max_batch, checked))
                self._executor = executor_named(named, slots, shared, address)
        except BaseException:
            self._close()
            raise
        self._numbers = itertools.count()
        self._waiting: dict[str, Callable[[_Outcome], object]] = {}
        self._reports: dict[str, Callable[[Any], object]] = {}

    @property
    def slots(self) -> int:
        """How many workers there are."""
        return self._executor.slots

    def __enter__(self) -> WorkerPool:
        self._executor.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._executor.__exit__(kind, error, trace)
        finally:
            self._close()

    def _close(self) -> None:
        _HERE.pop(self._token, None)
        self.worker.close()

    def returns_of(self, policy: Policy, *, selecting: bool = False) -> Callable[[int], float]:
        """Return a function from an episode's seed to the return of ``policy``; it raises FailedEpisodeError.

        The seeds that follow are played ahead, as they are likely to be asked for next. With ``selecting`` the episodes
        are played where students are selected.
        """
        asked: dict[int, Played | None] = {}
        told: set[int] = set()

        def take(seeds: range, outcome: _Outcome) -> None:
            asked.update(zip(seeds, _value_of(outcome), strict=True))

        def returns(seed: int) -> float:
            ahead = _EPISODES_PER_JOB * (1 if self.slots == 1 else _JOBS_AHEAD * self.slots)
            for first in range(seed, seed + ahead):
                if first in asked or ((first - seed) % _EPISODES_PER_JOB and first - 1 not in asked):
                    continue
                seeds = range(first, first + _EPISODES_PER_JOB)
                asked.update(dict.fromkeys(seeds))
                self._submit(_play, (policy, seeds, selecting), partial(take, seeds))
            while (found := asked[seed]) is None:
                self.wait()
            if seed not in told:
                told.add(seed)
                self.steps += found.steps
                self.own_steps += 0 if selecting else found.steps
            if found.failure:
                raise FailedEpisodeError(found.failure)
            return found.total

        return returns

    def submit_round(
        self, branch: Branch, settings: RoundSettings, take: Callable[[str, Round], object], seconds: float | None
    ) -> str:
        """Have a worker play a round of ``branch`` within ``seconds``; return the job's name.

        ``wait`` passes name and round to ``take``.
        """

        def taken(outcome: _Outcome) -> None:
            take(name, _value_of(outcome))

        name = self._submit(_advance, (branch, settings), taken, seconds)
        return name

    def demonstrations(self, seeds: range) -> list[Any]:
        """Return the teacher's observations in every episode of ``seeds``, [steps, obs]; raises FailedEpisodeError."""
        found: dict[int, list[Any]] = {}
        parts = [range(first, min(first + _EPISODES_PER_JOB, seeds.stop)) for first in seeds[::_EPISODES_PER_JOB]]
        for index, part in enumerate(parts):
            self._submit(_demonstrate, part, lambda outcome, index=index: found.update({index: _value_of(outcome)}))  # type: ignore[misc]
        while len(found) < len(parts):
            self.wait()
        observations = [one for index in range(len(parts)) for one in found[index]]
        self.steps += sum(len(one) for one in observations)
        return observations

    def cancel(self, name: str) -> None:
        """Cancel a round; its result is not waited for."""
        self._executor.cancel(name)
        self._waiting.pop(name, None)

    def wait(self) -> None:
        """Wait briefly for results, and pass them on; raises what a job raised, and CheckError if a worker died."""
        for event in self._executor.events(_PATIENCE):
            self._heed(event)

    @property
    def core_share(self) -> float:
        """The share of a core that a worker had while it worked; 1 if nothing else used it."""
        worked = self._worked
        return worked.cpu_seconds / worked.seconds if worked.seconds else 1.0

    @property
    def recent_core_share(self) -> float:
        """The same for recent work."""
        recent = self._recent
        return recent.cpu_seconds / recent.seconds if recent.seconds else 1.0

    def _submit(
        self,
        function: Callable[[Any, Context], _Outcome],
        argument: Any,
        take: Callable[[_Outcome], object],
        seconds: float | None = None,
    ) -> str:
        name = str(next(self._numbers))
        self._waiting[name] = take
        self._executor.submit(Job(name=name, function=function, argument=argument, seconds=seconds))
        return name

    def _heed(self, event: Event) -> None:
        match event:
            case Finished(name=name, result=outcome):
                self._worked += outcome.worked
                self._recent = self._recent.faded(_FADING) + outcome.worked
                take = self._waiting.pop(name, None)
                if take is not None:
                    take(outcome)
            case Failed(name=name, error=error):
                if self._waiting.pop(name, None) is not None:
                    raise CheckError(
                        f"a worker process died: it ran out of memory, or could not import what the teacher is made of "
                        f"({error}); nothing was written"
                    )
            case Progress():
                pass
            case _:
                pass


# The workers of this process: those of its own pools by token, and that of the latest task that it was sent.
_HERE: dict[bytes, Worker] = {}
_SENT: dict[bytes, Worker | Exception] = {}


def _worker(context: Context) -> Worker:
    shared = context.shared
    assert shared is not None, "a pool gives its workers a task"
    if shared in _HERE:
        return _HERE[shared]
    if shared not in _SENT:
        _SENT.clear()
        torch.set_num_threads(1)
        try:
            task, max_batch, checked = pickle.loads(shared)  # of this program's own main process
            _SENT[shared] = Worker(task, max_batch, checked=checked)
        except Exception as error:
            _SENT[shared] = error
    found = _SENT[shared]
    if isinstance(found, Exception):
        raise found
    return found


def _done(context: Context, work: Callable[[Worker], Any]) -> _Outcome:
    """Return what ``work`` comes to; its error is returned too, so that it reaches the main process."""
    watch = Stopwatch()
    try:
        worker = _worker(context)
        worker.stop_when(lambda: context.cancelled() or context.seconds_left() <= 0.0)
        return _Outcome(value=work(worker), worked=watch.worked)
    except Exception as error:
        return _Outcome(error=_portable(error), worked=watch.worked)


def _portable(error: Exception) -> Exception:
    """Return ``error``, or a RuntimeError with its text if it cannot be pickled and unpickled."""
    if isinstance(error, PrunekitError):
        return error
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _value_of(outcome: _Outcome) -> Any:
    if outcome.error is not None:
        raise outcome.error
    return outcome.value


def _play(argument: tuple[Policy, range, bool], context: Context) -> _Outcome:
    policy, seeds, selecting = argument
    return _done(context, lambda worker: worker.play(policy, seeds, selecting=selecting))


def _demonstrate(seeds: range, context: Context) -> _Outcome:
    return _done(context, lambda worker: worker.demonstrations(seeds))


def _advance(argument: tuple[Branch, RoundSettings], context: Context) -> _Outcome:
    return _done(context, lambda worker: advance(worker, *argument))
