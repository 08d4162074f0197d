"""A small run, for a process of its own, that may kill itself at a chosen moment."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from small_runs import small_request

from prunekit.training.run import train


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(moment: str, name: str) -> None:
    """Have this process killed at ``moment`` of the writing of the file ``name``."""
    fsync, replace = os.fsync, Path.replace

    def dying_fsync(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name.startswith(f".{name}."):
            os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
            die()
        fsync(descriptor)

    def dying_replace(self: Path, target: Path) -> Path:
        if target.name == name and moment == "before-rename":
            die()
        result = replace(self, target)
        if target.name == name:
            die()
        return result

    if moment == "half-written":
        os.fsync = dying_fsync
    else:
        Path.replace = dying_replace  # type: ignore[method-assign]


def run(name: str, folder: Path, moment: str = "", file: str = "") -> None:
    """Train in ``folder``, or go on there, and die where the writing of ``file`` comes to ``moment``, if one is given.

    That is ``half-written``, ``before-rename`` or ``after-rename``.
    """
    if moment:
        die_at(moment, file)
    train(small_request(name), folder, resume=folder.exists())
