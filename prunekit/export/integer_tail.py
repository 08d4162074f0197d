"""What follows the last layer's sums, in floats: functions of the kinds that C has, and a head."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunekit.activations import Activation as FloatActivation
from prunekit.errors import InputError
from prunekit.export.c_float import decided
from prunekit.export.c_math import Float32, activation_in_float32
from prunekit.graph.graph import Graph
from prunekit.graph.op import name_of
from prunekit.ops.activation import Activation
from prunekit.ops.argmax import Argmax
from prunekit.ops.clip_to_bounds import ClipToBounds
from prunekit.ops.tanh_to_bounds import TanhToBounds
from prunekit.policy.heads import ArgmaxHead, ClipHead, Head, TanhHead


def head_of(tail: Graph) -> tuple[tuple[FloatActivation, ...], Head]:
    """Return the functions of ``tail`` and the head behind them; raises InputError for another op, naming its node."""
    functions: list[FloatActivation] = []
    head: Head | None = None
    for node in tail.nodes:
        op = node.op
        if isinstance(op, Activation) and head is None:
            functions.append(FloatActivation(op.kind, *op.numbers))
        elif isinstance(op, Argmax):
            head = ArgmaxHead(op.start)
        elif isinstance(op, ClipToBounds):
            head = ClipHead(op.low, op.high)
        elif isinstance(op, TanhToBounds):
            head = TanhHead(op.low, op.high)
        else:
            raise InputError(
                f"node '{node.name}': {name_of(op)} has no form for C behind integers; export without --int8"
            )
    if head is None:
        width = tail.inputs[0].shape[-1]
        head = ClipHead((-np.inf,) * width, (np.inf,) * width)
    return tuple(functions), head


def tail_actions(tail: Graph, sums: Float32) -> tuple[NDArray[Any], Float32]:
    """Return (actions, values before the head) of the last layer's floats [n, k], to the bit that the C gives."""
    functions, head = head_of(tail)
    for function in functions:
        sums = activation_in_float32(function, sums)
    return decided(head, sums), sums
