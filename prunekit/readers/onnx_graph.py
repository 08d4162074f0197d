"""Reading of a policy's ONNX file into a graph."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto

from prunekit.errors import InputError
from prunekit.formats.onnx_file import parse_onnx
from prunekit.formats.onnx_metadata import prunekit_metadata
from prunekit.formats.onnx_ops import STANDARD_DOMAINS
from prunekit.formats.onnx_work import Work, bound_work
from prunekit.formats.text import shown
from prunekit.graph.graph import Graph
from prunekit.graph.onnx import INITIAL_STATES
from prunekit.policy.description import described
from prunekit.readers.foreign import ForeignGraph
from prunekit.readers.lowering.builder import Builder
from prunekit.readers.lowering.ending import Carried, ended
from prunekit.readers.lowering.values import Data, Held, Known, Truth
from prunekit.readers.onnx.choice import Entry, chosen_output, entry_of, inputs_of, passed_through, states_of
from prunekit.readers.onnx.walk import Scope, Walk, needed_nodes, read_by

_FIRST_OPSET = 7
_ENDS = ("action", "outputs")
_LARGEST = float(np.finfo(np.float32).max)


def read_onnx_graph(content: bytes, called: str, *, output: str | None = None) -> ForeignGraph:
    """Return the policy in ``content``, an ONNX file with all its weights inside; ``output`` names the answer.

    The file is read for one observation at a time, so open batch sizes are 1. Raises ArtifactError if the content is
    not a sound ONNX file. Raises InputError, naming ``called``, node and operator, for anything that a graph cannot
    represent, for a sampled answer, and for an ambiguous one.
    """
    model = parse_onnx(content, called)
    del content  # which holds all weights again
    version = _opset(model, called)
    whole = bound_work(model, called)
    pairs = states_of(whole.plain)
    chosen = chosen_output(whole, called, output, [*pairs.values()])
    held = {*pairs}
    plain, pairs = _needed(whole.plain, chosen, pairs)
    entries = [entry_of(value, called) for value in inputs_of(plain)]
    _fix_sizes_(plain, entries)
    work = bound_work(plain, called, width=1)
    metadata = prunekit_metadata(model, called)
    first = metadata.pop(INITIAL_STATES, {})
    if not isinstance(first, dict) or not set(first) <= held:
        raise InputError(f"{called}: its metadata has initial values for states that do not exist; export it again")
    graph, notes = _read(work, called, version, entries, chosen, pairs, first)
    return ForeignGraph(
        graph=graph,
        output=chosen,
        others=tuple(value.name for value in model.graph.output if value.name not in (chosen, *pairs.values())),
        recognised=f"ONNX, opset {version}, {described(graph)}",
        notes=(*_left_out(whole, graph, chosen), *notes),
        metadata=metadata,
    )


def _read(
    work: Work,
    called: str,
    version: int,
    entries: Sequence[Entry],
    chosen: str,
    pairs: Mapping[str, str],
    first: Mapping[str, object],
) -> tuple[Graph, tuple[str, ...]]:
    names = [entry.port.name for entry in entries]
    clash = next((name for name in names if name in _ENDS), None)
    if clash is not None:
        raise InputError(f"{called}: its input is called '{clash}', which is the name of an output; rename it")
    walk = Walk(called=called, work=work, version=version, build=Builder([entry.port for entry in entries]))
    scope: Scope = {}
    for entry, value in zip(entries, inputs_of(work.plain), strict=True):
        data = Data(name=entry.port.name, dims=entry.dims)
        truth = value.type.tensor_type.elem_type == TensorProto.BOOL
        scope[entry.port.name] = Truth(of=data, strict=True) if truth else data
    walk.graph(work.plain.graph, scope, [chosen, *pairs.values()])
    answer = scope[chosen]
    if isinstance(answer, Known) or (isinstance(answer, Truth) and not answer.strict):
        raise InputError(f"{called}: its output '{shown(chosen)}' is not a value that depends on an observation")
    try:
        states = {name: _carried(scope[after], walk.build.specs[name].shape, name, first)
                  for name, after in pairs.items()}  # fmt: skip
        graph = ended(walk.build, answer, states)
    except InputError as error:
        raise InputError(f"{called}: {error}") from error
    used = {port.name for port in graph.inputs} | {*pairs}
    notes = [note for entry in entries if entry.port.name in used for note in entry.notes]
    return graph, tuple(dict.fromkeys([*notes, *walk.notes]))


def _opset(model: onnx.ModelProto, called: str) -> int:
    version = max((entry.version for entry in model.opset_import if entry.domain in STANDARD_DOMAINS), default=0)
    latest = onnx.defs.onnx_opset_version()
    if not _FIRST_OPSET <= version <= latest:
        raise InputError(
            f"{called}: has opset {version}, but only {_FIRST_OPSET} to {latest} are read; export it with one of them"
        )
    return version


def _carried(after: Held, shape: tuple[int, ...], name: str, first: Mapping[str, object]) -> Carried:
    """Return the next value of the state ``name``, with initial zeros or the values that prunekit wrote into the
    file.
    """
    if not isinstance(after, Data) or math.prod(after.dims) != math.prod(shape):
        raise InputError(f"its state '{shown(name)}' has another shape or type after the step than before")
    initial = np.zeros(shape, np.float32)
    if name in first:
        given = first[name]
        flat = given if isinstance(given, list) else []
        if len(flat) != initial.size or not all(type(one) in (int, float) and abs(one) <= _LARGEST for one in flat):
            raise InputError(f"its state '{shown(name)}' has initial values that do not fit it")
        initial = np.asarray(flat, np.float64).astype(np.float32).reshape(shape)
    return Carried(after=after, initial=initial)


def _needed(plain: onnx.ModelProto, chosen: str, pairs: Mapping[str, str]) -> tuple[onnx.ModelProto, dict[str, str]]:
    """Return a copy of ``plain`` reduced to what ``chosen`` depends on, and the states that it depends on, directly or
    through other states.
    """
    held: dict[str, str] = {}
    while True:
        found = _only(plain, [chosen, *held.values()])
        read = {value.name for value in inputs_of(found)}
        more = {name: after for name, after in pairs.items() if name in read and name not in held}
        if not more:
            return found, held
        held |= more


def _only(plain: onnx.ModelProto, wanted: Sequence[str]) -> onnx.ModelProto:
    """Return a copy of ``plain`` reduced to what the outputs ``wanted`` depend on."""
    graph = plain.graph
    nodes = needed_nodes(graph.node, wanted)
    needed = set().union({*wanted}, *(read_by(node) for node in nodes))
    made = onnx.helper.make_graph(
        nodes,
        graph.name or "policy",
        [value for value in graph.input if value.name in needed],
        [value for value in graph.output if value.name in wanted],
    )
    model = onnx.helper.make_model(made, opset_imports=plain.opset_import, ir_version=plain.ir_version)
    model.graph.initializer.extend(tensor for tensor in graph.initializer if tensor.name in needed)
    return model


def _fix_sizes_(model: onnx.ModelProto, entries: Sequence[Entry]) -> None:
    for value, entry in zip(inputs_of(model), entries, strict=True):
        for size, fixed in zip(value.type.tensor_type.shape.dim, entry.dims, strict=True):
            size.dim_value = fixed


def _left_out(whole: Work, graph: Graph, chosen: str) -> list[str]:
    """Return a note for each input that is only passed through, and for each that the answer does not depend on."""
    passed = passed_through(whole.plain.graph)
    used = {port.name for port in graph.inputs} | {state.before for state in graph.states}
    through = [
        f"input '{shown(source)}' only passes through to '{shown(name)}'; both are left out"
        for name, source in passed.items()
        if source not in used
    ]
    unread = [value.name for value in inputs_of(whole.plain) if value.name not in used | set(passed.values())]
    return [*through, *(f"input '{shown(name)}' is left out: '{shown(chosen)}' does not need it" for name in unread)]
