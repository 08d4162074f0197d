"""Any policy file that prunekit knows, as a graph: recognised by what is in it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from prunekit.environments import Spaces
from prunekit.errors import InputError
from prunekit.readers.opened import Opened
from prunekit.readers.policy_file import OPTION_WORDS, PolicyFile, PolicyOptions
from prunekit.readers.registry import Reader, reader_of, require_policy


def read_policy(path: Path, options: PolicyOptions | None = None, *, spaces: Spaces | None = None) -> PolicyFile:
    """Return the policy at ``path``: a ``model.pt``, a zip of Stable-Baselines3, ONNX, TorchScript, a checkpoint.

    ``spaces`` are those of its environment, where they are known: they win over a zip's text. Raises ArtifactError and
    InputError, naming the file, for what is not read, and for options that are not for its kind.
    """
    require_policy(path)
    options = options or PolicyOptions()
    opened = Opened(path)
    reader = reader_of(opened)
    _require_options(path, reader, options)
    return reader.read(opened, options, spaces)


def policy_kind(path: Path) -> str:
    """Return the name of the reader of the file at ``path``; raises ArtifactError for a file that none knows."""
    return reader_of(Opened(path)).name


def options_for(path: Path, options: PolicyOptions) -> PolicyOptions:
    """Return those of ``options`` that are for the file at ``path``: several may be read with one set of them."""
    own = reader_of(Opened(path)).options
    return PolicyOptions(**{name: getattr(options, name) for name in own})


def require_options(path: Path, options: PolicyOptions) -> None:
    """Raise InputError, naming the option, where one of ``options`` is not for the file at ``path``."""
    _require_options(path, reader_of(Opened(path)), options)


def _require_options(path: Path, reader: Reader, options: PolicyOptions) -> None:
    nothing = PolicyOptions()
    for entry in fields(PolicyOptions):
        if getattr(options, entry.name) != getattr(nothing, entry.name) and entry.name not in reader.options:
            option, called = OPTION_WORDS[entry.name]
            raise InputError(f"{path}: {option} is for {called}; leave it out")
