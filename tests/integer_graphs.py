"""Chains of ops that have an integer form, in every place that a step can have."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from numpy.typing import NDArray

import prunekit.ops  # noqa: F401  (registers them)
from prunekit.graph.graph import Graph, Node, Port, specs_of
from prunekit.graph.op import Op
from prunekit.ops.activation import Activation
from prunekit.ops.activation_kinds import KINDS
from prunekit.ops.affine import Affine
from prunekit.ops.argmax import Argmax
from prunekit.ops.batch_norm import BatchNorm
from prunekit.ops.clip import Clip
from prunekit.ops.clip_to_bounds import ClipToBounds
from prunekit.ops.flatten import Flatten
from prunekit.ops.normalize import Normalize
from prunekit.ops.prelu import PReLU
from prunekit.ops.reshape import Reshape
from prunekit.ops.tanh_to_bounds import TanhToBounds

CLIPS = ((0.0, 6.0), (-1.0, 1.0), (-0.5, 2.0), (0.25, math.inf), (-math.inf, 0.75), (-0.1, math.inf))


def chain(ops: Sequence[Op], inputs: int, head: Op | None = None) -> Graph:
    """Return ``ops`` one after the other, and a head; without one the outputs are the action."""
    nodes, value = [], "obs"
    for index, op in enumerate(ops):
        name = "outputs" if index == len(ops) - 1 else f"{type(op).__name__.lower()}_{index}"
        nodes.append(Node(op=op, inputs=(value,), outputs=(name,)))
        value = name
    outputs = ("outputs",)
    if head is not None:
        nodes.append(Node(op=head, inputs=(value,), outputs=("action",)))
        outputs = ("action", "outputs")
    return Graph(inputs=(Port(name="obs", shape=(inputs,)),), nodes=tuple(nodes), outputs=outputs)


def free(width: int) -> ClipToBounds:
    """Return a head that leaves actions as they are."""
    return ClipToBounds(low=(-math.inf,) * width, high=(math.inf,) * width)


def kind(name: str, number: float | None = None) -> Activation:
    """Return an activation with ``number``, or torch's, for each of its numbers."""
    given = KINDS[name].numbers.values()
    return Activation(kind=name, numbers=tuple(value if number is None else number for value in given))


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


@st.composite
def integer_chains(draw: DrawFn) -> tuple[Graph, NDArray[np.float32]]:
    """Draw a chain that integers can do, and raw observations [64, inputs]."""
    random = np.random.default_rng(draw(st.integers(0, 2**16)))
    inputs = draw(st.integers(1, 9))
    ops: list[Op] = []
    front = draw(st.sampled_from(["raw", "normalized", "batch norm"]))
    if front == "normalized":
        mean, scale = random.standard_normal(inputs), random.uniform(0.1, 5.0, inputs)
        clip = draw(st.sampled_from([1.0, 5.0, math.inf]))
        ops.append(Normalize(mean=mean.astype(np.float32), scale=scale.astype(np.float32), clip=clip))
    elif front == "batch norm":
        ops.append(batch_norm(random, inputs))
    width = inputs
    for _ in range(draw(st.integers(0, 3))):
        outputs = draw(st.integers(1, 4)) * 2
        ops.append(affine(random, width, outputs, draw(st.sampled_from([0.2, 2.0, 20.0]))))
        width = outputs
        if draw(st.booleans()):
            ops.append(batch_norm(random, width))
        if draw(st.booleans()):
            ops += [Reshape(shape=(2, width // 2)), Flatten()]
        ops += draw(_functions(random, width))
        if draw(st.booleans()):
            ops.append(batch_norm(random, width))
    outputs = draw(st.integers(1, 4))
    ops.append(affine(random, width, outputs, 2.0))
    head = draw(
        st.sampled_from([Argmax(start=3), free(outputs), TanhToBounds(low=(-2.0,) * outputs, high=(0.5,) * outputs)])
    )
    observations = draw(st.sampled_from([0.1, 1.0, 30.0])) * random.standard_normal((64, inputs))
    graph = chain(ops, inputs, head)
    assert specs_of(graph)
    return graph, observations.astype(np.float32)


@st.composite
def _functions(draw: DrawFn, random: np.random.Generator, width: int) -> list[Op]:
    """Draw what follows a layer: nothing, one function, or a rectifier and a clip."""
    which = draw(st.sampled_from(["none", "kind", "kind", "kind", "clip", "prelu", "relu and clip"]))
    clip = Clip(**dict(zip(("low", "high"), draw(st.sampled_from(CLIPS)), strict=True)))
    if which == "kind":
        name = draw(st.sampled_from(sorted(KINDS)))
        return [kind(name, draw(st.sampled_from([None, 0.3, 1.5, 3.0])))]
    slopes = draw(st.sampled_from([0.5, 5.0])) * random.standard_normal(width)
    return {
        "none": [],
        "clip": [clip],
        "prelu": [PReLU(slope=slopes.astype(np.float32))],
        "relu and clip": [kind("relu"), clip],
    }[which]
