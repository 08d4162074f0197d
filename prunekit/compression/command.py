"""From the words of the command line to a compression and its files."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

from prunekit.benching.models import read_model
from prunekit.compression.picture import PICTURES, draw
from prunekit.compression.read import read_teacher
from prunekit.compression.result import Compressed
from prunekit.compression.run import FILES, compress, write
from prunekit.compression.settings import CompressSettings, SearchSettings
from prunekit.compression.trial import CompressDisplay
from prunekit.compression.workers import Site
from prunekit.errors import InputError
from prunekit.files import held
from prunekit.formats.onnx_weights import weights_beside
from prunekit.outputs import require_apart
from prunekit.readers.normalizers import normalizers_near
from prunekit.readers.policy_file import PolicyOptions
from prunekit.readers.read import policy_kind
from prunekit.readers.registry import require_policy
from prunekit.stats.clipping import parse_range
from prunekit.temporaries import remove_left

_MAX_WORKERS = 8
# Where a policy goes that was not certified, in a folder of one that was.
_NOT_CERTIFIED = "not-certified"


@final
@dataclass(frozen=True, kw_only=True)
class CompressWords:
    """The arguments and options of ``prunekit compress`` as they were given."""

    teacher: Path
    env: str | None
    keep: float
    options: PolicyOptions
    tuning: bool
    minutes: float
    episodes: int
    seed: int
    out: Path | None
    json_file: Path | None = None
    clip_range: str | None = None
    max_failures: float | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came out, the files that were written, the ONNX file first, and what there is to say beside it."""

    result: Compressed
    paths: list[Path]
    notes: list[str]


def compress_file(words: CompressWords, display: CompressDisplay) -> Outcome:
    """Compress the policy in a file and write what came out, all but ``words.json_file``.

    A policy that was not certified never replaces one that was. Raises InputError, before anything is played, for words
    that do not fit.
    """
    search = SearchSettings(keep=words.keep, tuning=words.tuning, seed=words.seed)
    settings = CompressSettings(
        search=search,
        episodes=words.episodes,
        seconds=60.0 * words.minutes,
        clip_range=None if words.clip_range is None else parse_range(words.clip_range),
        max_failures=words.max_failures,
    )
    require_policy(words.teacher)
    folder = words.out or words.teacher.with_name(f"{words.teacher.stem}-compressed")
    _require_free(words, folder)
    env_id, kwargs = _environment(words)
    site = Site(env_id=env_id, teacher_of=partial(read_teacher, words.teacher, options=words.options), kwargs=kwargs)
    with held(folder, traceless=True):
        for path in _outputs(folder):
            remove_left(path)
            remove_left(path, old=True)
        result = compress(site, settings, [display], workers=workers_here())
        notes = [*result.teacher.notes, *result.failures, *([result.busy] if result.busy and result.certified else [])]
        if not result.certified and _certified_in(folder):
            notes.append(f"{folder} holds a policy that was certified, which stays")
            folder /= _NOT_CERTIFIED
        paths = write(result, folder)
        try:
            paths += draw(result, f"{env_id}: {words.teacher.name}", folder)
        except InputError as error:
            notes.append(str(error))
    return Outcome(result=result, paths=paths, notes=notes)


def _certified_in(folder: Path) -> bool:
    """Return whether ``folder`` holds a policy that was certified."""
    try:
        found = json.loads((folder / "certificate.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("certified") is True


def _require_free(words: CompressWords, folder: Path) -> None:
    """Raise InputError where something cannot be written, or would replace what is read."""
    if folder.is_symlink() and not folder.exists():
        raise InputError(f"{folder}: is a link to a folder that there is not; make it, or name another with `out`")
    beside = (*normalizers_near(words.teacher), *weights_beside(words.teacher))
    read = [words.teacher, words.options.normalizer, *beside]
    require_apart(read, [*_outputs(folder), folder / ".lock"], words.json_file)


def _outputs(folder: Path) -> list[Path]:
    """Return all files that may be written."""
    return [place / name for place in (folder, folder / _NOT_CERTIFIED) for name in (*FILES, *PICTURES)]


def workers_here() -> int:
    """Return how many worker processes there are to be: one per core that this process may use, eight at most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MAX_WORKERS)


def _environment(words: CompressWords) -> tuple[str, dict[str, Any]]:
    """Return (id, arguments) of the environment, from the file where the words name none."""
    path = words.teacher
    readable = policy_kind(path) in ("model", "onnx")  # no others name an environment
    if words.env is not None:
        return words.env, (read_model(path).arguments_of(words.env) or {}) if readable else {}
    named = read_model(path).environment if readable else None
    if named is None:
        raise InputError(f"{path}: names no environment; give one with `env`")
    return named
