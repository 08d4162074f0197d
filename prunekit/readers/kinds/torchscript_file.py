"""Reader of TorchScript files."""

from __future__ import annotations

from prunekit.environments import Spaces
from prunekit.readers.foreign import policy_file
from prunekit.readers.opened import Opened
from prunekit.readers.policy_file import PolicyFile, PolicyOptions
from prunekit.readers.registry import Reader


def _recognised(opened: Opened) -> bool:
    damaged = opened.container == "unknown" and opened.path.suffix.lower() == ".ts"
    return opened.container == "torchscript" or damaged


def _read(opened: Opened, options: PolicyOptions, _: Spaces | None) -> PolicyFile:
    from prunekit.readers.torchscript.graph import read_torchscript_graph

    return policy_file(opened.path, read_torchscript_graph(opened.path, width=options.inputs))


READER = Reader(name="torchscript", called="TorchScript files", recognises=_recognised, read=_read, options=("inputs",))
