"""Temporary files beside a file that is written: how they are named, held, and found where a killed process left them.

A process holds a lock on every one of its temporary files. The system lets go of it when the process ends, however it
ends, so that a temporary file that nobody holds is of no use to anyone.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import sys
from contextlib import suppress
from pathlib import Path

LOCKS = sys.platform != "win32"
"""Whether files can be locked here, so that what was left can be told from what is in use."""
_SHORT_NAME = 32
_TOKEN_BYTES = 6
_NEW, _OLD = ".prunekit-new", ".prunekit-old"


def names_beside(target: Path) -> tuple[Path, Path]:
    """Return fresh names beside ``target``: for its content to be, and for what stands there meanwhile."""
    token = secrets.token_hex(_TOKEN_BYTES)
    new, old = (target.with_name(f".{_short(target)}.{token}{suffix}") for suffix in (_NEW, _OLD))
    return new, old


def create(path: Path, mode: int) -> int:
    """Make the file ``path``, which must not exist, and return a descriptor that holds it until it is closed."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        if hold(descriptor) and not _is_at(descriptor, path):  # found before it was held, and taken for left behind
            os.close(descriptor)
            continue
        return descriptor


def hold(descriptor: int) -> bool:
    """Hold an open file as long as ``descriptor`` is open; return False where the file system knows no locks."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    except OSError:
        return False
    return True


def open_held(path: Path) -> int | None:
    """Return a descriptor that holds an existing file until it is closed; None where it cannot be had at once."""
    if sys.platform == "win32":
        return None
    import fcntl

    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return descriptor
    return None


def remove_left(target: Path, *, old: bool = False) -> None:
    """Remove the temporary files of ``target`` that nobody holds: its contents to be, or if ``old``, what stood there.

    Only regular files with names as ``names_beside`` makes them are looked at; links are not followed. What cannot be
    removed is left.
    """
    if not LOCKS:
        return
    suffix = re.escape(_OLD if old else _NEW)
    ours = re.compile(rf"\.{re.escape(_short(target))}\.[0-9a-f]{{{2 * _TOKEN_BYTES}}}{suffix}", re.DOTALL)
    with suppress(OSError):
        for name in os.listdir(target.parent):
            if ours.fullmatch(name):
                _remove_unless_held(target.with_name(name))


def _remove_unless_held(path: Path) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails where somebody holds it
                if _is_at(descriptor, path):
                    path.unlink()
        finally:
            os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _short(target: Path) -> str:
    """Return the beginning of a name: beside one of full length a longer one has no room."""
    return target.name[:_SHORT_NAME]
