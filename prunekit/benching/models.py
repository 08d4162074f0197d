"""Policy files in the common form that ``bench`` and ``inspect`` use: ONNX bytes and facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

from prunekit.environments import Spaces, arguments_for, named_by_file
from prunekit.errors import ArtifactError, InputError
from prunekit.export.onnx import to_onnx
from prunekit.export.session import checked_session
from prunekit.formats.onnx_layers import Sizes, deployed_outputs, sampled_outputs, sizes_of_outputs
from prunekit.formats.onnx_metadata import prunekit_metadata
from prunekit.formats.onnx_weights import self_contained
from prunekit.formats.text import shown
from prunekit.graph.graph import Graph
from prunekit.policy.sizes import sizes_of
from prunekit.readers.policy_file import PolicyFile, PolicyOptions
from prunekit.readers.read import recognised


@final
@dataclass(frozen=True, kw_only=True)
class BenchModel:
    """A model file. ``content`` is what runs: the file itself, or the ONNX export of a ``.pt``.

    ``hidden`` are hidden units per layer, ``parameters`` stored weights and biases, and ``macs`` multiply-accumulates
    per observation, all of the deployed part. ``size_bytes`` is the file's size and ``metadata`` the provenance. C is
    written from ``graph``; if it is None, ``not_read`` says why. ``sampled`` maps outputs that are sampled to the
    operator that samples. ``notes`` say what was left out or assumed when the file was read.
    """

    path: Path
    content: bytes = field(repr=False)
    size_bytes: int
    hidden: tuple[int, ...]
    parameters: int
    macs: int
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)
    graph: Graph | None = field(default=None, repr=False)
    sampled: Mapping[str, str] = field(default_factory=dict)
    not_read: str = ""
    notes: tuple[str, ...] = ()

    @property
    def units(self) -> int:
        """The number of hidden units."""
        return sum(self.hidden)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the parameters in float32."""
        return 4 * self.parameters

    @property
    def environment(self) -> tuple[str, dict[str, Any]] | None:
        """The environment's id and keyword arguments, if the file names them; raises ArtifactError if they are
        damaged.
        """
        entry = self.metadata.get("env")
        return None if entry is None else named_by_file(self.path, entry)

    def arguments_of(self, env_id: str) -> dict[str, Any] | None:
        """Return the keyword arguments that the file gives to ``env_id``; None if it names another environment.

        Raises ArtifactError, naming the file, for arguments that are not plain values.
        """
        return arguments_for(env_id, self.path, self.metadata.get("env"))


def read_model(path: Path, options: PolicyOptions | None = None, *, spaces: Spaces | None = None) -> BenchModel:
    """Return the policy file at ``path``; only those of ``options`` are used that apply to its kind.

    ``spaces`` are those of its environment, if known. An ONNX file runs as it is. Raises ArtifactError and InputError,
    naming the file, as ``read_policy`` does; an ONNX file is only refused if it does not run.
    """
    file = recognised(path)
    own = file.own(options or PolicyOptions())
    if file.kind != "onnx":
        return _from_policy(file.read(own, spaces))
    model = read_runnable(path)
    try:
        return replace(model, graph=file.read(own, spaces).graph)
    except InputError as error:
        return replace(model, not_read=str(error).removeprefix(f"{path}: "))


def _from_policy(policy: PolicyFile) -> BenchModel:
    sizes, content = sizes_of(policy.graph), to_onnx(policy.graph, policy.metadata)
    size, metadata = policy.path.stat().st_size, dict(policy.metadata)
    return BenchModel(
        path=policy.path,
        content=content,
        size_bytes=size,
        hidden=sizes.hidden,
        parameters=sizes.parameters,
        macs=sizes.macs,
        metadata=metadata,
        graph=policy.graph,
        notes=policy.notes,
    )


def read_runnable(path: Path) -> BenchModel:
    """Return an ONNX file without its graph; raises ArtifactError, naming the file, if it does not run."""
    called = str(path)
    content, size = self_contained(path)
    _, work = checked_session(content, called)
    metadata = prunekit_metadata(work.plain, called)
    counted = sizes_of_outputs(work, deployed_outputs([entry.name for entry in work.plain.graph.output]))
    parameters = counted.parameters
    if "sizes" in metadata:
        parameters = counted.layer_parameters
        _require_sizes(path, metadata["sizes"], counted)
    sampled = sampled_outputs(work)
    return BenchModel(
        path=path,
        content=content,
        size_bytes=size,
        hidden=counted.hidden,
        parameters=parameters,
        macs=counted.macs,
        metadata=metadata,
        sampled=sampled,
    )


def _require_sizes(path: Path, told: Any, counted: Sizes) -> None:
    """Refuse a file whose metadata contradicts the sizes of its graph, because one of the two was changed after the
    export.
    """
    sizes = {"hidden": list(counted.hidden), "parameters": counted.layer_parameters, "macs": counted.macs}
    for key, value in sizes.items():
        found = told.get(key) if isinstance(told, dict) else None
        if found != value or isinstance(found, bool):
            raise ArtifactError(
                f"{path}: its prunekit metadata is damaged ({key} {shown(found, 40)}, but the graph has {value}); "
                "export the model again"
            )
