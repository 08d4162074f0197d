"""What compiled C needs of this machine, and the mark that skips a test, telling the packages, where it is missing."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

import pytest

_COMPILERS = ("cc", "gcc", "clang")
_LACKING = {
    "gcc": not any(shutil.which(name) for name in _COMPILERS),
    "python3-dev": not (Path(sysconfig.get_path("include")) / "Python.h").is_file(),
}
PACKAGES = " ".join(package for package, lacking in _LACKING.items() if lacking)
needs_native = pytest.mark.skipif(bool(PACKAGES), reason=f"compiled C lacks something: apt-get install {PACKAGES}")


def fake_compiler(path: Path, version: str, before: str = "") -> Path:
    """Write a compiler that calls itself ``version``, runs ``before`` in the shell, and is the one of this machine."""
    real = next(found for name in _COMPILERS if (found := shutil.which(name)))
    path.write_text(f'#!/bin/sh\nif [ "$1" = --version ]; then echo {version}; exit; fi\n{before}\nexec {real} "$@"\n')
    path.chmod(0o755)
    return path
