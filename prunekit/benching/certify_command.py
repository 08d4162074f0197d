"""From the options of the command line to a certificate: two files, an environment, and the players."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, final

from prunekit.benching.certify import Certified, CertifySettings, NothingToKeepError, Play, Returns
from prunekit.benching.contest import Contest, disturbed, opened
from prunekit.benching.models import BenchModel, read_model
from prunekit.disturbances.ladder import Rung, climb
from prunekit.disturbances.record import Disturbance
from prunekit.environments import Spaces
from prunekit.errors import CheckError, FailedEpisodeError, InputError
from prunekit.executors import Context, Executor, Failed, Finished, Job
from prunekit.executors.processes import ProcessExecutor
from prunekit.export.quantize import Bits
from prunekit.readers.policy_file import PolicyOptions
from prunekit.readers.read import policy_kind
from prunekit.readers.zoo import env_advice
from prunekit.simulators.spec import environment_spec

MAX_WORKERS = 64
# The kinds of files that name an environment.
_NAMING = ("model", "onnx")
# Seeds asked for before they are needed, per worker.
_AHEAD = 2
_PATIENCE = 1.0
_DISTURBED = ExitStack()


@final
@dataclass(frozen=True, kw_only=True)
class Match:
    """The two policies' files, the options for reading them, the environment, and the bits of integers, if any.

    All policies play under ``disturbance``; ``deviation`` is that of the observations, if it is already known.
    """

    small: Path
    teacher: Path
    env: str | None = None
    options: PolicyOptions = field(default_factory=PolicyOptions)
    bits: Bits | None = None
    disturbance: Disturbance = field(default_factory=Disturbance)
    deviation: tuple[float, ...] | None = None


def certify_files(
    match: Match,
    settings: CertifySettings,
    *,
    workers: int = 1,
    progress: Callable[[str, int], None] = lambda *_: None,
) -> Certified:
    """Return the result of testing the policy in one file against that in another.

    With more than one of ``workers``, episodes are played in that many processes; the result is the same, unless the
    time runs out. Raises ArtifactError and InputError, naming the file, for files that cannot be read and policies that
    do not fit the environment, and FailedEpisodeError if it fails before the range is fixed.
    """
    if not 1 <= workers <= MAX_WORKERS:
        raise InputError(f"`workers` must be from 1 to {MAX_WORKERS}, got {workers}")
    contest = _opened(match)
    try:
        with (
            disturbed(contest, match.disturbance, match.deviation) as under,
            _playing(under, replace(match, deviation=under.deviation), workers) as play,
        ):
            return under.certified(play, settings, progress)
    finally:
        contest.episodes.close()


def certify_levels(
    match: Match,
    settings: CertifySettings,
    levels: Sequence[Disturbance],
    *,
    workers: int = 1,
    progress: Callable[[str, int], None] = lambda *_: None,
) -> list[Rung[Certified]]:
    """Return the results at each of ``levels`` in turn, up to the first at which the claim is not shown.

    Each level has the same ``settings`` and seeds. All shown claims hold together, at the level of one certificate
    (``disturbances/ladder.py``). The ladder also ends at a level, other than the first, at which the teacher earns no
    more than the random policy; that level has no result. Raises as ``certify_files`` does.
    """

    def test(disturbance: Disturbance) -> Certified | None:
        def told(what: str, count: int) -> None:
            progress(what if disturbance.is_none else f"{what} under {disturbance.words}", count)

        try:
            return certify_files(replace(match, disturbance=disturbance), settings, workers=workers, progress=told)
        except NothingToKeepError:
            if disturbance == levels[0]:
                raise
            return None

    return climb(levels, test)


def _opened(match: Match) -> Contest:
    def models_of(spaces: Spaces) -> tuple[BenchModel, BenchModel]:
        small, teacher = (read_model(path, match.options, spaces=spaces) for path in (match.small, match.teacher))
        return small, teacher

    spec = environment_spec(*_environment(match))
    return opened(spec, models_of, match.bits, as_read=match.options.output is not None)


def _environment(match: Match) -> tuple[str, Mapping[str, Any]]:
    """Return (id, arguments): as given, or as the files name them; files that name an environment must agree."""
    paths = (match.teacher, match.small)
    models = [read_model(path, match.options) for path in paths if policy_kind(path) in _NAMING]
    if match.env is not None:
        return match.env, next((own for model in models if (own := model.arguments_of(match.env)) is not None), {})
    named = [(model.path, found) for model in models if (found := model.environment) is not None]
    if not named:
        raise InputError(f"{match.teacher}: names no environment; {env_advice(match.teacher)}")
    if named[0][1] != named[-1][1]:
        raise InputError(
            f"{named[0][0]} was made for {named[0][1][0]}, but {named[-1][0]} for another environment; give one "
            "with `env`"
        )
    return named[0][1]


@contextmanager
def _playing(contest: Contest, match: Match, workers: int) -> Iterator[Play]:
    if workers == 1:
        yield contest.play()
        return
    with ProcessExecutor(workers, pickle.dumps(match)) as executor:
        yield _Ahead(executor, _AHEAD * workers)


@final
class _Ahead:
    """Plays episodes in the executor's workers, some seeds before they are needed."""

    def __init__(self, executor: Executor, ahead: int) -> None:
        self._executor, self._ahead = executor, ahead
        self._asked: set[str] = set()
        self._known: dict[str, list[float | str] | Failed] = {}

    def __call__(self, seed: int, count: int) -> Returns:
        """Return the returns of the first ``count`` of the three policies with this seed."""
        for later in range(seed, seed + self._ahead):
            name = f"{later}, {count}"
            if name not in self._asked:
                self._asked.add(name)
                self._executor.submit(Job(name=name, function=_played, argument=(later, count)))
        while (name := f"{seed}, {count}") not in self._known:
            for event in self._executor.events(_PATIENCE):
                match event:
                    case Finished():
                        self._known[event.name] = event.result
                    case Failed():  # of a seed that may never be asked about
                        self._known[event.name] = event
                    case _:
                        pass
        found = self._known.pop(name)
        if isinstance(found, Failed):
            raise CheckError(f"a worker could not play an episode: {found.error}")
        return tuple(FailedEpisodeError(entry) if isinstance(entry, str) else entry for entry in found)


def _played(argument: tuple[int, int], context: Context) -> list[float | str]:
    """Play in a worker; a failure is returned as text."""
    assert context.shared is not None
    found = _play_of(context.shared)(*argument)
    return [str(entry) if isinstance(entry, FailedEpisodeError) else entry for entry in found]


@lru_cache(maxsize=1)
def _play_of(packed: bytes) -> Play:
    match: Match = pickle.loads(packed)  # of this program's own main process
    # A worker ends with its process, and so does the disturbance.
    return _DISTURBED.enter_context(disturbed(_opened(match), match.disturbance, match.deviation)).play()
