"""ONNX files."""

from __future__ import annotations

from prunekit.environments import Spaces
from prunekit.formats.onnx_file import parse_onnx
from prunekit.formats.onnx_metadata import prunekit_metadata
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
    called = str(opened.path)
    content, _size = self_contained(opened.path)
    found = read_onnx_graph(content, called, output=options.output)
    return policy_file(opened.path, found, prunekit_metadata(parse_onnx(content, called), called))


READER = Reader(name="onnx", called="ONNX files", recognises=_recognised, read=_read, options=("output",))
