"""Reading of any supported policy file, recognised by its content."""

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
    """Return the policy in the file at ``path``: a ``model.pt``, ONNX, TorchScript, a Stable-Baselines3 zip, or a
    checkpoint.

    ``spaces`` are those of its environment, if known; they override the spaces in a zip. Raises ArtifactError and
    InputError, naming the file, if it cannot be read, and for options that do not apply to its kind.
    """
    return recognised(path).read(options or PolicyOptions(), spaces)


def recognised(path: Path) -> Known:
    """Return the opened file at ``path`` with its reader; for a folder of RL Baselines3 Zoo, the zip in it.

    Raises ArtifactError for a file that no reader recognises.
    """
    path = zoo_zip(path)
    require_policy(path)
    opened = Opened(path)
    return Known(opened=opened, reader=reader_of(opened))


def policy_kind(path: Path) -> str:
    """Return the name of the reader of the file at ``path``; raises ArtifactError for a file that no reader
    recognises.
    """
    return recognised(path).kind


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """An opened file and the reader that recognised it."""

    opened: Opened
    reader: Reader

    @property
    def kind(self) -> str:
        """The reader's name."""
        return self.reader.name

    def own(self, options: PolicyOptions) -> PolicyOptions:
        """Return those of ``options`` that apply to this file, because one set of options may serve several files."""
        return PolicyOptions(**{name: getattr(options, name) for name in self.reader.options})

    def require(self, options: PolicyOptions) -> None:
        """Raise InputError, naming the option, if one of ``options`` does not apply to this file."""
        nothing = PolicyOptions()
        for entry in fields(PolicyOptions):
            if getattr(options, entry.name) != getattr(nothing, entry.name) and entry.name not in self.reader.options:
                option, called = OPTION_WORDS[entry.name]
                raise InputError(f"{self.opened.path}: {option} is for {called}; leave it out")

    def read(self, options: PolicyOptions, spaces: Spaces | None = None) -> PolicyFile:
        """Return the policy; raises as ``read_policy`` does."""
        self.require(options)
        return self.reader.read(self.opened, options, spaces)
