"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, final

from prunekit.errors import ArtifactError, InputError
from prunekit.temporaries import LOCKS, create, names_beside, open_held, remove_left

RUNS = Path("runs")
"""Where ``train`` puts runs that were given no folder, relative to the working directory."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def read_toml(path: Path) -> dict[str, Any]:
    """Return what the TOML file ``path`` holds.

    Raises ArtifactError unless it is a file, and InputError, naming it, for anything but TOML.
    """
    require_file(path)
    try:
        return tomllib.loads(path.read_bytes().decode())
    except (ValueError, RecursionError) as error:  # of TOML, of UTF-8, of numbers with thousands of digits
        raise InputError(f"{path}: is not TOML ({error})") from error


def require_file(path: Path) -> None:
    """Raise ArtifactError, naming ``path``, unless it is a file."""
    try:
        found = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ArtifactError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:  # a loop of links, a name that is too long or holds NUL, a closed folder
        raise ArtifactError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if stat.S_ISDIR(found):
        raise ArtifactError(f"{path}: is a folder; name the model file in it")
    if not stat.S_ISREG(found):
        raise ArtifactError(f"{path}: is not a regular file; name a model file")
    if not os.access(path, os.R_OK):
        raise ArtifactError(f"{path}: cannot be read ({os.strerror(errno.EACCES)})")


def require_writable(path: Path) -> None:
    """Raise InputError, naming ``path``, where ``write_atomically`` could not write; leaves nothing behind."""
    try:
        if is_written_into(path):
            refusal = errno.ENXIO if path.is_socket() else 0 if os.access(path, os.W_OK) else errno.EACCES
            if refusal:
                raise OSError(refusal, os.strerror(refusal))
            return
        if not path.is_dir():
            nearest = next(parent for parent in _behind_links(path).absolute().parents if parent.exists())
            with tempfile.TemporaryFile(dir=nearest):
                pass
            return
    except OSError as error:
        raise unwritable(path, error) from error
    raise InputError(f"{path}: is a folder; name a file in it")


def unwritable(path: Path, error: OSError) -> InputError:
    """Return the error that says why ``path`` cannot be written, and what to do."""
    remedy = "the disk is full, make room on it" if error.errno in _FULL else "name another place"
    return InputError(f"{path}: cannot be written ({error.strerror or error}); {remedy}")


@contextmanager
def held(folder: Path, *, traceless: bool = False) -> Iterator[None]:
    """Hold ``folder``, made where it is missing, against other processes for a while.

    The system lets go of it when the process ends, however it ends. Afterwards the file ``.lock`` stays there; if
    ``traceless`` it goes, and so do folders that were made here and are empty. Raises InputError where another process
    holds the folder.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock")
    missing = list(takewhile(lambda path: not path.exists(), (folder, *folder.parents)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(f"{folder}: another process is working in it; wait until it ends, or name another") from error
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        yield
    finally:
        for path in (folder / ".lock", *missing) if traceless else ():
            _discard(path)  # while it is held: who waits for a lock that was removed sees that, and makes a new one
        lock.release()


def is_exactly(value: object, wanted: str | int) -> bool:
    """Return whether ``value``, read from a file, is ``wanted``, of the same type too (1 is not True)."""
    return type(value) is type(wanted) and value == wanted


def json_text(value: object, called: str) -> str:
    """Return ``value`` as JSON with sorted keys; raises InputError, naming ``called``, for what JSON cannot hold."""
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"{called} is not plain JSON data ({error})") from error


def write_atomically(path: Path, content: bytes, mode: int | None = None) -> None:
    """Write ``content`` to ``path``, whole or not at all: ``write_together`` of one file."""
    write_together({path: content}, mode)


def write_together(files: Mapping[Path, bytes], mode: int | None = None) -> None:
    """Write ``files``, all of them or none, each through a temporary file in its own folder and a rename.

    Nothing is renamed before every content is on the disk. Where a rename fails, or Ctrl-C comes between two, what
    stood there before is put back. No system renames two files at once, so the last file of a set is moved away first
    and comes last: a process that is killed in between leaves a set without it, never parts of two sets that look
    whole. Name last the file without which the others are of no use. A single file is replaced in one step.

    A link stays, and the file that it leads to is written; a device or a pipe is no file and is written into.
    A new file has the permissions that the umask leaves (the system applies it, as a process can only read it by
    changing it for all of its threads), a replaced one keeps its own; ``mode`` stands for both.
    Raises InputError, naming the path, where one cannot be written; no temporary file is left. Those that a killed
    process has left of the same files are removed.
    """
    staged: list[_Staged] = []
    made: list[Path] = []
    path = Path()
    with ExitStack() as holds:
        try:
            for path, content in files.items():
                if not is_written_into(path):
                    staged.append(_stage(path, mode, made))
                    _fill(staged[-1], content, holds)
            for path, content in files.items():
                if is_written_into(path):
                    with path.open("ab") as stream:
                        stream.write(content)
            _put(staged, holds)
        except BaseException as error:
            for folder in reversed(made):
                _discard(folder)
            if isinstance(error, OSError):
                raise unwritable(path, error) from error
            raise
        finally:
            for entry in staged:
                if os.path.lexists(entry.target):  # else the file aside is all that is left of it
                    _discard(entry.aside)
    for entry in staged:
        remove_left(entry.target, old=True)


@final
@dataclass(frozen=True, kw_only=True)
class _Staged:
    """A file to be: ``temporary`` becomes ``target``, which ``path`` leads to; what stood there waits ``aside``."""

    path: Path
    target: Path
    temporary: Path
    aside: Path
    mode: int | None


def _stage(path: Path, mode: int | None, made: list[Path]) -> _Staged:
    """Return what is to be done for ``path``; its folder is made, and what is new about that added to ``made``."""
    target = _behind_links(path)
    missing = list(takewhile(lambda folder: not folder.exists(), target.parents))
    made += reversed(missing)
    target.parent.mkdir(parents=True, exist_ok=True)
    if mode is None and target.is_file():
        mode = target.stat().st_mode & 0o777
    remove_left(target)
    temporary, aside = names_beside(target)
    made.append(temporary)
    return _Staged(path=path, target=target, temporary=temporary, aside=aside, mode=mode)


def _fill(entry: _Staged, content: bytes, holds: ExitStack) -> None:
    descriptor = create(entry.temporary, 0o666 if entry.mode is None else entry.mode)
    with ExitStack() as closing:
        closing.callback(os.close, descriptor)
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            if entry.mode is not None and os.fstat(descriptor).st_mode & 0o777 != entry.mode:
                os.chmod(descriptor if os.chmod in os.supports_fd else entry.temporary, entry.mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        if LOCKS:  # elsewhere an open file cannot be renamed
            holds.enter_context(closing.pop_all())


def _put(staged: Sequence[_Staged], holds: ExitStack) -> None:
    """Rename all of ``staged``; where one fails, put back what stood there and raise InputError, naming it."""
    alone = len(staged) == 1
    entry = None
    try:
        for entry in () if alone else staged:
            _set_aside(entry, holds, moved=entry is staged[-1])
        for entry in staged:
            entry.temporary.replace(entry.target)
    except BaseException as error:
        for done in () if alone else staged:
            with suppress(OSError):
                _put_back(done)
        if isinstance(error, OSError) and entry is not None:
            raise unwritable(entry.path, error) from error
        raise


def _set_aside(entry: _Staged, holds: ExitStack, *, moved: bool) -> None:
    """Keep what stands at the target, if anything does, in a second place too, or there alone if ``moved``."""
    if not os.path.lexists(entry.target):
        return
    if entry.target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    _hold(entry.target, holds)  # before it is aside, where another process would take it for left behind
    if moved:
        entry.target.replace(entry.aside)
        return
    try:
        entry.aside.hardlink_to(entry.target)
    except OSError:  # not every file system has hard links
        shutil.copy2(entry.target, entry.aside)
        _hold(entry.aside, holds)


def _hold(path: Path, holds: ExitStack) -> None:
    descriptor = open_held(path)
    if descriptor is not None:
        holds.callback(os.close, descriptor)


def _put_back(entry: _Staged) -> None:
    if entry.aside.exists():
        entry.aside.replace(entry.target)
        _discard(entry.aside)  # a rename onto another link of the same file does nothing
    elif not entry.temporary.exists():  # it was put where nothing stood
        entry.target.unlink(missing_ok=True)


def _discard(path: Path) -> None:
    """Remove a file, or a folder if it is empty; what is not there, or cannot be removed, is left."""
    with suppress(OSError):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()


def is_written_into(path: Path) -> bool:
    """Return whether a device, a pipe or a socket stands at ``path`` or where its links lead.

    So does a stream that another program opened, which may be a file: /dev/stdout.
    """
    opened = path.absolute().is_relative_to("/dev") or path.absolute().is_relative_to("/proc")
    return path.exists() and not path.is_dir() and (opened or not path.is_file())


def _behind_links(path: Path) -> Path:
    return Path(os.path.realpath(path)) if path.is_symlink() else path
