"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from prunekit.errors import ArtifactError, InputError

RUNS = Path("runs")
"""Where ``train`` puts runs that were given no folder, relative to the working directory."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def require_file(path: Path) -> None:
    """Raise ArtifactError, naming ``path``, unless it is a file."""
    if path.is_dir():
        raise ArtifactError(f"{path}: is a folder; name the model file in it")
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file")


def require_writable(path: Path) -> None:
    """Raise InputError, naming ``path``, where ``write_atomically`` could not write; leaves nothing behind."""
    try:
        if _is_written_into(path):
            refusal = errno.ENXIO if path.is_socket() else 0 if os.access(path, os.W_OK) else errno.EACCES
            if refusal:
                raise OSError(refusal, os.strerror(refusal))
            return
        nearest = next(parent for parent in _behind_links(path).absolute().parents if parent.exists())
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise unwritable(path, error) from error
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file in it")


def unwritable(path: Path, error: OSError) -> InputError:
    """Return the error that says why ``path`` cannot be written, and what to do."""
    remedy = "the disk is full, make room on it" if error.errno in _FULL else "name another place"
    return InputError(f"{path}: cannot be written ({error.strerror or error}); {remedy}")


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold ``folder``, made where it is missing, against other processes for a while.

    The system lets go of it when the process ends, however it ends. Raises InputError where another one holds it.
    """
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(f"{folder}: another process is at work in it; wait for its end, or name another") from error
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def is_exactly(value: object, wanted: str | int) -> bool:
    """Return whether ``value``, read from a file, is ``wanted``, of the same type too (1 is not True)."""
    return type(value) is type(wanted) and value == wanted


def json_text(value: object, called: str) -> str:
    """Return ``value`` as JSON with sorted keys; raises InputError, naming ``called``, for what JSON cannot hold."""
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"{called} is no plain JSON data ({error})") from error


def write_atomically(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write ``content`` to ``path`` through a temporary file in the same folder and a rename.

    A link stays, and the file that it leads to is written; a device or a pipe is no file and is written into.
    Raises InputError, naming the path, where it cannot be written; what stood there before stays.
    """
    temporary: Path | None = None
    try:
        if _is_written_into(path):
            with path.open("ab") as stream:
                stream.write(content)
            return
        target = _behind_links(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(target)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        if temporary is not None:  # gone already where the rename was reached
            temporary.unlink(missing_ok=True)


def _is_written_into(path: Path) -> bool:
    """Return whether a device, a pipe or a socket stands at ``path`` or where its links lead.

    So does a stream that another program opened, which may be a file: /dev/stdout.
    """
    opened = path.absolute().is_relative_to("/dev") or path.absolute().is_relative_to("/proc")
    return path.exists() and not path.is_dir() and (opened or not path.is_file())


def _behind_links(path: Path) -> Path:
    return Path(os.path.realpath(path)) if path.is_symlink() else path
