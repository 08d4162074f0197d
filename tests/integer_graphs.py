"""Chains and networks of ops that have an integer form, in every place that a step can have."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

import prunekit.ops  # noqa: F401  (registers them)
from prunekit.graph.graph import Graph, Node, Port
from prunekit.graph.op import Op
from prunekit.ops.activation import Activation
from prunekit.ops.activation_kinds import KINDS
from prunekit.ops.add import Add
from prunekit.ops.affine import Affine
from prunekit.ops.argmax import Argmax
from prunekit.ops.batch_norm import BatchNorm
from prunekit.ops.clip import Clip
from prunekit.ops.clip_to_bounds import ClipToBounds
from prunekit.ops.concat import Concat
from prunekit.ops.flatten import Flatten
from prunekit.ops.identity import Identity
from prunekit.ops.layer_norm import LayerNorm
from prunekit.ops.mul import Mul
from prunekit.ops.normalize import Normalize
from prunekit.ops.prelu import PReLU
from prunekit.ops.reshape import Reshape
from prunekit.ops.rms_norm import RMSNorm
from prunekit.ops.slice import Slice
from prunekit.ops.softmax import Softmax
from prunekit.ops.tanh_to_bounds import TanhToBounds

CLIPS = ((0.0, 6.0), (-1.0, 1.0), (-0.5, 2.0), (0.25, math.inf), (-math.inf, 0.75), (-0.1, math.inf))


def chain(ops: Sequence[Op], inputs: int, *tail: Op) -> Graph:
    """Return ``ops`` one after the other, and a tail, the head its end; without one the outputs are the action."""
    nodes, value = [], "obs"
    for index, op in enumerate(ops):
        name = "outputs" if index == len(ops) - 1 else f"{type(op).__name__.lower()}_{index}"
        nodes.append(Node(op=op, inputs=(value,), outputs=(name,)))
        value = name
    for index, op in enumerate(tail):
        name = "action" if index == len(tail) - 1 else f"tail_{index}"
        nodes.append(Node(op=op, inputs=(value,), outputs=(name,)))
        value = name
    outputs = ("action", "outputs") if tail else ("outputs",)
    return Graph(inputs=(Port(name="obs", shape=(inputs,)),), nodes=tuple(nodes), outputs=outputs)


def free(width: int) -> ClipToBounds:
    """Return a head that leaves actions as they are."""
    return ClipToBounds(low=(-math.inf,) * width, high=(math.inf,) * width)


def kind(name: str, number: float | None = None) -> Activation:
    """Return an activation with ``number``, or torch's, for each of its numbers."""
    given = KINDS[name].numbers.values()
    return Activation(kind=name, numbers=tuple(value if number is None else float(number) for value in given))


def affine(random: np.random.Generator, inputs: int, outputs: int, gain: float = 1.0) -> Affine:
    """Return a layer whose outputs are about ``gain`` times as large as its inputs."""
    weight = gain * random.standard_normal((outputs, inputs)) / inputs**0.5
    return Affine(weight=weight.astype(np.float32), bias=(0.3 * random.standard_normal(outputs)).astype(np.float32))


def batch_norm(random: np.random.Generator, width: int) -> BatchNorm:
    """Return a normalization of fixed statistics; one of its scales is zero."""
    mean, scale, shift = random.standard_normal((3, width)).astype(np.float32)
    scale[0] = 0.0
    variance = random.uniform(0.5, 2.0, width).astype(np.float32)
    return BatchNorm(mean=mean, variance=variance, scale=scale, shift=shift, epsilon=1e-5)


FUNCTIONS: dict[str, Callable[[np.random.Generator, int], list[Op]]] = {
    **{name: lambda random, _, name=name: [kind(name, random.choice([None, 0.3, 1.5, 3.0]))] for name in KINDS},
    "none": lambda *_: [],
    "clip": lambda random, _: [_clip(random)],
    "relu and clip": lambda random, _: [kind("relu"), _clip(random)],
    "prelu": lambda random, width: [PReLU(slope=(5.0 * random.standard_normal(width)).astype(np.float32))],
}
"""What may follow a layer, by name: of a generator and the layer's width."""


def _clip(random: np.random.Generator) -> Clip:
    low, high = CLIPS[random.integers(len(CLIPS))]
    return Clip(low=low, high=high)


