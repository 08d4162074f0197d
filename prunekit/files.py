"""Atomic writing of files, so a reader never sees an incomplete one."""

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
    """Return the content of the TOML file ``path``.

    Raises ArtifactError if it is not a file, and InputError, naming it, if it is not TOML.
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
    """Raise InputError, naming ``path``, if ``write_atomically`` could not write it; leaves nothing behind."""
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
    """Return an error that says why ``path`` cannot be written, and what to do."""
    remedy = "the disk is full, make room on it" if error.errno in _FULL else "name another place"
    return InputError(f"{path}: cannot be written ({error.strerror or error}); {remedy}")


@contextmanager
def held(folder: Path, *, traceless: bool = False) -> Iterator[None]:
    """Lock ``folder`` against other processes inside the context; it is created if missing.

    The system releases the lock when the process ends in any way. Afterwards the file ``.lock`` remains. With
    ``traceless`` it is removed, together with empty folders that were created here. Raises InputError if another
    process holds the lock.
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
    """Return whether ``value``, read from a file, equals ``wanted`` and has the same type (1 is not True)."""
    return type(value) is type(wanted) and value == wanted


def json_text(value: object, called: str) -> str:
    """Return ``value`` as JSON with sorted keys; raises InputError, naming ``called``, if JSON cannot represent it."""
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"{called} is not plain JSON data ({error})") from error


def write_atomically(path: Path, content: bytes, mode: int | None = None) -> None:
    """Write ``content`` to ``path`` completely or not at all: ``write_together`` with one file."""
    write_together({path: content}, mode)


def write_together(files: Mapping[Path, bytes], mode: int | None = None) -> None:
    """Write all of ``files`` or none, each through a temporary file in its own folder and a rename.

    Nothing is renamed before all contents are on disk. If a rename fails, or Ctrl-C comes between two, the previous
    files are restored. No system renames two files at once. So the previous version of the last file is moved away
    first, and its new version comes last: a process that is killed in between leaves a set without it, never a mixture
    of two sets that looks complete. Name last the file without which the others are useless. A single file is replaced
    in one step.

    A link is kept, and the file that it points to is written. A device or a pipe is written into. A new file has the
    permissions that the umask leaves. (The system applies it, because a process can only read the umask by changing it
    for all its threads.) A replaced file keeps its own permissions. ``mode`` overrides both. Raises InputError, naming
    the path, if one cannot be written; no temporary file is left. Temporary files of the same names that a killed
    process left are removed.
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
    """A file to be written: ``temporary`` becomes ``target``, to which ``path`` leads; the previous file is kept
    ``aside``.
    """

    path: Path
    target: Path
    temporary: Path
    aside: Path
    mode: int | None


def _stage(path: Path, mode: int | None, made: list[Path]) -> _Staged:
    """Return the staged file for ``path``; its folder is created, and new folders are added to ``made``."""
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
    """Rename all ``staged`` files; if one fails, restore the previous files and raise InputError, naming it."""
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
    """Keep the previous target, if any, in a second place too, or only there if ``moved``."""
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
    """Remove a file or an empty folder; ignore it if it does not exist or cannot be removed."""
    with suppress(OSError):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()


def is_written_into(path: Path) -> bool:
    """Return whether ``path`` leads to a device, a pipe or a socket.

    The same holds for a stream that another program opened, which may be a file: /dev/stdout.
    """
    opened = path.absolute().is_relative_to("/dev") or path.absolute().is_relative_to("/proc")
    return path.exists() and not path.is_dir() and (opened or not path.is_file())


def _behind_links(path: Path) -> Path:
    return Path(os.path.realpath(path)) if path.is_symlink() else path
