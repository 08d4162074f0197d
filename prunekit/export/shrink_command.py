"""The command ``prunekit shrink``: it reads any policy, makes it smaller, and writes it in two formats."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

from prunekit.console import widths
from prunekit.errors import ArtifactError, InputError
from prunekit.export.command import ExportOutcome
from prunekit.export.onnx import checked_onnx
from prunekit.export.shrinking import shrink_graph
from prunekit.files import write_together
from prunekit.graph.graph import Graph
from prunekit.outputs import require_apart, require_not_foreign
from prunekit.policy.actor import Actor
from prunekit.policy.artifact import Artifact
from prunekit.policy.compaction import compact
from prunekit.policy.model_file import ModelFile, model_file_of, to_bytes
from prunekit.policy.sizes import parameter_count
from prunekit.readers.normalizers import files_beside
from prunekit.readers.policy_file import PolicyFile, PolicyOptions
from prunekit.readers.read import read_policy
from prunekit.readers.registry import require_policy


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Compact:
    """The smaller policy: ``file``, and ``source``, with which the ONNX export is compared; sizes before and after.

    ``hidden`` are the widths before any removal and now, ``given`` those of the file that was read. ``again`` means
    that this file was written by ``shrink`` itself.
    """

    file: ModelFile
    source: Actor | Graph
    hidden: tuple[tuple[int, ...], tuple[int, ...]]
    parameters: tuple[int, int]
    difference: float
    scale: float
    given: tuple[int, ...]
    again: bool

    @property
    def nothing_to_remove(self) -> bool:
        """Whether no unit went, now or in the training that wrote the file."""
        original, now = self.hidden
        return self.given == now and (self.again or original == now)

    @property
    def removed_before(self) -> str:
        """When units were removed, if this was before the file was read."""
        original, now = self.hidden
        if self.given != now or original == now:
            return ""
        return ", removed before" if self.again else ", removed while training"


def shrink_file(path: Path, options: PolicyOptions, out: Path | None, json_file: Path | None) -> ExportOutcome:
    """Write ``STEM.compact.pt`` and ``STEM.compact.onnx`` to ``out``, by default the folder of the policy at ``path``.

    Raises InputError if the policy cannot be read or shrunk, and CheckError, writing nothing, if a written form
    differs.
    """
    require_policy(path)
    target = (out or path.parent) / f"{path.stem}.compact.pt"
    onnx = target.with_suffix(".onnx")
    require_apart([path, options.normalizer, *files_beside(path)], [onnx, target], json_file)
    require_not_foreign([onnx, target])
    policy = read_policy(path, options)
    made = _of_graph(policy) if policy.artifact is None else _of_artifact(policy.artifact)
    content, report = checked_onnx(made.source, onnx, made.file.provenance)
    write_together({onnx: content, target: to_bytes(made.file)})
    facts = {
        "pt": str(target),
        "onnx": str(report.path),
        "onnx_bytes": report.size_bytes,
        "hidden": {"before": list(made.hidden[0]), "after": list(made.hidden[1])},
        "parameters": {"before": made.parameters[0], "after": made.parameters[1]},
        "largest_difference": made.difference,
        "export_largest_difference": report.largest_difference,
        "recognised": policy.recognised,
        "notes": list(policy.notes),
    }
    lines = [(target, _told(made)), (report.path, report.summary)]
    if made.nothing_to_remove:
        reason = "constant for all observations" if policy.masks is None else "masked"
        lines.insert(0, (path, f"nothing to remove: no unit is {reason}; the files below hold the same network"))
    if policy.masks is None:
        lines += [(path, text) for text in (policy.recognised, *policy.notes)]
    return ExportOutcome(lines=tuple(lines), facts=facts)


def _told(made: _Compact) -> str:
    (hidden, now), (parameters, left) = made.hidden, made.parameters
    return (
        f"hidden {widths(hidden)} -> {widths(now)}{made.removed_before}, "
        f"parameters {parameters:,} -> {left:,}, "
        f"largest difference {made.difference:.2g} in outputs up to {made.scale:.3g}"
    )


def _of_artifact(artifact: Artifact) -> _Compact:
    result = compact(artifact)
    small = result.artifact
    return _Compact(
        file=model_file_of(small.actor, small.masks, small.provenance),
        source=small.actor,
        hidden=(result.original_hidden, result.after.hidden),
        parameters=(result.original_parameters, result.after.parameters),
        difference=result.largest_difference,
        scale=result.output_scale,
        given=result.before.hidden,
        again=artifact.provenance.get("compact") is True,
    )


def _of_graph(policy: PolicyFile) -> _Compact:
    try:
        result = shrink_graph(policy.graph, policy.masks, policy.metadata, actions=policy.actions)
    except InputError as error:
        raise ArtifactError(f"{policy.path}: {error}") from error
    return _Compact(
        file=result.file,
        source=result.file.graph,
        hidden=(result.original_hidden, result.after.hidden),
        parameters=(parameter_count(policy.graph), result.after.parameters),
        difference=result.largest_difference,
        scale=result.output_scale,
        given=result.before.hidden,
        again=policy.metadata.get("compact") is True,
    )
