"""A policy file, opened once for all readers."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, final

from prunekit.errors import ArtifactError, InputError
from prunekit.formats.array_pickles import read_array_pickle
from prunekit.formats.kinds import Kind, kind_of
from prunekit.formats.safetensors_file import read_safetensors
from prunekit.readers.weights.tree import Tree, tree_of


@final
class Opened:
    """The file at ``path``, in a container of the kind ``container``. Its content is decoded on first use.

    Decoding runs no code of the file and imports nothing that it names. Raises ArtifactError, naming the file, if it is
    damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.container: Kind = kind_of(path)

    @cached_property
    def data(self) -> Any:
        """The decoded content: plain values, tensors, arrays and opaque records; None for containers without such
        content.
        """
        try:
            match self.container:
                case "torch":
                    from prunekit.formats.torch_file import read_torch

                    return read_torch(self.path, foreign=True)
                case "old_torch":
                    from prunekit.formats.torch_legacy import read_legacy_file

                    return read_legacy_file(self.path)
                case "pickle":
                    return read_array_pickle(self.path)
                case "safetensors":
                    return read_safetensors(self.path)
                case _:
                    return None
        except InputError as error:
            raise ArtifactError(f"{self.path}: {error}") from error

    @cached_property
    def tree(self) -> Tree:
        """All tensors and arrays, keyed by dotted names."""
        try:
            return tree_of(self.data)
        except InputError as error:
            raise ArtifactError(f"{self.path}: {error}") from error

    def entries(self) -> dict[Any, Any]:
        """The top-level dictionary of the file; empty if it has none."""
        return self.data if isinstance(self.data, dict) else {}
