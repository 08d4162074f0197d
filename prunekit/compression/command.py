"""``prunekit compress``: from the options of the command line to a compression and its files."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, final

from prunekit.benching.models import read_model
from prunekit.cards.card import README
from prunekit.compression.picture import PICTURES, draw
from prunekit.compression.read import read_teacher
from prunekit.compression.result import Compressed
from prunekit.compression.run import FILES, compress, write
from prunekit.compression.settings import CompressSettings, SearchSettings
from prunekit.compression.task import Task
from prunekit.compression.trial import CompressDisplay
from prunekit.disturbances.record import Disturbance
from prunekit.errors import InputError
from prunekit.executors import ENGINES
from prunekit.files import held
from prunekit.outputs import require_apart, require_not_foreign
from prunekit.readers.normalizers import files_beside
from prunekit.readers.policy_file import PolicyOptions
from prunekit.readers.read import policy_kind
from prunekit.readers.registry import require_policy
from prunekit.readers.zoo import env_advice
from prunekit.stats.clipping import parse_range
from prunekit.temporaries import remove_left

_MAX_WORKERS = 8
# In the folder of a certified policy, one that was not certified goes into this folder.
_NOT_CERTIFIED = "not-certified"


@final
@dataclass(frozen=True, kw_only=True)
class CompressOptions:
    """The arguments and options that ``prunekit compress`` was given.

    ``randomize`` is the file that the randomization in ``disturbance`` was read from.
    """

    teacher: Path
    env: str | None
    keep: float
    policy: PolicyOptions
    tuning: bool
    minutes: float
    episodes: int
    seed: int
    out: Path | None
    json_file: Path | None = None
    clip_range: str | None = None
    max_failures: float | None = None
    steps: int | None = None
    engine: str | None = None
    address: str | None = None
    fast: bool = False
    disturbance: Disturbance = field(default_factory=Disturbance)
    randomize: Path | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result, the files that were written (the ONNX file first), and notes for the user."""

    result: Compressed
    paths: list[Path]
    notes: list[str]


def compress_file(options: CompressOptions, display: CompressDisplay) -> Outcome:
    """Compress the policy in a file, and write all files of the result except ``options.json_file``.

    A policy that was not certified never replaces a certified one. Raises InputError, before anything is played, for
    options that do not fit together or the file.
    """
    search = SearchSettings(keep=options.keep, tuning=options.tuning, seed=options.seed)
    settings = CompressSettings(
        search=search,
        episodes=options.episodes,
        seconds=60.0 * options.minutes,
        clip_range=None if options.clip_range is None else parse_range(options.clip_range),
        max_failures=options.max_failures,
        steps=options.steps,
        disturbance=options.disturbance,
    )
    slots = _slots(options)
    require_policy(options.teacher)
    folder = _folder(options)
    _require_free(options, folder)
    env_id, kwargs = _environment(options)
    teacher_of = partial(read_teacher, options.teacher, options=options.policy)
    task = Task(env_id=env_id, teacher_of=teacher_of, kwargs=kwargs, fast=options.fast)
    with held(folder, traceless=True):
        for path in _outputs(folder):
            remove_left(path)
            remove_left(path, old=True)
        result = compress(task, settings, [display], workers=slots, engine=options.engine, address=options.address)
        notes = [*result.teacher.notes, *result.failures, *([result.busy] if result.busy else [])]
        if not result.certified and _certified_in(folder):
            notes.append(f"{folder} holds a certified policy, which was not replaced")
            folder /= _NOT_CERTIFIED
        paths = write(result, folder)
        if folder / README not in paths:
            notes.append(f"{folder / README} is not a card of prunekit: it was kept, and no card was written")
        try:
            paths += draw(result, f"{env_id}: {options.teacher.name}", folder)
        except InputError as error:
            notes.append(str(error))
    return Outcome(result=result, paths=paths, notes=notes)


def certificates_of(options: CompressOptions) -> list[int]:
    """Return when the certificates in the folder of ``options`` were written, in nanoseconds; those that are there.

    Options are not checked yet: what names no folder has no certificate.
    """
    try:
        paths = [place / "certificate.json" for place in (_folder(options), _folder(options) / _NOT_CERTIFIED)]
        return [path.stat().st_mtime_ns for path in paths if path.is_file()]
    except (OSError, ValueError):
        return []


def _folder(options: CompressOptions) -> Path:
    return options.out or options.teacher.with_name(f"{options.teacher.stem}-compressed")


def _certified_in(folder: Path) -> bool:
    """Return whether ``folder`` holds a certified policy."""
    try:
        found = json.loads((folder / "certificate.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("certified") is True


def _require_free(options: CompressOptions, folder: Path) -> None:
    """Raise InputError if a file could not be written, or would replace one that is read."""
    if folder.is_symlink() and not folder.exists():
        raise InputError(f"{folder}: is a link to a folder that does not exist; create it, or name another with `out`")
    read = [options.teacher, options.policy.normalizer, options.randomize, *files_beside(options.teacher)]
    require_apart(read, [*_outputs(folder), folder / ".lock"], options.json_file)
    for place in (folder, folder / _NOT_CERTIFIED):
        require_not_foreign(place / name for name in (*FILES, *PICTURES) if name != README)  # a foreign card is kept


def _outputs(folder: Path) -> list[Path]:
    """Return every file that may be written to ``folder``."""
    return [place / name for place in (folder, folder / _NOT_CERTIFIED) for name in (*FILES, *PICTURES)]


def _slots(options: CompressOptions) -> int:
    """Return the number of workers; raises InputError if ``engine`` or ``address`` cannot be used."""
    if options.engine is not None and options.engine not in ENGINES:
        raise InputError(f"`engine` {options.engine} is unknown; choose one of {', '.join(ENGINES)}")
    if options.address is not None and options.engine != "ray":
        raise InputError("`address` needs `engine` ray")
    return 1 if options.engine == "serial" else workers_here()


def workers_here() -> int:
    """Return the number of worker processes: one per core that this process may use, at most eight."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MAX_WORKERS)


def _environment(options: CompressOptions) -> tuple[str, dict[str, Any]]:
    """Return (id, arguments) of the environment that the options name, or else the file."""
    path = options.teacher
    readable = policy_kind(path) in ("model", "onnx")  # no others name an environment
    if options.env is not None:
        return options.env, (read_model(path).arguments_of(options.env) or {}) if readable else {}
    named = read_model(path).environment if readable else None
    if named is None:
        raise InputError(f"{path}: names no environment; {env_advice(path)}")
    return named
