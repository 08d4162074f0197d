"""Any policy file that prunekit knows, as a graph: recognised by what is in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from prunekit.environments import Spaces
from prunekit.errors import ArtifactError, CouplingError, InputError
from prunekit.files import require_file
from prunekit.formats.kinds import Kind, kind_of
from prunekit.formats.onnx_weights import self_contained
from prunekit.policy.actions import keeps_outputs
from prunekit.policy.artifact import artifact_of
from prunekit.policy.description import described
from prunekit.policy.model_file import read_model_file
from prunekit.readers.foreign import ForeignGraph
from prunekit.readers.normalizers import normalizer_of
from prunekit.readers.onnx_graph import read_onnx_graph
from prunekit.readers.policy_file import PolicyFile, PolicyOptions
from prunekit.readers.sb3.graph import read_zip
from prunekit.readers.torchscript.graph import read_torchscript_graph
from prunekit.readers.zoo import zoo_notes

Reader = Callable[[Path, PolicyOptions, Spaces | None], PolicyFile]


def read_policy(path: Path, options: PolicyOptions | None = None, *, spaces: Spaces | None = None) -> PolicyFile:
    """Return the policy at ``path``: a ``model.pt``, a zip of Stable-Baselines3, an ONNX or a TorchScript file.

    ``spaces`` are those of its environment, where they are known: they win over a zip's text. Raises ArtifactError and
    InputError, naming the file, for what is not read, and for options that are not for its kind.
    """
    require_file(path)
    options = options or PolicyOptions()
    kind = policy_kind(path)
    require_options(path, kind, options)
    return _READERS[kind](path, options, spaces)


def policy_kind(path: Path) -> Kind:
    """Return the kind of policy that the file at ``path`` holds; raises ArtifactError for one that is not read."""
    kind = kind_of(path)
    if kind == "unknown":  # what is too damaged to show what it is, is read as what it is called
        kind = _BY_NAME.get(path.suffix.lower(), kind)
        if kind == "sb3":
            raise ArtifactError(f"{path}: damaged or not a zip of Stable-Baselines3; save the model again")
    if kind not in _READERS:
        raise ArtifactError(f"{path}: unknown kind of file; a policy is a .pt, .zip, .onnx or TorchScript file")
    return kind


def options_for(kind: Kind, options: PolicyOptions) -> PolicyOptions:
    """Return those of ``options`` that are for files of ``kind``: several files may be read with one set of them."""
    if kind == "sb3":
        return PolicyOptions(normalizer=options.normalizer, without_normalizer=options.without_normalizer)
    if kind == "onnx":
        return PolicyOptions(output=options.output)
    return PolicyOptions(inputs=options.inputs) if kind == "torchscript" else PolicyOptions()


def require_options(path: Path, kind: Kind, options: PolicyOptions) -> None:
    """Raise InputError, naming the option, where one of ``options`` is not for files of ``kind``."""
    given = {
        "--normalizer": (options.normalizer is not None, "sb3", "zips of Stable-Baselines3"),
        "--no-normalizer": (options.without_normalizer, "sb3", "zips of Stable-Baselines3"),
        "--output": (options.output is not None, "onnx", "ONNX files"),
        "--inputs": (options.inputs is not None, "torchscript", "TorchScript files"),
    }
    for option, (used, wanted, called) in given.items():
        if used and kind != wanted:
            raise InputError(f"{path}: {option} is for {called}; leave it out")


def _read_model(path: Path, _: PolicyOptions, __: Spaces | None) -> PolicyFile:
    file = read_model_file(path)
    try:
        artifact = artifact_of(file)
    except CouplingError:  # a graph of another form, which is all that is needed
        artifact = None
    except InputError as error:
        raise ArtifactError(f"{path}: {error}") from error
    return PolicyFile(
        path=path,
        recognised=f"model of prunekit, {described(file.graph)}",
        graph=file.graph,
        metadata=file.provenance,
        masks=file.masks,
        actions=file.actions,
        artifact=artifact,
        keeps_outputs=keeps_outputs(file.graph),
    )


def _read_sb3(path: Path, options: PolicyOptions, spaces: Spaces | None) -> PolicyFile:
    found = read_zip(path, normalizer_of(path, options), spaces=spaces)
    return PolicyFile(path=path, recognised=found.recognised, graph=found.graph, notes=(*found.notes, *zoo_notes(path)))


def _read_onnx(path: Path, options: PolicyOptions, _: Spaces | None) -> PolicyFile:
    return _foreign(path, read_onnx_graph(self_contained(path)[0], str(path), output=options.output))


def _read_torchscript(path: Path, options: PolicyOptions, _: Spaces | None) -> PolicyFile:
    return _foreign(path, read_torchscript_graph(path, width=options.inputs))


def _foreign(path: Path, found: ForeignGraph) -> PolicyFile:
    others = () if not found.others else (f"its output '{found.output}' is read, not {', '.join(found.others)}",)
    return PolicyFile(
        path=path,
        recognised=found.recognised,
        graph=found.graph,
        metadata=found.metadata,
        notes=(*found.notes, *others),
        keeps_outputs=keeps_outputs(found.graph) and not found.metadata,
    )


_READERS: dict[Kind, Reader] = {
    "torch": _read_model,
    "pickle": _read_model,
    "sb3": _read_sb3,
    "onnx": _read_onnx,
    "torchscript": _read_torchscript,
}
_BY_NAME: dict[str, Kind] = {".pt": "torch", ".zip": "sb3", ".onnx": "onnx", ".ts": "torchscript"}
