"""A sweep's folder at an fsspec address (s3://..., gs://..., file:///...), which every machine can reach.

Work is done in a local folder. What it needs is fetched first, and its files are uploaded at every checkpoint and at
the end, so another machine can continue.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, assert_never, final

from prunekit.errors import InputError
from prunekit.sweep.work import RESULT, RUN, CellWork, Context, RandomWork, TrunkWork, run_cell, run_random, run_trunk
from prunekit.training.branch import metrics_beside

Work = CellWork | TrunkWork | RandomWork
FUNCTIONS: dict[type[Work], Callable[[Any, Any], Any]] = {
    CellWork: run_cell,
    TrunkWork: run_trunk,
    RandomWork: run_random,
}
"""What does the work of each kind."""
_LAST = {RESULT, "config.json"}
"""Files by which something is known to be whole, or begun: they are put when the others are there."""


def is_address(out: str) -> bool:
    """Return whether ``out`` is an fsspec address and not a path."""
    return "://" in out


@final
@dataclass(frozen=True, kw_only=True)
class Mirror:
    """A local folder ``root`` with the content of ``address``, as far as it has been fetched or uploaded."""

    address: str
    root: Path

    def fetch(self, place: Path) -> None:
        """Download the files at and below ``place``, a path in ``root``."""
        system, base = _opened(self.address)
        there = self._there(base, place)
        for found in system.find(there):
            here = self.root / found[len(base) :].lstrip("/")
            if ".." in here.parts:
                raise InputError(f"{self.address}: holds '{found}', which lies outside of it; name another with `out`")
            here.parent.mkdir(parents=True, exist_ok=True)
            system.get_file(found, str(here))

    def put(self, place: Path) -> None:
        """Upload the files at and below ``place``, and remove checkpoints from the address that are gone here."""
        system, base = _opened(self.address)
        files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
        kept = [path for path in files if not path.name.startswith(".")]
        for path in sorted(kept, key=lambda path: (path.name in _LAST, path)):
            target = self._there(base, path)
            system.makedirs(target.rpartition("/")[0], exist_ok=True)
            system.put_file(str(path), target)
        names = {self._there(base, path) for path in kept}
        for found in system.find(self._there(base, place / RUN / "checkpoint")):
            if found not in names:
                system.rm_file(found)

    def remove(self, place: Path) -> None:
        """Remove everything at and below ``place`` from the address."""
        system, base = _opened(self.address)
        there = self._there(base, place)
        if system.exists(there):
            system.rm(there, recursive=True)

    def _there(self, base: str, place: Path) -> str:
        relative = place.relative_to(self.root).as_posix()
        return base if relative == "." else f"{base}/{relative}"


@final
@dataclass(frozen=True, kw_only=True)
class MirroredWork:
    """A ``work`` with paths in ``root``, whose content is at ``address``."""

    work: Work
    root: Path
    address: str


def run_mirrored(mirrored: MirroredWork, context: Context) -> Any:
    """Run a work in a temporary local folder, and return its result with paths in the work's own folder."""
    with tempfile.TemporaryDirectory(prefix="prunekit-sweep-") as local:
        mirror = Mirror(address=mirrored.address, root=Path(local))
        work = moved(mirrored.work, mirrored.root, mirror.root)
        for place in needed(work):
            mirror.fetch(place)
        putting = _Putting(context, mirror, work)
        try:
            return FUNCTIONS[type(work)](work, putting)
        finally:
            mirror.put(place_of(work))


def needed(work: Work) -> list[Path]:
    """Return the files and folders that a work reads, including its own."""
    own = [place_of(work)]
    if isinstance(work, CellWork):
        own += [] if work.teacher is None else [work.teacher]
        own += [] if work.trunk is None else [work.trunk, metrics_beside(work.trunk)]
    return own


def place_of(work: Work) -> Path:
    """Return the file or folder that a work writes."""
    return work.file if isinstance(work, RandomWork) else work.folder


def moved(work: Work, before: Path, now: Path) -> Work:
    """Return ``work`` with its paths moved from the folder ``before`` to ``now``."""

    def there(path: Path) -> Path:
        return now / path.relative_to(before)

    match work:
        case CellWork():
            teacher = None if work.teacher is None else there(work.teacher)
            trunk = None if work.trunk is None else there(work.trunk)
            return replace(work, folder=there(work.folder), teacher=teacher, trunk=trunk)
        case TrunkWork():
            return replace(work, folder=there(work.folder))
        case RandomWork():
            return replace(work, file=there(work.file))
        case _:
            assert_never(work)


@final
class _Putting:
    """Uploads a run's files whenever there is a new checkpoint; forwards all events."""

    def __init__(self, context: Context, mirror: Mirror, work: Work) -> None:
        self._context, self._mirror, self._place = context, mirror, place_of(work)
        self._known: Sequence[Path] = ()

    def report(self, event: Any) -> None:
        """Forward ``event``."""
        found = sorted((self._place / RUN / "checkpoint").glob("[0-9]*.pt")) if self._place.is_dir() else []
        if found and found != self._known:
            self._known = found
            with suppress(OSError):  # the next upload, or the final one, includes it
                self._mirror.put(self._place)
        self._context.report(event)


def _opened(address: str) -> tuple[Any, str]:
    """Return (the file system, the path in it); raises InputError, naming the address, if it cannot be used."""
    try:
        import fsspec
    except ImportError as error:
        raise InputError(f"{address}: needs fsspec; install it with pip install 'prunekit[ray]'") from error
    try:
        system, base = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise InputError(f"{address}: cannot be used ({error}); name a folder or another address with `out`") from error
    return system, str(base).rstrip("/")
