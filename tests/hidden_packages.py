"""Runs a command of prunekit in a process where large packages cannot be imported, as where they are missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LARGE = (
    "torch", "gymnasium", "stable_baselines3", "mujoco", "filelock", "matplotlib", "PIL", "jinja2", "tensorboard",
    "yaml",
)  # fmt: skip
_HIDING = """
import sys

class Hiding:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden}:
            raise ModuleNotFoundError(f"No module named '{{name}}'", name=name)

sys.meta_path.insert(0, Hiding())
"""


def run_without(packages: tuple[str, ...], *arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """Return what the command did; ``folder`` is for the file that hides ``packages``, also in its own children."""
    return _run(packages, ["-m", "prunekit", *map(str, arguments)], folder)


def run_code_without(packages: tuple[str, ...], code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Return what Python ``code`` did, likewise."""
    return _run(packages, ["-c", code], folder)


def _run(packages: tuple[str, ...], words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(_HIDING.format(hidden=set(packages)))
    paths = [str(folder), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        cwd=folder,
    )