def integer_chain_of(seed: int, functions: Sequence[str] | None = None) -> tuple[Graph, NDArray[np.float32]]:
    """Return a chain that integers can do, and raw observations [64, inputs].

    Everything is drawn by ``seed``, so that chains are as different as they can be; ``functions`` follow its layers.
    """
    random = np.random.default_rng(seed)
    inputs = int(random.integers(1, 10))
    ops: list[Op] = []
    front = random.choice(["raw", "normalized", "batch norm"])
    if front == "normalized":
        mean, scale = random.standard_normal(inputs), random.uniform(0.1, 5.0, inputs)
        clip = float(random.choice([1.0, 5.0, math.inf]))
        ops.append(Normalize(mean=mean.astype(np.float32), scale=scale.astype(np.float32), clip=clip))
    elif front == "batch norm":
        ops.append(batch_norm(random, inputs))
    width = inputs
    if functions is None:
        functions = random.choice(sorted(FUNCTIONS), random.integers(0, 4)).tolist()
    for function in functions:
        outputs = 2 * int(random.integers(1, 5))
        ops.append(affine(random, width, outputs, random.choice([0.2, 2.0, 20.0])))
        width = outputs
        if random.random() < 0.3:
            ops.append(batch_norm(random, width))
        if random.random() < 0.3:
            ops += [Reshape(shape=(2, width // 2)), Flatten()]
        ops += FUNCTIONS[function](random, width)
        if random.random() < 0.3:
            ops.append(batch_norm(random, width))
    outputs = int(random.integers(1, 5))
    ops.append(affine(random, width, outputs, 2.0))
    squashed = TanhToBounds(low=(-2.0,) * outputs, high=(0.5,) * outputs)
    some = np.arange(outputs) % 2 == 0
    ones, zeros = np.ones(outputs, np.float32), np.zeros(outputs, np.float32)
    tails: list[list[Op]] = [
        [],
        [Identity()],
        [Argmax(start=3)],
        [free(outputs)],
        [squashed],
        [kind("tanh"), Identity()],
        [kind("silu"), squashed],
        [Slice(selected=some), kind("tanh")],
        [LayerNorm(scale=ones, shift=zeros, epsilon=1e-3, count=outputs), Softmax()],
        [batch_norm(random, outputs), Argmax()],
    ]
    tail = tails[random.integers(len(tails))]
    observations = random.choice([0.1, 1.0, 30.0]) * random.standard_normal((64, inputs))
    return chain(ops, inputs, *tail), observations.astype(np.float32)


def integer_network_of(seed: int) -> tuple[Graph, NDArray[np.float32]]:
    """Return a network with branches that integers can do, and raw observations [64, inputs]; ``seed`` draws all.

    Values of 4 to 12 units, each made of those before it: sums, products, concatenations, slices, norms, layers.
    """
    random = np.random.default_rng(seed)
    inputs = int(random.integers(4, 10))
    nodes: list[Node] = []
    widths = {"obs": inputs}

    def put(op: Op, *given: str, width: int) -> str:
        name = f"v{len(nodes)}"
        nodes.append(Node(op=op, inputs=given, outputs=(name,)))
        widths[name] = width
        return name

    def layer(value: str, width: int) -> str:
        return put(affine(random, widths[value], width, random.choice([0.3, 2.0, 10.0])), value, width=width)

    for _ in range(int(random.integers(3, 9))):
        value = str(random.choice(list(widths)))
        width = widths[value]
        same = [name for name in widths if widths[name] == width]
        match int(random.integers(8)):
            case 0:
                put(Add(), value, str(random.choice(same)), width=width)
            case 1:
                put(Mul(), value, str(random.choice(same)), width=width)
            case 2 if width < 10:
                other = str(random.choice(list(widths)))
                put(Concat(parts=2), value, other, width=width + widths[other])
            case 3 if width > 3:
                selected = random.random(width) < 0.6
                selected[:2] = True
                put(Slice(selected=selected), value, width=int(selected.sum()))
            case 4:
                put(norm_of(random, width), value, width=width)
            case 5:
                for op in FUNCTIONS[str(random.choice(sorted(FUNCTIONS)))](random, width):
                    value = put(op, value, width=width)
            case 6:
                put(batch_norm(random, width), value, width=width)
            case _:
                value = layer(value, int(random.integers(4, 9)))
                put(kind(str(random.choice(["tanh", "relu", "elu"]))), value, width=widths[value])
    end = layer(list(widths)[-1], 3)
    if random.random() < 0.3:  # a tail that reads a hidden value too
        hidden = str(random.choice(list(widths)[:-1]))
        end = put(Concat(parts=2), end, hidden, width=3 + widths[hidden])
    head = free(widths[end]) if random.random() < 0.7 else Argmax()
    nodes.append(Node(op=head, inputs=(end,), outputs=("action",)))
    observations = random.choice([0.1, 1.0, 30.0]) * random.standard_normal((64, inputs))
    port = Port(name="obs", shape=(inputs,))
    return Graph(inputs=(port,), nodes=tuple(nodes), outputs=("action", end)), observations.astype(np.float32)


def norm_of(random: np.random.Generator, width: int) -> Op:
    """Return a norm with constants of its own, some of it of values that have gone."""
    scale, shift = random.uniform(0.5, 1.5, width).astype(np.float32), random.standard_normal(width).astype(np.float32)
    count = width + int(random.choice([0, 0, 3, 40]))
    if random.random() < 0.5:
        return RMSNorm(scale=scale, epsilon=1e-6, count=count)
    return LayerNorm(scale=scale, shift=shift, epsilon=float(random.choice([1e-5, 1e-2])), count=count)


def residual_network(random: np.random.Generator, inputs: int, width: int, outputs: int) -> Graph:
    """Return an actor of two residual blocks with layer norms, as SimBa has them."""
    nodes: list[Node] = []

    def put(op: Op, *given: str) -> str:
        name = ("outputs", "action")[isinstance(op, ClipToBounds)] if len(nodes) > 11 else f"v{len(nodes)}"
        nodes.append(Node(op=op, inputs=given, outputs=(name,)))
        return name

    def norm(value: str) -> str:
        scale, shift = random.uniform(0.5, 1.5, width), 0.3 * random.standard_normal(width)
        arrays = scale.astype(np.float32), shift.astype(np.float32)
        return put(LayerNorm(scale=arrays[0], shift=arrays[1], epsilon=1e-5, count=width), value)

    value = put(affine(random, inputs, width), "obs")
    for _ in range(2):
        hidden = put(kind("relu"), put(affine(random, width, 4 * width), norm(value)))
        value = put(Add(), value, put(affine(random, 4 * width, width), hidden))
    put(free(outputs), put(affine(random, width, outputs), norm(value)))
    port = Port(name="obs", shape=(inputs,))
    return Graph(inputs=(port,), nodes=tuple(nodes), outputs=("action", "outputs"))
