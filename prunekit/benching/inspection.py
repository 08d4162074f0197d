"""The facts that ``prunekit inspect`` shows about a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from prunekit.benching.models import read_runnable
from prunekit.console import in_words, joined, printable, widths
from prunekit.errors import ArtifactError, InputError
from prunekit.export.onnx import to_onnx
from prunekit.formats.text import shown
from prunekit.graph.graph import Graph, specs_of
from prunekit.policy.description import activations_of, is_normalized, op_counts
from prunekit.policy.sizes import sizes_of
from prunekit.readers.normalizers import UNUSED, UnknownNormalizerError
from prunekit.readers.policy_file import PolicyFile, PolicyOptions
from prunekit.readers.read import Known, recognised
from prunekit.stats.claim import ALPHA, counted

# What is measured, as it is shown; other names are shown with spaces.
_LABELS = {
    "size_bytes": "file size, bytes",
    "hidden": "hidden units",
    "units": "units in all",
    "macs": "multiply-accumulates",
    "onnx_bytes": "as ONNX, bytes",
    "env": "environment",
}
_WHOLE = ("file", "recognised", "not_read", "notes")
_COUNTS = ("size_bytes", "units", "parameters", "macs", "onnx_bytes")
_MEASURED = (
    "file", "recognised", "not_read", "notes", "size_bytes", "inputs", "outputs", "ops", "activations", "normalizer",
    "hidden", "units", "parameters", "macs", "onnx_bytes", "living_units", "sampled_outputs", "sizes",
)  # fmt: skip


def inspect_model(path: Path, options: PolicyOptions | None = None) -> dict[str, Any]:
    """Return facts about the policy file at ``path``: its kind, inputs, outputs, ops and sizes, living units per group
    for a ``.pt``, and its provenance.

    An ONNX file that runs but cannot be read as a graph is counted by rule, and ``not_read`` says why. A zip that does
    not say whether it has a normalizer is shown without one, with a note; its ``normalizer`` is None. Measured facts
    come first and are never replaced by what the file claims. Raises as ``read_policy`` does.
    """
    file = recognised(path)
    options = options or PolicyOptions()
    if file.kind == "onnx":
        facts, metadata = _of_onnx(file, options)
    else:
        policy, unknown = _with_or_without_normalizer(file, options)
        content = len(to_onnx(policy.graph, policy.metadata))
        facts, metadata = _of_policy(policy, policy.path.stat().st_size, content), policy.metadata
        if unknown:
            facts["normalizer"] = None
    for key in metadata:
        if not key.isidentifier():
            entry = shown(key, 60)
            raise ArtifactError(
                f"{path}: its metadata has an entry '{entry}', which is not a name; export the model again"
            )
    told = {key: value for key, value in metadata.items() if key not in _MEASURED}
    return facts | {key: value for key, value in told.items() if value not in facts.get("notes", ())}


def _with_or_without_normalizer(file: Known, options: PolicyOptions) -> tuple[PolicyFile, bool]:
    """Return the policy, and whether it may have a normalizer that nothing tells of; a note then says so."""
    try:
        return file.read(options), False
    except UnknownNormalizerError as error:
        policy = file.read(replace(options, without_normalizer=True))
        unused = policy.metadata.get(UNUSED)  # which the note says better
        notes = [note for note in policy.notes if note != unused]
        notes.append(f"shown without a normalizer: {str(error).removeprefix(f'{policy.path}: ')}")
        return replace(policy, notes=tuple(notes), metadata={}), True


def _of_onnx(file: Known, options: PolicyOptions) -> tuple[dict[str, Any], Mapping[str, Any]]:
    path = file.opened.path
    model = read_runnable(path)
    try:
        policy = file.read(options)
    except InputError as error:
        if options != PolicyOptions():
            raise
        facts: dict[str, Any] = {
            "file": str(path),
            "recognised": "ONNX",
            "not_read": str(error).removeprefix(f"{path}: "),
            "size_bytes": model.size_bytes,
            "hidden": list(model.hidden),
            "units": model.units,
            "parameters": model.parameters,
            "macs": model.macs,
            "onnx_bytes": len(model.content),
        }
    else:
        facts = _of_policy(policy, model.size_bytes, len(model.content))
    if model.sampled:
        facts["sampled_outputs"] = sorted(model.sampled)
    return facts, model.metadata


def _of_policy(policy: PolicyFile, size_bytes: int, onnx_bytes: int) -> dict[str, Any]:
    graph, sizes = policy.graph, sizes_of(policy.graph)
    facts: dict[str, Any] = {"file": str(policy.path), "recognised": policy.recognised}
    if policy.notes:
        facts["notes"] = list(policy.notes)
    facts |= {
        "size_bytes": size_bytes,
        **_ends(graph),
        "ops": op_counts(graph),
        "activations": activations_of(graph),
        "normalizer": is_normalized(graph),
        "hidden": list(sizes.hidden),
        "units": sizes.units,
        "parameters": sizes.parameters,
        "macs": sizes.macs,
        "onnx_bytes": onnx_bytes,
    }
    if policy.masks is not None:
        facts["living_units"] = {name: [int(keep.sum()), keep.size] for name, keep in policy.masks.items()}
    return facts


def _ends(graph: Graph) -> dict[str, Any]:
    specs = specs_of(graph)
    return {
        "inputs": {port.name: list(port.shape) for port in graph.inputs},
        "outputs": {name: list(specs[name].shape) for name in graph.outputs},
    }


def _told(key: str, value: Any, facts: Mapping[str, Any]) -> str:
    if key in _WHOLE:
        return value if isinstance(value, str) else "; ".join(value)
    if key in ("inputs", "outputs"):  # a shape without axes is one number
        return joined((f"{name} {shape or 'one number'}" for name, shape in value.items()), len(value))
    if key == "normalizer" and value is None:
        return "not known"
    if key == "living_units":
        return joined((f"{name}: {living:,} of {width:,}" for name, (living, width) in value.items()), len(value))
    if key in _COUNTS:
        return f"{value:,}"
    if key == "hidden":
        return widths(tuple(value))
    if key in ("activations", "sampled_outputs"):
        return joined(value, len(value)) or "none"
    if key == "certificate" and isinstance(value, Mapping):
        disturbance = facts.get("disturbance")
        disturbed = any(disturbance.values()) if isinstance(disturbance, Mapping) else False
        return _certificate(value, disturbed=disturbed) or in_words(value)
    return _claimed(key, value) or in_words(value)


def _claimed(key: str, value: Any) -> str | None:
    """Return in words what prunekit itself writes to files under ``key``; None for a value of another form."""
    match key, value:
        case "env", {"id": str(name), **rest} if rest.keys() <= {"kwargs"}:
            kwargs = rest.get("kwargs")
            return in_words(name) + (f" with {in_words(kwargs)}" if kwargs else "")
        case "disturbance", Mapping():
            return in_words({_spaced(name): size for name, size in value.items() if size})
        case "teacher", {"name": str(name), "size": {"hidden": list(hidden), "parameters": int(count)}, **rest}:
            if rest.keys() - {"notes"} or not all(type(width) is int for width in hidden) or abs(count) >= 2**53:
                return None
            return f"{in_words(name)}, hidden {in_words(widths(tuple(hidden)))}, {count:,} parameters"
        case _, int() if not isinstance(value, bool) and abs(value) < 2**53:
            return f"{value:,}"
    return None


def _spaced(name: object) -> str:
    return str(name).replace("_", " ")


def _certificate(found: Mapping[str, Any], *, disturbed: bool) -> str | None:
    """Return the certificate ``found`` in a file as one line; None if it is not of the form that prunekit writes.

    The line has the verdict, the share of the return that is kept, the confidence, the estimate and the episodes.
    """
    verdict, keep, confidence = found.get("verdict"), _number(found.get("keep")), _number(found.get("confidence"))
    episodes = _number(found.get("episodes"))
    if not isinstance(verdict, str) or keep is None or confidence is None or episodes is None:
        return None
    certified = verdict == "certified"
    fails = _number(found.get("max_failures"))
    rest = "" if fails is None else f" and to fail in at most {fails:.1%} of episodes"
    # A candidate is tested at a part of the level, and what is claimed holds for all that were tested.
    words = f"{'' if certified else 'not '}certified to keep at least {keep:g} of the teacher's gain"
    words += f" over the random policy{rest} with {min(confidence, 1.0 - ALPHA):.0%} confidence"
    words += " under the disturbance below" if disturbed else ""
    retention, bound = _number(found.get("retention")), _number(found.get("lower_bound"))
    figures = [
        "retention not known" if retention is None else f"retention {retention:.3f}",
        *([] if bound is None else [f"lower bound {bound:.3f}"]),
        counted(int(episodes), "fresh episode"),
        *([] if certified else [f"verdict {in_words(verdict)}"]),
    ]
    return f"{words}: {', '.join(figures)}"


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, float) or (type(value) is int and abs(value) < 2**53) else None


def render(facts: dict[str, Any]) -> Table:
    """Return ``facts`` as a table of two columns, in words; what is long is cut (``--json`` has all of it)."""
    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    told = False
    for key, value in facts.items():
        if key not in _MEASURED and not told:
            told = True
            table.add_section()
            table.add_row(Text("the file says"), Text(""))
        label = _LABELS.get(key, _spaced(key))
        table.add_row(Text(printable(label)), Text(printable(_told(key, value, facts))))
    return table
