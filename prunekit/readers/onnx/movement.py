"""Operators that only move or reshape values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from prunekit.errors import InputError
from prunekit.formats.onnx_inference import run_node
from prunekit.graph.op import Array
from prunekit.ops.activation import Activation
from prunekit.ops.elementary import Elementary
from prunekit.readers.lowering.arithmetic import scaled
from prunekit.readers.lowering.builder import Builder, Indices, positions
from prunekit.readers.lowering.layers import affine
from prunekit.readers.lowering.values import Choices, Data, Held, Index, Known, Truth, leading
from prunekit.readers.onnx.call import Call, operator


@operator(
    "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Gather", "GatherElements", "GatherND", "Split",
    "Expand", "Tile", "DepthToSpace", "SpaceToDepth",
)  # fmt: skip
def _move(call: Call) -> Sequence[Held]:
    """Read an operator by applying it to the positions of the values, which shows where each value goes."""
    value = call.held(0)
    if isinstance(value, Known) and call.node.op_type == "Gather" and isinstance(call.held(1), Data):
        return (_looked_up(call, value.array),)
    if isinstance(value, Known):
        raise InputError("looks up constants by a computed index; export the policy without it")
    dims = value.dims if isinstance(value, Data | Index | Choices) else value.of.dims
    others = [call.known(at) if call.has(at) else None for at in range(1, len(call.inputs))]
    return [_moved(call.build, value, found) for found in evaluated(call, [positions(dims), *others])]


@operator("Concat")
def _concat(call: Call) -> Sequence[Held]:
    if len(call.inputs) == 1:
        return (call.held(0),)
    held = [call.held(at) for at in range(len(call.inputs))]
    chosen = [one for one in held if isinstance(one, Index)]
    if len(chosen) == len(held):
        return (_choices(call, chosen),)
    parts = [call.floats(at) for at in range(len(call.inputs))]
    ranks = [len(part.dims) if isinstance(part, Data) else part.array.ndim for part in parts]
    if not min(ranks):
        raise InputError("concatenates numbers without an axis; export the policy again")
    filled = [part for part in parts if isinstance(part, Data) or part.array.size]
    return (call.build.concat(filled, call.axis(0, ranks[0])),)


def _choices(call: Call, chosen: Sequence[Index]) -> Choices:
    """Return several argmax results of one row each as one value, as for several discrete actions."""
    if any(leading(one.of.dims) or int(np.prod(one.dims)) != 1 for one in chosen):
        raise InputError("concatenates indices of several rows, which no kind of action space takes")
    flat = [Data(name=call.build.shaped(one.of, (one.of.dims[-1],)), dims=(one.of.dims[-1],)) for one in chosen]
    return Choices(
        of=call.build.data(call.build.concat(flat, 0)),
        counts=tuple(one.of.dims[-1] for one in chosen),
        starts=tuple(one.start for one in chosen),
        dims=(1, len(chosen)),
    )


@operator("Pad")
def _pad(call: Call) -> Sequence[Held]:
    """Read Pad with a constant: position 0 stands for the constant, and the values follow."""
    if call.attribute("mode", "constant") != "constant":
        raise InputError("pads with something else than a constant; export the policy without it")
    x = call.data()
    fill = call.number(2, float(call.attribute("value", 0.0)))
    given = [positions(x.dims) + 1, *(call.known(at) if call.has(at) else None for at in range(1, len(call.inputs)))]
    if len(given) > 2:
        given[2] = np.asarray(0, np.int64)
    (found,) = evaluated(call, given)
    flat = Data(name=x.name, dims=(int(np.prod(x.dims)),))
    whole = call.build.concat([Known(array=np.full(1, fill)), flat], 0)
    return (call.build.moved(whole, found.astype(np.int64)),)


@operator("OneHot")
def _one_hot(call: Call) -> Sequence[Held]:
    off, on = (float(number) for number in call.known(2).ravel())
    x = call.data()
    made = scaled(call.build, one_hot(call, x, int(call.number(1, 0.0))), on - off, off)
    axis = call.axis(-1, len(x.dims) + 1)
    return (call.build.moved(made, np.moveaxis(positions(made.dims), -1, axis)),)


def one_hot(call: Call, x: Data, count: int) -> Data:
    """Return [..., count] with a one at the position ``x``, an integer from 0 on, and zeros elsewhere."""
    if count < 1 or not call.whole(call.inputs.index(x)):
        raise InputError("indexes with values that are not integers; export the policy with an integer input")
    build, places = call.build, np.arange(count, dtype=np.float64)
    distance = build.pointwise(
        Elementary(kind="abs"), scaled(build, Data(name=x.name, dims=(*x.dims, 1)), 1.0, -places)
    )
    return build.pointwise(Activation(kind="relu"), scaled(build, distance, -1.0, 1.0))


def _looked_up(call: Call, table: Array) -> Data:
    """Return rows of a table, such as an embedding, as a layer on a one-hot vector."""
    x = call.data(1)
    if call.attribute("axis", 0) != 0 or table.ndim < 1 or table.dtype.kind != "f":
        raise InputError("looks up constants by a computed index; export the policy without it")
    rows = affine(call.build, one_hot(call, x, len(table)), table.reshape(len(table), -1).T.astype(np.float64))
    return Data(name=rows.name, dims=(*x.dims, *table.shape[1:]))


def evaluated(call: Call, arrays: Sequence[Array | None]) -> list[Array]:
    """Return the results of the node on ``arrays``; raises InputError if they do not fit."""
    pairs = zip(call.node.input, arrays, strict=True)
    numbers = {name: array for name, array in pairs if name and array is not None}
    try:
        return run_node(call.node, numbers, call.version)
    except ValueError as error:
        raise InputError(f"does not fit what it is given ({error}); export the policy again") from error


def _moved(build: Builder, value: Data | Index | Choices | Truth, indices: Indices) -> Held:
    match value:
        case Data():
            return build.moved(value, indices)
        case Truth():
            return Truth(of=build.moved(value.of, indices), strict=value.strict)
        case Choices():
            if (indices.ravel() != np.arange(len(value.counts))).any():
                raise InputError("picks some of several choices; choose the values before them with `output`")
            return replace(value, dims=indices.shape)
        case Index():
            if (indices.ravel() != np.arange(int(np.prod(value.dims)))).any():
                raise InputError("picks some of several indices; choose the values before them with `output`")
            return Index(of=value.of, start=value.start, dims=indices.shape)
