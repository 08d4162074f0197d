"""Reader of prunekit's own ``model.pt``."""

from __future__ import annotations

from prunekit.environments import Spaces
from prunekit.errors import ArtifactError, CouplingError, InputError
from prunekit.policy.actions import keeps_outputs
from prunekit.policy.description import described
from prunekit.readers.opened import Opened
from prunekit.readers.policy_file import PolicyFile, PolicyOptions
from prunekit.readers.registry import Reader


def _recognised(opened: Opened) -> bool:
    if opened.container == "unknown":  # too damaged to be recognised by its content, so its name decides
        return opened.path.suffix.lower() == ".pt"
    return opened.container == "torch" and str(opened.entries().get("format", "")).startswith("prunekit.")


def _read(opened: Opened, _: PolicyOptions, __: Spaces | None) -> PolicyFile:
    from prunekit.policy.artifact import artifact_of
    from prunekit.policy.model_file import read_model_file

    path = opened.path
    file = read_model_file(path)
    try:
        artifact = artifact_of(file)
    except CouplingError:  # not a chain of layers; nothing here needs one
        artifact = None
    except InputError as error:
        raise ArtifactError(f"{path}: {error}") from error
    return PolicyFile(
        path=path,
        recognised=f"prunekit model, {described(file.graph)}",
        graph=file.graph,
        metadata=file.provenance,
        masks=file.masks,
        actions=file.actions,
        artifact=artifact,
        keeps_outputs=keeps_outputs(file.graph),
    )


READER = Reader(name="model", called="models of prunekit", recognises=_recognised, read=_read)
