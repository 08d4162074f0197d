"""Any policy file that prunekit knows, as a graph: recognised by what is in it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import final

from prunekit.environments import Spaces
from prunekit.errors import InputError
from prunekit.readers.opened import Opened
from prunekit.readers.policy_file import OPTION_WORDS, PolicyFile, PolicyOptions
from prunekit.readers.registry import Reader, reader_of, require_policy
from prunekit.readers.zoo import zoo_zip


def read_policy(path: Path, options: PolicyOptions | None = None, *, spaces: Spaces | None = None) -> PolicyFile:
    """Return the policy at ``path``: a ``model.pt``, a zip of Stable-Baselines3, ONNX, TorchScript, a checkpoint.

    ``spaces`` are those of its environment, where they are known: they win over a zip's text. Raises ArtifactError and
    InputError, naming the file, for what is not read, and for options that are not for its kind.
    """
    return recognised(path).read(options or PolicyOptions(), spaces)


def recognised(path: Path) -> Known:
    """Return the file at ``path``, opened, with its reader; of a folder of RL Baselines3 Zoo, the zip in it.

    Raises ArtifactError for a file that none knows.
    """
    path = zoo_zip(path)
    require_policy(path)
    opened = Opened(path)
    return Known(opened=opened, reader=reader_of(opened))


def policy_kind(path: Path) -> str:
    """Return the name of the reader of the file at ``path``; raises ArtifactError for a file that none knows."""
    return recognised(path).kind


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """A file that was opened, and the reader that knows it."""

    opened: Opened
    reader: Reader

    @property
    def kind(self) -> str:
        """The reader's name."""
        return self.reader.name

    def own(self, options: PolicyOptions) -> PolicyOptions:
        """Return those of ``options`` that are for this file: several may be read with one set of them."""
        return PolicyOptions(**{name: getattr(options, name) for name in self.reader.options})

    def require(self, options: PolicyOptions) -> None:
        """Raise InputError, naming the option, where one of ``options`` is not for this file."""
        nothing = PolicyOptions()
        for entry in fields(PolicyOptions):
            if getattr(options, entry.name) != getattr(nothing, entry.name) and entry.name not in self.reader.options:
                option, called = OPTION_WORDS[entry.name]
                raise InputError(f"{self.opened.path}: {option} is for {called}; leave it out")

    def read(self, options: PolicyOptions, spaces: Spaces | None = None) -> PolicyFile:
        """Return the policy; raises as ``read_policy``."""
        self.require(options)
        return self.reader.read(self.opened, options, spaces)
