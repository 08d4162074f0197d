"""Which versions made a figure."""

from __future__ import annotations

import platform
from functools import cache
from importlib import metadata

_PACKAGES = ("prunekit", "torch", "stable-baselines3", "gymnasium", "mujoco", "numpy", "onnx", "onnxruntime")


def installed_versions(packages: tuple[str, ...] = _PACKAGES) -> dict[str, str]:
    """Return the version of Python and of every installed package among ``packages``."""
    found = {package: _version_of(package) for package in packages}
    return {"python": platform.python_version(), **{name: found[name] for name in packages if found[name]}}


@cache
def _version_of(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
