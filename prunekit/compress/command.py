"""From the words of the command line to a compression and its files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

from prunekit.bench.models import read_model
from prunekit.compress.picture import draw
from prunekit.compress.read import Reading, read_teacher
from prunekit.compress.run import Compressed, compress, write
from prunekit.compress.settings import CompressSettings, SearchSettings
from prunekit.compress.torchscript import is_torchscript
from prunekit.compress.trial import CompressDisplay
from prunekit.compress.workers import Site
from prunekit.errors import InputError
from prunekit.files import require_file, require_writable

_MOST_WORKERS = 8


@final
@dataclass(frozen=True)
class CompressWords:
    """The arguments and options of ``prunekit compress`` as they were given."""

    teacher: Path
    env: str | None
    keep: float
    normalizer: Path | None
    no_normalizer: bool
    target: str | None
    tuning: bool
    minutes: float
    episodes: int
    seed: int
    out: Path | None


def compress_file(words: CompressWords, display: CompressDisplay) -> tuple[Compressed, list[Path]]:
    """Compress the policy in a file and write what came out; return it and the paths, the ONNX file's first.

    Raises InputError, before anything is played, for words that do not fit.
    """
    search = SearchSettings(words.keep, tuning=words.tuning, seed=words.seed)
    settings = CompressSettings(search, words.episodes, seconds=60.0 * words.minutes)
    reading = Reading(words.normalizer, words.no_normalizer, words.target)
    require_file(words.teacher)
    folder = words.out or words.teacher.with_name(f"{words.teacher.stem}-compressed")
    require_writable(folder / "policy.onnx")
    env_id, kwargs = _environment(words)
    site = Site(env_id, partial(read_teacher, words.teacher, reading=reading), kwargs)
    result = compress(site, settings, [display], workers=workers_here())
    return result, write(result, folder) + draw(result, f"{env_id}: {words.teacher.name}", folder)


def workers_here() -> int:
    """Return how many worker processes there are to be: one per core that this process may use, eight at most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MOST_WORKERS)


def _environment(words: CompressWords) -> tuple[str, dict[str, Any]]:
    """Return (id, arguments) of the environment, from the file where the words name none."""
    path = words.teacher
    readable = path.suffix == ".onnx" or (path.suffix == ".pt" and not is_torchscript(path))
    if words.env is not None:
        return words.env, (read_model(path).arguments_of(words.env) or {}) if readable else {}
    named = read_model(path).environment if readable else None
    if named is None:
        raise InputError(f"{path}: names no environment; give one with --env")
    return named
