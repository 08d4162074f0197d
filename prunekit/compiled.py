"""Compiling things once: running compilers, and a folder that keeps what they made by its content."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from prunekit.errors import CheckError, InputError
from prunekit.files import write_atomically

_COMPILE_SECONDS = 300.0


def host_compiler(purpose: str) -> str:
    """Return the C compiler of this machine, ``CC`` first; raises InputError, naming ``purpose``, where there is none.

    An executable is meant, without arguments.
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
    """Return where compiled things are kept: ``prunekit`` in XDG_CACHE_HOME, if that is absolute, or ``~/.cache``."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (named if named.is_absolute() else Path.home() / ".cache") / "prunekit"


def cache_key(*parts: object) -> str:
    """Return a file name that changes with any of ``parts``."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def made_once(kept: Path, make: Callable[[Path], Path]) -> Path:
    """Return ``kept``, which is there or is copied in one step from what ``make`` makes in a folder it is given.

    Raises InputError where it cannot be kept, and what ``make`` raises.
    """
    if not kept.exists():
        with tempfile.TemporaryDirectory(prefix="prunekit-") as folder:
            made = make(Path(folder))
            write_atomically(kept, made.read_bytes(), made.stat().st_mode & 0o777)
    return kept


@cache
def version_of(tool: str) -> str:
    """Return the first line that ``tool --version`` says."""
    done = subprocess.run([tool, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0]


def run_tool(command: Sequence[str], folder: Path) -> str:
    """Run a compiler in ``folder`` and return what it says (warnings); raises CheckError with its first complaint."""
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
