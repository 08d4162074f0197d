"""Reader of ONNX files."""

from __future__ import annotations

from dataclasses import replace

from prunekit.environments import Spaces
from prunekit.formats.onnx_weights import self_contained
from prunekit.readers.foreign import policy_file
from prunekit.readers.onnx_graph import read_onnx_graph
from prunekit.readers.opened import Opened
from prunekit.readers.policy_file import PolicyFile, PolicyOptions
from prunekit.readers.registry import Reader


def _recognised(opened: Opened) -> bool:
    damaged = opened.container == "unknown" and opened.path.suffix.lower() == ".onnx"
    return opened.container == "onnx" or damaged


def _read(opened: Opened, options: PolicyOptions, _: Spaces | None) -> PolicyFile:
    content, _size = self_contained(opened.path)
    found = read_onnx_graph(content, str(opened.path), output=options.output)
    return replace(policy_file(opened.path, found), with_torch=False)


READER = Reader(name="onnx", called="ONNX files", recognises=_recognised, read=_read, options=("output",))
