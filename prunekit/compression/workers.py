"""Where episodes are played and branches go on: here, in processes of their own, or on a cluster, by an executor.

What comes out does not depend on how many workers there are, nor on where they are: an episode depends on its seed
alone, and a round of a branch on what the branch is when it begins.
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

# Episodes of one policy per job, and jobs of it per worker that are asked for before they are needed.
_EPISODES_PER_JOB, _JOBS_AHEAD = 4, 2
# What is left of earlier work, with every job, in what counts as the latest.
_FADING = 0.8
# Seconds between looks at what has happened.
_PATIENCE = 0.2


@final
@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """What a job came to: a value, or the error that it raised, in one piece."""

    worked: Worked
    value: Any = None
    error: Exception | None = None


@final
class WorkerPool:
    """Has ``slots`` workers of an executor work on ``task``. Use as a context manager; one thread uses it.

    ``engine`` and ``address`` are those of ``prunekit/executors``; None is the calling process for one worker, and
    processes for more. ``worker`` is the calling process's own place, where what is wrong with a teacher is said before
    anything begins. ``steps`` counts the steps of episodes that were asked for, once each, whoever played more;
    ``own_steps`` are those that were for no selection.
    """

    def __init__(
        self, task: Task, slots: int = 1, engine: str | None = None, address: str | None = None, max_batch: int = 16
    ) -> None:
        self._worked = self._recent = Worked()
        self.worker = Worker(task, max_batch)
        self.steps = self.own_steps = self.worker.own.steps  # where the deviation of the observations had to be known
        self._token = b""
        named = engine or ("serial" if slots == 1 else "processes")
        try:
            if named == "serial":
                self._token = uuid.uuid4().bytes
                _HERE[self._token] = self.worker
                self._executor: Executor = executor_named(named, 1, self._token)
            else:
                checked = named == "processes"  # here alone: other machines may have another EnvPool
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
        """Return the function from an episode's seed to the return of ``policy``; it raises FailedEpisodeError.

        Seeds that follow are played ahead, as they are likely to be asked for next. Episodes for ``selecting`` are
        those where students learn too.
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
        self, branch: Branch, settings: RoundSettings, take: Callable[[Round], object], seconds: float | None
    ) -> str:
        """Have ``branch`` go on by a round, in so many ``seconds``; ``wait`` gives it to ``take`` when it is over."""

        def taken(outcome: _Outcome) -> None:
            take(_value_of(outcome))

        return self._submit(_advance, (branch, settings), taken, seconds)

    def demonstrations(self, seeds: range) -> list[Any]:
        """Return what the teacher sees in the episodes of ``seeds``, [steps, obs] each; raises FailedEpisodeError."""
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
        """Say that a round is no longer wanted; what it has found is taken none the less."""
        self._executor.cancel(name)
        self._waiting.pop(name, None)

    def wait(self) -> None:
        """Wait until something happens, at most a moment; raises what a job raised, CheckError where a worker died."""
        for event in self._executor.events(_PATIENCE):
            self._heed(event)

    @property
    def core_share(self) -> float:
        """The share of a core that the workers had while they worked; 1 where nothing else wanted it."""
        worked = self._worked
        return worked.cpu_seconds / worked.seconds if worked.seconds else 1.0

    @property
    def recent_core_share(self) -> float:
        """The same of the latest work."""
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


# What this process works on: its own task by the executor's token, or the one that it was sent, the latest alone.
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
    """Return what ``work`` comes to; errors reach the main process in one piece."""
    watch = Stopwatch()
    try:
        worker = _worker(context)
        worker.stop_when(lambda: context.cancelled() or context.seconds_left() <= 0.0)
        return _Outcome(value=work(worker), worked=watch.worked)
    except Exception as error:
        return _Outcome(error=_portable(error), worked=watch.worked)


def _portable(error: Exception) -> Exception:
    """Return ``error``, or in words where it can be pickled, but not unpickled."""
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
