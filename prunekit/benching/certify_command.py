"""From the words of the command line to a certificate: two files, an environment, and who plays in it."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, final

from prunekit.benching.certify import Certified, CertifySettings, Play, Returns, certified
from prunekit.benching.host import host_facts
from prunekit.benching.models import BenchModel, read_model
from prunekit.benching.players import episodes_of, graph_in, integer_player, player_of
from prunekit.errors import CheckError, FailedEpisodeError, InputError
from prunekit.executors import Context, Executor, Failed, Finished, Job
from prunekit.executors.processes import ProcessExecutor
from prunekit.export.quantize import Bits
from prunekit.export.recording import recorded_observations
from prunekit.policy.sizes import sizes_of
from prunekit.readers.policy_file import PolicyOptions
from prunekit.readers.read import policy_kind
from prunekit.simulators.spec import environment_spec

MAX_WORKERS = 64
# The kinds of files that name an environment.
_NAMING = ("model", "onnx")
# Episodes from which the ranges of integers are taken, as many as ``export --int8`` records.
_RECORDED = 5
# Seeds asked for before they are needed, per worker.
_AHEAD = 2
_PATIENCE = 1.0


@final
@dataclass(frozen=True, kw_only=True)
class Match:
    """Who plays: the files of both policies, what they do not say, the environment, and the bits of integers if any."""

    small: Path
    teacher: Path
    env: str | None = None
    options: PolicyOptions = field(default_factory=PolicyOptions)
    bits: Bits | None = None


def certify_files(
    match: Match,
    settings: CertifySettings,
    *,
    workers: int = 1,
    progress: Callable[[str, int], None] = lambda *_: None,
) -> Certified:
    """Return what fresh episodes show of the policy in a file, beside that in another.

    With more than one of ``workers`` the episodes are played in as many processes; what comes out is the same, unless
    the time runs out. Raises ArtifactError and InputError, naming the file, for files that are not read and policies
    that do not fit the environment; FailedEpisodeError where it fails before the range is fixed.
    """
    if not 1 <= workers <= MAX_WORKERS:
        raise InputError(f"`workers` must be from 1 to {MAX_WORKERS}, got {workers}")
    table = _Table(match)
    try:
        with _playing(table, match, workers) as play:
            found = certified(
                play, (table.small.name, table.teacher.name), settings, form=table.small.form, progress=progress
            )
        return replace(found, facts=table.facts())
    finally:
        table.episodes.close()


@final
class _Table:
    """The two policies opened, in their environment."""

    def __init__(self, match: Match) -> None:
        spec = environment_spec(*_environment(match))
        self.episodes = spec.episodes()
        try:
            spaces = self.episodes.spaces
            paths = (match.small, match.teacher)
            small, teacher = (read_model(path, match.options, spaces=spaces) for path in paths)
            as_read = match.options.output is not None
            self.teacher = player_of(teacher, spaces, as_read=as_read)
            if match.bits is None:
                self.small = player_of(small, spaces, as_read=as_read)
            else:
                graph = graph_in(small, spaces, "has no integer form")
                seen = recorded_observations(graph, spec.single, spec.kwargs, _RECORDED)
                self.small = integer_player(graph, str(small.path), spaces, seen, match.bits)
        except BaseException:
            self.episodes.close()
            raise
        self._models, self._kwargs = (small, teacher), spec.kwargs
        self.play = episodes_of(self.episodes, self.teacher, self.small)

    def facts(self) -> dict[str, Any]:
        """Return what there is to say of the policies, the environment and this machine."""
        small, teacher = (_sizes(model) for model in self._models)
        return {
            "sizes": {"small": small, "teacher": teacher},
            "env": {"id": self.episodes.name, "kwargs": dict(self._kwargs), "seeds": self.episodes.seeding.value},
            "host": host_facts(self.episodes.registered),
        }


def _sizes(model: BenchModel) -> dict[str, Any]:
    if model.graph is None:
        return {"hidden": list(model.hidden), "parameters": model.parameters}
    counted = sizes_of(model.graph)
    return {"hidden": list(counted.hidden), "parameters": counted.parameters}


def _environment(match: Match) -> tuple[str, Mapping[str, Any]]:
    """Return (id, arguments): as given, or as the files name it; both have to name one that name any."""
    paths = (match.teacher, match.small)
    models = [read_model(path, match.options) for path in paths if policy_kind(path) in _NAMING]
    if match.env is not None:
        return match.env, next((own for model in models if (own := model.arguments_of(match.env)) is not None), {})
    named = [(model.path, found) for model in models if (found := model.environment) is not None]
    if not named:
        raise InputError(f"{match.teacher}: names no environment; give one with `env`")
    if named[0][1] != named[-1][1]:
        raise InputError(
            f"{named[0][0]} is of {named[0][1][0]}, but {named[-1][0]} of another environment; give one with `env`"
        )
    return named[0][1]


@contextmanager
def _playing(table: _Table, match: Match, workers: int) -> Iterator[Play]:
    if workers == 1:
        yield table.play
        return
    with ProcessExecutor(workers, pickle.dumps(match)) as executor:
        yield _Ahead(executor, _AHEAD * workers)


@final
class _Ahead:
    """Plays in the executor's workers, some seeds before they are asked for."""

    def __init__(self, executor: Executor, ahead: int) -> None:
        self._executor, self._ahead = executor, ahead
        self._asked: set[str] = set()
        self._known: dict[str, Any] = {}

    def __call__(self, seed: int, count: int) -> Returns:
        """Return what the seed brings, played by ``count`` of the three."""
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
                    case Failed():
                        raise CheckError(f"a worker could not play an episode: {event.error}")
                    case _:
                        pass
        found = self._known.pop(name)
        return tuple(FailedEpisodeError(entry) if isinstance(entry, str) else entry for entry in found)


def _played(argument: tuple[int, int], context: Context) -> list[float | str]:
    """Play in a worker; what failed is sent in words."""
    assert context.shared is not None
    found = _opened(context.shared).play(*argument)
    return [str(entry) if isinstance(entry, FailedEpisodeError) else entry for entry in found]


@lru_cache(maxsize=1)
def _opened(packed: bytes) -> _Table:
    return _Table(pickle.loads(packed))  # of this program's own main process
