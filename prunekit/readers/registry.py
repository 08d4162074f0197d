"""The registry of readers: those in ``kinds``, and those of other packages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import final

from prunekit.environments import Spaces
from prunekit.errors import ArtifactError, InputError, PrunekitError
from prunekit.formats.text import reason_of
from prunekit.readers.opened import Opened
from prunekit.readers.policy_file import PolicyFile, PolicyOptions

GROUP = "prunekit.readers"
"""The entry points of readers from other packages: each names a ``Reader``."""
_SUFFIXES = (".zip", ".pt", ".pth", ".onnx", ".safetensors")


@final
@dataclass(frozen=True, kw_only=True)
class Reader:
    """The reader of one kind of policy file.

    ``called`` names its files in messages. ``recognises`` decides by the content of a file, and ``read`` makes a graph
    of it. ``options`` are the fields of ``PolicyOptions`` that apply to such a file. Both functions raise a
    PrunekitError that names the file.
    """

    name: str
    called: str
    recognises: Callable[[Opened], bool]
    read: Callable[[Opened, PolicyOptions, Spaces | None], PolicyFile]
    options: tuple[str, ...] = ()


def reader_of(opened: Opened) -> Reader:
    """Return the reader that recognises the file; raises ArtifactError if there is none.

    prunekit's own readers of whole policies come first, then those of other packages, then those of checkpoints.
    """
    for reader in readers():
        if reader.recognises(opened):
            return reader
    raise ArtifactError(
        f"{opened.path}: unknown kind of file; a policy is a .pt, .zip, .onnx or TorchScript file, or a checkpoint of "
        "weights"
    )


def readers() -> Iterator[Reader]:
    """Yield all readers in the order in which they are tried."""
    from prunekit.readers.kinds import after, before

    yield from before()
    yield from outside()
    yield from after()


@cache
def outside() -> tuple[Reader, ...]:
    """Return the readers of other packages; raises InputError, naming the entry point, if it is not a ``Reader``."""
    found = []
    for entry in entry_points(group=GROUP):
        try:
            reader = entry.load()
        except PrunekitError:
            raise
        except Exception as error:  # another package's code can fail in any way
            raise InputError(f"the reader '{entry.name}' ({entry.value}) does not load: {reason_of(error)}") from error
        if not isinstance(reader, Reader):
            raise InputError(f"the reader '{entry.name}' ({entry.value}) is not a prunekit.readers.registry.Reader")
        found.append(reader)
    return tuple(found)


def require_policy(path: Path) -> None:
    """Raise ArtifactError, naming ``path``, if it is not a file; for a folder the message says which file to give."""
    from prunekit.console import joined
    from prunekit.files import require_file
    from prunekit.readers.zoo import zoo_zip

    if path.is_dir() and Opened(path).container == "tensorflow":
        raise ArtifactError(
            f"{path}: is a TensorFlow SavedModel, which is not read; convert it to ONNX with "
            "'python -m tf2onnx.convert --saved-model FOLDER --output policy.onnx'"
        )
    path = zoo_zip(path)
    if path.is_dir():
        found = _named_like_policies(path)
        named = f": {joined(found, len(found))}" if found else f" (none in it ends in {', '.join(_SUFFIXES)})"
        raise ArtifactError(f"{path}: is a folder; name the model file in it{named}")
    require_file(path)


def _named_like_policies(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir() if entry.suffix in _SUFFIXES and entry.is_file())
    except OSError:
        return []
