"""Large packages that are imported when they are first used, so that what needs none of them works without them.

A policy in an ONNX file is inspected, exported and measured with NumPy, ONNX and ONNX Runtime alone. Modules on
that way take torch and Gymnasium from here; all others import them as usual.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, final

from prunekit.errors import InputError

if TYPE_CHECKING:
    import gymnasium as gymnasium
    import torch as torch
    from torch import nn as nn
    from torch.nn import functional as functional
else:

    @final
    class _Lazy:
        """The module ``name``, imported when one of its names is first asked for."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__") and name != "__version__":  # tools look for these in whatever they find
                raise AttributeError(name)
            return getattr(sys.modules.get(self._name) or import_module(self._name), name)

        def __repr__(self) -> str:
            return f"<{self._name}, imported when first used>"

    gymnasium, torch, nn, functional = (
        _Lazy(name) for name in ("gymnasium", "torch", "torch.nn", "torch.nn.functional")
    )

_INSTALLED_AS = {
    "matplotlib": "'prunekit[plots]'",
    "tensorboard": "'prunekit[tensorboard]'",
    "ray": "'prunekit[ray]'",
    "stable_baselines3": "stable-baselines3",
    "PIL": "'prunekit[plots]'",
    "yaml": "pyyaml",
    "jinja2": "'prunekit[plots]'",
    **{name: name for name in ("torch", "gymnasium", "mujoco", "onnx", "onnxruntime", "filelock", "numpy")},
}
"""What pip is to install, by the package that is missing."""


def is_installed(name: str) -> bool:
    """Return whether the package ``name`` can be imported; imports nothing."""
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):  # hidden from this process
        return False


def missing(name: str | None, purpose: str = "this operation") -> InputError | None:
    """Return the error that says how the package of the module ``name`` is installed; None for a package of others."""
    package = (name or "").partition(".")[0]
    if package not in _INSTALLED_AS:
        return None
    return InputError(
        f"{purpose} needs the package {package}, which is not installed; run: pip install {_INSTALLED_AS[package]}"
    )


def require(package: str, purpose: str) -> None:
    """Raise InputError, saying how it is installed, where ``package`` is missing, which ``purpose`` needs."""
    error = None if is_installed(package) else missing(package, purpose)
    if error is not None:
        raise error
