"""Conversion of a TorchScript file into a graph by one symbolic run of its program."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prunekit.errors import ArtifactError, InputError
from prunekit.graph.graph import Port
from prunekit.policy.description import described
from prunekit.readers.foreign import ForeignGraph
from prunekit.readers.lowering.ending import ended
from prunekit.readers.lowering.values import Data, Index, core
from prunekit.readers.torchscript import activations, arithmetic, layers, layout, recurrent, reductions  # noqa: F401
from prunekit.readers.torchscript.archive import Script, read_script
from prunekit.readers.torchscript.budget import run_for
from prunekit.readers.torchscript.building import Building
from prunekit.readers.torchscript.states import KeptState, kept_states
from prunekit.readers.torchscript.symbols import Condition, Missing, Symbol
from prunekit.readers.torchscript.tracer import Tracer
from prunekit.readers.torchscript.widths import Shape, shapes_for

_STATE = re.compile(r"(h|c|hx|cx|hc)\d*|states?(_?in)?\d*|.*(hidden|cell|memory|rnn|lstm|gru).*", re.IGNORECASE)
"""What people call the state of a recurrent policy."""


def read_torchscript_graph(path: Path, *, width: int | None = None) -> ForeignGraph:
    """Return the policy in the TorchScript file at ``path``, with one input per tensor that ``forward`` takes.

    A tensor of the file that a call writes to is a state, whose initial value is in the file. ``width`` is the number
    of values in an observation, if the file does not show it. Raises ArtifactError, naming the file, if it is damaged,
    if its width is unknown (the message names the option), or if an operator has no form in a graph (the message names
    operator and module).
    """
    try:
        script = read_script(path)
    except InputError as error:
        raise ArtifactError(f"{path}: {error}") from error
    try:
        return graph_of_script(script, width)
    except InputError as error:
        raise ArtifactError(f"{path}: its TorchScript {error}") from error


def graph_of_script(script: Script, width: int | None = None) -> ForeignGraph:
    """Return the graph of a program; raises InputError in words that follow 'its TorchScript'."""
    names = _tensors(script)
    if script.dtype not in (torch.float32, torch.float64):
        told = str(script.dtype).removeprefix("torch.")
        raise InputError(f"computes with {told}; save the policy in float32")
    shapes, written = shapes_for(script, names, width)
    ports = [Port(name=_port(name), shape=core(shape)) for name, shape in zip(names, shapes, strict=True)]
    states = kept_states(script, written, [port.name for port in ports])
    building = Building([*ports, *(state.port for state in states)], script.dtype)
    tracer = Tracer(building, script.module, {state.place: (state.tensor, state.port.name) for state in states})
    result = _traced(script, tracer, ports, shapes)
    _require_no_state(names, result)
    output, answer, others = _chosen(result)
    return _finished(tracer, ports, states, answer, output, others)


def _tensors(script: Script) -> list[str]:
    """Return the names of the tensors that ``forward`` takes; raises InputError for required arguments of other
    types.
    """
    arguments = script.forward.definition.args
    needed = arguments.args[1 : len(arguments.args) - len(arguments.defaults)]
    if not needed:
        raise InputError("takes no observation")
    for argument in needed:
        kind = "Tensor" if argument.annotation is None else ast.unparse(argument.annotation)
        if kind != "Tensor":
            raise InputError(
                f"takes '{argument.arg[:60]}', a {kind[:60]}; only tensors can be inputs of a graph, and recurrent "
                "policies are not read"
            )
    return [argument.arg for argument in needed]


def _port(name: str) -> str:
    return f"{name}_in" if name in ("action", "outputs") else name


@torch.no_grad()
def _traced(script: Script, tracer: Tracer, ports: Sequence[Port], shapes: Sequence[Shape]) -> Any:
    run, building = run_for(1, script.weights, script.storages, script.lists), tracer.building
    run.tracing = tracer
    symbols = [building.symbol(Data(name=port.name, dims=shape)) for port, shape in zip(ports, shapes, strict=True)]
    try:
        return tracer.seen(script.forward.call([script.module, *symbols], {}, run))
    except InputError:
        raise
    except Exception as error:  # whatever the program's own arithmetic raises
        lines = str(error).strip().splitlines()
        told = lines[-1][:200] if lines else type(error).__name__
        raise InputError(f"cannot be followed at 'torch.{building.doing}'{building.place()} ({told})") from error


def _require_no_state(names: Sequence[str], result: Any) -> None:
    """Raise InputError if a further input has the name of a state and a further output could be its next value."""
    state = next((name for name in names[1:] if _STATE.fullmatch(name)), None)
    if state is not None and isinstance(result, list | tuple | dict) and len(result) > 1:
        raise InputError(
            f"takes '{state[:60]}' too and returns several values, as recurrent policies do, which are not read"
        )


def _chosen(result: Any) -> tuple[str, Any, tuple[str, ...]]:
    """Return (name of the answer, the answer, names of the other outputs)."""
    if isinstance(result, dict) and result:
        name, *others = result
        return str(name), result[name], tuple(str(other) for other in others)
    if isinstance(result, list | tuple) and result:
        return "0", result[0], tuple(str(at) for at in range(1, len(result)))
    return "0", result, ()


def _finished(
    tracer: Tracer,
    ports: Sequence[Port],
    states: Sequence[KeptState],
    answer: Any,
    output: str,
    others: tuple[str, ...],
) -> ForeignGraph:
    building = tracer.building
    if isinstance(answer, Missing):
        raise InputError(answer.reason)
    if isinstance(answer, Condition) or not isinstance(answer, Symbol | Tensor):
        raise InputError(f"returns a {type(answer).__name__.lower()}, not a tensor of floats or an index")
    if isinstance(answer, Tensor) or (answer.names < 0).all():
        raise InputError("returns the same answer for every observation, so there is nothing to read")
    building.where, building.doing = "", "outputs"
    if answer.cell.dtype.is_floating_point:
        found: Data | Index = building.data(answer)
    else:
        found = building.index_of(answer)
    carried = {state.port.name: state.carried(building, tracer.left(state.place)) for state in states}
    graph = ended(building.build, found, carried)
    left = [port.name for port in ports if port not in graph.inputs]
    notes = [f"its input '{name}' is not used, and left out" for name in left]
    recognised = f"TorchScript, {described(graph)}{', recurrent' if graph.states else ''}"
    return ForeignGraph(
        graph=graph,
        output=output,
        others=others,
        recognised=recognised,
        notes=(*notes, *(note for state in states for note in state.notes)),
    )
