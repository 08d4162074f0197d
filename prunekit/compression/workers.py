"""Where episodes are played and branches are searched: here, or in processes of their own.

What comes out does not depend on how many there are: a branch and an episode depend on their seeds alone.
"""

from __future__ import annotations

import multiprocessing
import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from multiprocessing.connection import Connection
from multiprocessing.queues import SimpleQueue
from types import TracebackType
from typing import Any, Literal, TypeVar, final

import torch

from prunekit.compression.arena import Arena, runtime_of
from prunekit.compression.points import Baseline, Judged, Progress, Searched
from prunekit.compression.search import search_branch
from prunekit.compression.settings import SearchSettings
from prunekit.compression.teacher import Teacher
from prunekit.compression.worker_start import begin
from prunekit.environments import Spaces
from prunekit.errors import CheckError, PrunekitError
from prunekit.executors.starting import deaf_processes

T = TypeVar("T")
Policy = Literal["teacher", "random"] | bytes
"""Who plays: the teacher, the random policy, or an exported network."""

# Episodes asked for before they are needed, per worker.
_AHEAD = 2
# Seconds between looks at what the workers have judged.
_PATIENCE = 0.2


@final
@dataclass(frozen=True, kw_only=True)
class Site:
    """An environment and a teacher for it. For more than one worker ``teacher_of`` has to be picklable."""

    env_id: str
    teacher_of: Callable[[Spaces], Teacher]
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@final
@dataclass(frozen=True, kw_only=True)
class Worked:
    """How long something took by the clock, and how much of that the processor worked on it, in seconds."""

    cpu_seconds: float
    seconds: float

    def __add__(self, other: Worked) -> Worked:
        return Worked(cpu_seconds=self.cpu_seconds + other.cpu_seconds, seconds=self.seconds + other.seconds)


@final
class Crew:
    """Plays and searches with ``count`` workers. Use as a context manager."""

    def __init__(self, site: Site, count: int = 1) -> None:
        self.steps = 0
        self._worked = Worked(cpu_seconds=0.0, seconds=0.0)
        self.post = Post(site)  # here too: what is wrong with a teacher is said before anything is begun
        self._count = count
        self._pool: ProcessPoolExecutor | None = None
        # Every worker ends as soon as this is closed.
        self._ours: Connection | None = None
        context = multiprocessing.get_context("spawn")
        with deaf_processes():
            self._judged: SimpleQueue[bytes] = context.SimpleQueue()
        # No Event, whose lock would stay taken where a worker is killed while it looks.
        self._stopped = context.RawValue("b", 0)
        if count > 1:
            theirs, self._ours = context.Pipe(duplex=False)
            arguments = (pickle.dumps(site), self._judged, self._stopped, theirs)
            self._pool = ProcessPoolExecutor(count, context, begin, arguments)
            try:
                for _ in range(count):
                    with deaf_processes():
                        _submitted(self._pool, _ready)
            except BaseException as error:
                self._end(error)
                raise

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(error)
        self.post.arena.close()

    def _end(self, error: BaseException | None) -> None:
        self._stopped.value = 1  # a branch that is still searched ends at its next look
        if self._ours is not None and not isinstance(error, Exception | None):
            self._ours.close()  # at once, where this process was told to end
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        if self._ours is not None:
            self._ours.close()

    def returns_of(self, policy: Policy) -> Callable[[int], float]:
        """Return the function from an episode's seed to the return of ``policy``."""
        pool = self._pool
        if pool is None:
            return lambda seed: self._counted(_timed(lambda: self.post.play(policy, seed)))
        asked: dict[int, Future[tuple[tuple[float, int], Worked]]] = {}

        def returns(seed: int) -> float:
            for next_seed in range(seed, seed + _AHEAD * self._count):
                if next_seed not in asked:
                    asked[next_seed] = _submitted(pool, _play, policy, next_seed)
            return self._counted(_result(asked[seed]))

        return returns

    def search(
        self, settings: SearchSettings, baseline: Baseline, deadline: float, progress: Progress
    ) -> list[Searched]:
        """Return what all branches found, in the order of ``settings.starts``.

        ``deadline`` is in terms of ``time.monotonic``. Raises what the first branch that fails raises.
        """
        indices = range(len(settings.starts))
        if self._pool is None:
            found = []
            for index in indices:
                until = time.monotonic() + (deadline - time.monotonic()) / (len(indices) - index)
                over = _passed(until)
                found.append(_timed(lambda: self.post.search(settings, index, baseline, over, progress)))  # noqa: B023
        else:
            jobs = [_submitted(self._pool, _search, settings, index, baseline, deadline) for index in indices]
            pending = set(jobs)
            while pending or not self._judged.empty():
                while not self._judged.empty():
                    progress(pickle.loads(self._judged.get()))  # of this program's own worker
                done, pending = wait(pending, timeout=_PATIENCE, return_when=FIRST_COMPLETED)
                for job in done:
                    _result(job)
            found = [pickle.loads(_result(job)) for job in jobs]
        for branch, worked in found:
            self.steps += branch.steps
            self._worked += worked
        return [branch for branch, _ in found]

    @property
    def core_share(self) -> float:
        """The share of a core that the workers had while they worked; 1 where nothing else wanted it."""
        worked = self._worked
        return worked.cpu_seconds / worked.seconds if worked.seconds else 1.0

    def _counted(self, played: tuple[tuple[float, int], Worked]) -> float:
        (total, steps), worked = played
        self.steps += steps
        self._worked += worked
        return total


