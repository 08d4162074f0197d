"""The choice of inputs that are observations, and of the output that is the policy's answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import onnx

from prunekit.errors import InputError
from prunekit.formats.onnx_layers import sampled_outputs, varying_outputs
from prunekit.formats.onnx_work import Work
from prunekit.formats.text import shown
from prunekit.graph.graph import Port
from prunekit.readers.onnx.call import FLOATS

_BY_NAME: tuple[frozenset[str], ...] = tuple(
    frozenset(names.split())
    for names in (
        "action",
        "actions",
        "continuous_actions discrete_actions continuous_action discrete_action",
        "action_mean mean_action mean_actions actions_mean",
        "deterministic_action deterministic_actions",
        "mu mean loc",
        "outputs scores",
        "output",
        "logits action_logits q_values q q_value policy pi act acts",
    )
)
_NO_ANSWERS = frozenset(
    (
        *("value", "values", "critic", "state_value", "v", "vf"),
        *("log_prob", "log_probs", "neglogp", "entropy", "log_std", "std", "sigma", "scale"),
    )
)

_STATES = ("recurrent", "hidden", "memory", "state")


@final
@dataclass(frozen=True, kw_only=True)
class Entry:
    """An input for one observation: ``dims`` are its sizes with a batch axis of one, ``port`` has them without it."""

    port: Port
    dims: tuple[int, ...]
    notes: tuple[str, ...]


def entry_of(value: onnx.ValueInfoProto, called: str) -> Entry:
    """Return how an input is read; raises InputError for open sizes other than the batch size."""
    tensor, name = value.type.tensor_type, shown(value.name)
    if not tensor.HasField("shape"):
        raise InputError(f"{called}: its input '{name}' has no shape; export the policy with one")
    sizes = [size.dim_value if size.dim_value > 0 else None for size in tensor.shape.dim]
    told = [size.dim_value if size.dim_value > 0 else size.dim_param or "?" for size in tensor.shape.dim]
    if any(size is None for size in sizes[1:]):
        raise InputError(
            f"{called}: its input '{name}' has the shape {[shown(one) for one in told]}, with more open sizes than the "
            "batch; export it with all others fixed"
        )
    batched = bool(sizes) and (sizes[0] is None or (sizes[0] == 1 and len(sizes) > 1))
    dims = tuple(size or 1 for size in sizes)
    shape = (dims[1:] if batched else dims) or (1,)
    notes = []
    if not batched:
        notes.append(f"input '{name}' of shape {list(dims)} has no batch axis")
    elif sizes[0] == 1:
        notes.append(f"input '{name}' has a fixed batch of 1")
    if tensor.elem_type not in FLOATS:
        notes.append(f"input '{name}' holds no floats; read as such")
    return Entry(port=Port(name=value.name, shape=shape), dims=dims, notes=tuple(notes))


def inputs_of(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Return the inputs that are given, not stored."""
    stored = {tensor.name for tensor in model.graph.initializer}
    return [entry for entry in model.graph.input if entry.name not in stored]


def passed_through(graph: onnx.GraphProto) -> dict[str, str]:
    """Return the outputs that are inputs as they are, with these."""
    makers = {name: node for node in graph.node for name in node.output}
    inputs, found = {entry.name for entry in graph.input}, {}
    for output in graph.output:
        name = output.name
        while name in makers and makers[name].op_type == "Identity":
            name = makers[name].input[0]
        if name in inputs:
            found[output.name] = name
    return found


def states_of(model: onnx.ModelProto) -> dict[str, str]:
    """Return the inputs that are left for the next call as outputs.

    They are called ``NAME`` and ``NAME_out``, as prunekit writes states, or ``NAME_in`` and ``NAME_out``, as rsl_rl and
    ML-Agents do. They have one shape and hold floats; what only passes through is none.
    """
    outputs = {value.name: value for value in model.graph.output}
    passed, found = passed_through(model.graph), {}
    for value in inputs_of(model):
        after = outputs.get(f"{value.name}_out", outputs.get(f"{value.name.removesuffix('_in')}_out"))
        if after is None or after.name in passed or value.type.tensor_type.elem_type not in FLOATS:
            continue
        if _may_be_of_one_shape(value, after):
            found[value.name] = after.name
    return found


def _may_be_of_one_shape(before: onnx.ValueInfoProto, after: onnx.ValueInfoProto) -> bool:
    """Return whether all known sizes except the batch agree; exporters often leave the sizes of outputs open."""
    if not after.type.tensor_type.HasField("shape"):
        return True
    sizes = [[size.dim_value for size in one.type.tensor_type.shape.dim] for one in (before, after)]
    pairs = zip(sizes[0][1:], sizes[1][1:], strict=False)
    return len(sizes[0]) == len(sizes[1]) and all(a == b or min(a, b) <= 0 for a, b in pairs)


def chosen_output(work: Work, called: str, wanted: str | None, states: Sequence[str] = ()) -> str:
    """Return the output that is the answer: ``wanted``, or one with a usual name, or the only one that depends on an
    input.

    Outputs in ``states`` are next states and not considered. Raises InputError if the answer is sampled, naming outputs
    that are not, and if there are several candidates.
    """
    graph = work.plain.graph
    names = [entry.name for entry in graph.output]
    if wanted is not None and wanted not in names:
        raise InputError(f"{called}: has no output '{shown(wanted)}'; `output` names one of {_listed(names)}")
    passed, sampled = passed_through(graph), sampled_outputs(work)
    if wanted is not None and (wanted in passed or wanted not in varying_outputs(work)):
        raise InputError(
            f"{called}: its output '{shown(wanted)}' does not depend on the observation; `output` names one of "
            f"{_listed(names)}"
        )
    varying = [name for name in varying_outputs(work) if name not in passed and name not in states]
    candidates = [wanted] if wanted is not None else _candidates(varying, sampled)
    drawn = next((name for name in candidates if name in sampled), None)
    if drawn is not None:
        others = [name for name in varying if name not in sampled and not any(word in name for word in _STATES)]
        raise _samples(called, drawn, sampled[drawn], others)
    if not candidates:
        raise InputError(f"{called}: none of its outputs ({_listed(names)}) depends on an input, so it is not a policy")
    if len(candidates) > 1:
        raise InputError(
            f"{called}: several of its outputs could be the action ({_listed(candidates)}); give `output` NAME"
        )
    return candidates[0]


def _candidates(varying: Sequence[str], sampled: dict[str, str]) -> list[str]:
    """Return the candidates: outputs with a usual name first, then the others, sampled ones first so they are not
    overlooked.
    """
    for names in _BY_NAME:
        found = [name for name in varying if name.lower() in names]
        if found:
            return found
    others = [name for name in varying if name.lower() not in _NO_ANSWERS] or list(varying)
    return [name for name in others if name in sampled] or others


def _samples(called: str, output: str, source: str, others: Sequence[str]) -> InputError:
    advice = "export its deterministic action"
    if others:
        advice = f"choose an output that is not sampled ({_listed(others)}) with `output`"
    return InputError(
        f"{called}: samples its action (output '{shown(output)}' depends on {source}), so one observation has "
        f"many answers; {advice}"
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(shown(name) for name in names)
