"""Which versions made a figure."""

from __future__ import annotations

import platform
from importlib import metadata

_PACKAGES = ("prunekit", "torch", "stable-baselines3", "gymnasium", "mujoco", "numpy", "onnx", "onnxruntime")


def installed_versions(packages: tuple[str, ...] = _PACKAGES) -> dict[str, str]:
    """Return the version of Python and of every installed package among ``packages``."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