@final
class Post:
    """One place to play at: an environment and the teacher, and the policies that have played there."""

    def __init__(self, site: Site) -> None:
        self.arena = Arena(site.env_id, site.kwargs)
        self.teacher = site.teacher_of(self.arena.spaces)
        self._runtime = lru_cache(maxsize=8)(lambda content: runtime_of(content, self.arena.spaces))

    def play(self, policy: Policy, seed: int) -> tuple[float, int]:
        """Return (the return of one episode, its steps; of the random policy, which is not asked, none)."""
        if policy == "random":
            return self.arena.random(seed), 0
        act = self.teacher.act if policy == "teacher" else self._runtime(policy).act
        total, seen = self.arena.play(act, seed)
        return total, len(seen)

    def search(
        self,
        settings: SearchSettings,
        index: int,
        baseline: Baseline,
        over: Callable[[], bool],
        progress: Progress,
    ) -> Searched:
        """Return what one branch found."""
        return search_branch(self.teacher, self.arena, settings, index, baseline, over, progress)


def _timed(work: Callable[[], T]) -> tuple[T, Worked]:
    began, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, Worked(cpu_seconds=time.process_time() - cpu, seconds=time.perf_counter() - began)


def _passed(deadline: float) -> Callable[[], bool]:
    return lambda: time.monotonic() > deadline


def _submitted(pool: ProcessPoolExecutor, work: Callable[..., T], *arguments: object) -> Future[T]:
    with _telling_deaths():
        return pool.submit(work, *arguments)


def _result(job: Future[T]) -> T:
    with _telling_deaths():
        return job.result()


@contextmanager
def _telling_deaths() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise CheckError(
            "a worker process has died: for want of memory, or as it could not import what the teacher is made of; "
            "nothing was written"
        ) from error


@contextmanager
def _portable() -> Iterator[None]:
    """Raise what reaches the main process in one piece: there are errors that can be pickled, but not unpickled."""
    try:
        yield
    except PrunekitError:
        raise
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            raise RuntimeError(f"{type(error).__name__}: {error}") from error
        raise


# What a worker process has opened, or why it could not: set once, when it begins.
_OPENED: list[tuple[Post, SimpleQueue[bytes]] | Exception] = []


def open_post(site: Site, judged: SimpleQueue[bytes], stopped: Any) -> None:
    """Open what this worker process plays at; a failure is kept for its first work."""
    torch.set_num_threads(1)
    try:
        post = Post(site)
    except Exception as error:  # an initializer that raises would end the process without a word to the main one
        _OPENED.append(error)
        return
    post.arena.stopped = lambda: bool(stopped.value)
    _OPENED.append((post, judged))


def _opened() -> tuple[Post, SimpleQueue[bytes]]:
    found = _OPENED[0]
    if isinstance(found, Exception):
        raise found
    return found


def _ready() -> None:
    """Do nothing: a process begins with its first work."""


def _play(policy: Policy, seed: int) -> tuple[tuple[float, int], Worked]:
    with _portable():
        post, _ = _opened()
        return _timed(lambda: post.play(policy, seed))


def _search(settings: SearchSettings, index: int, baseline: Baseline, deadline: float) -> bytes:
    """Return what a branch found and how long it took, pickled here: torch would keep a file open for every tensor."""
    passed = _passed(deadline)
    with _portable():
        post, judged = _opened()

        def progress(point: Judged) -> None:
            judged.put(pickle.dumps(point))

        over = lambda: passed() or post.arena.stopped()  # noqa: E731
        return pickle.dumps(_timed(lambda: post.search(settings, index, baseline, over, progress)))
