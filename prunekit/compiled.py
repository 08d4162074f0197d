"""Compilation with a cache: compilers are run once, and their results are kept by content."""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from prunekit.errors import CheckError, InputError
from prunekit.files import write_atomically

_COMPILE_SECONDS = 300.0
_OURS = "prunekit"
_OWN_FOLDER, _OWN_FILE = 0o700, 0o600
_DIGEST_BYTES = hashlib.sha256().digest_size


def host_compiler(purpose: str) -> str:
    """Return this machine's C compiler, preferring ``CC``; raises InputError, naming ``purpose``, if there is none.

    ``CC`` must be an executable without arguments.
    """
    wanted = os.environ.get("CC")
    for name in (wanted,) if wanted else ("cc", "gcc", "clang"):
        path = shutil.which(name)
        if path is not None:
            return str(Path(path).absolute())
    if wanted and shutil.which(wanted.split()[0]):
        raise InputError(f"{purpose} needs a C compiler: CC must name one executable without arguments, not '{wanted}'")
    raise InputError(f"{purpose} needs a C compiler ({wanted or 'cc, gcc or clang'}); run: apt-get install gcc")


def cache_folder() -> Path:
    """Return the cache folder: ``prunekit`` in XDG_CACHE_HOME (if absolute) or ``~/.cache``.

    Without a home folder, it is a folder of this process only.
    """
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        return (named if named.is_absolute() else Path.home() / ".cache") / _OURS
    except RuntimeError:
        return private_folder() / _OURS


@cache
def private_folder() -> Path:
    """Return a folder that only this user and this process use; it is removed when the process ends."""
    folder, owner = Path(tempfile.mkdtemp(prefix="prunekit-")), os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # not where a fork of this process ends
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder


def cache_key(*parts: object) -> str:
    """Return a file name that changes with any of ``parts``."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def made_once(kept: Path, make: Callable[[Path], Path]) -> Path:
    """Return a file with the result of ``make``, or an earlier result that was ``kept``; the file belongs to this
    process.

    Compiled files are run, so a cached file is used only if no other user could have written it: the file and every
    folder from the cache's own on must belong to this user, not be links, and not be writable by others. The file ends
    in the SHA-256 of its content, which detects damage by a crash or a bad disk. Otherwise it is made again. The
    content is read once, and the returned file is a copy of exactly the checked bytes, in ``private_folder``, so they
    cannot be exchanged between check and use.

    A cache that cannot be written, or is not this user's own, is not used, and every process compiles for itself.
    Raises InputError if not even a temporary folder can be written, and whatever ``make`` raises.
    """
    copy = private_folder() / cache_key(str(kept)) / kept.name
    if copy.exists():
        return copy
    content = _believed(kept)
    if content is None:
        with tempfile.TemporaryDirectory(prefix="prunekit-") as folder:
            content = make(Path(folder)).read_bytes()
        _keep(kept, content)
    write_atomically(copy, content, _OWN_FOLDER)
    return copy


def _believed(kept: Path) -> bytes | None:
    """Return the content of the file ``kept``; None if it does not exist or fails a check."""
    try:
        if not all(_is_own(os.lstat(folder), stat.S_ISDIR) for folder in _folders_of(kept)):
            return None
        with os.fdopen(os.open(kept, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            if not _is_own(os.fstat(file.fileno()), stat.S_ISREG):
                return None
            found = file.read()
    except OSError:
        return None
    content, digest = found[:-_DIGEST_BYTES], found[-_DIGEST_BYTES:]
    return content if hashlib.sha256(content).digest() == digest else None


def _keep(kept: Path, content: bytes) -> None:
    """Store ``content`` for other processes, if the cache belongs to this user and can be written."""
    with suppress(OSError, InputError):
        for folder in _folders_of(kept):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                folder.mkdir(mode=_OWN_FOLDER)
            found = os.lstat(folder)
            if _is_own(found, stat.S_ISDIR, writable_by_others=True):
                folder.chmod(_OWN_FOLDER)  # what others put there is not believed
            else:
                return
        if os.path.lexists(kept) and not stat.S_ISREG(os.lstat(kept).st_mode):
            kept.unlink()  # a link that another put there must not lead the writing elsewhere
        write_atomically(kept, content + hashlib.sha256(content).digest(), _OWN_FILE)


def _folders_of(kept: Path) -> list[Path]:
    """Return the folders that contain ``kept``, from the cache's own on, outermost first."""
    inside = kept.relative_to(cache_folder()).parts  # a ValueError where it is no file of the cache
    return [cache_folder().joinpath(*inside[:depth]) for depth in range(len(inside))]


def _is_own(found: os.stat_result, kind: Callable[[int], bool], *, writable_by_others: bool = False) -> bool:
    others = stat.S_IWGRP | stat.S_IWOTH
    return kind(found.st_mode) and found.st_uid == os.geteuid() and (writable_by_others or not found.st_mode & others)


@cache
def version_of(tool: str) -> str:
    """Return the first line of ``tool --version``."""
    done = subprocess.run([tool, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0]


def run_tool(command: Sequence[str], folder: Path) -> str:
    """Run a compiler in ``folder`` and return its messages (warnings); raises CheckError with its first error."""
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=_COMPILE_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise CheckError(f"{Path(command[0]).name} did not end within {_COMPILE_SECONDS:.0f} s") from error
    if done.returncode != 0:
        lines = done.stderr.splitlines()
        telling = ("error:", "undefined reference", "fatal", "error", "")
        complaint = next((line for words in telling for line in lines if words in line), "no message")
        raise CheckError(f"{Path(command[0]).name} failed: {complaint}")
    return done.stderr
