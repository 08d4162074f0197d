"""Graphs that cannot be: each refused in one line that names the culprit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import prunekit.ops  # noqa: F401
from prunekit.errors import InputError
from prunekit.graph.graph import Graph, Node, Port, State, specs_of
from prunekit.graph.op import Op, Spec
from prunekit.graph.reference import initial_states, run_step
from prunekit.ops.activation import Activation
from prunekit.ops.add import Add
from prunekit.ops.affine import Affine
from prunekit.ops.argmax import Argmax
from prunekit.ops.batch_norm import BatchNorm
from prunekit.ops.clip import Clip
from prunekit.ops.clip_to_bounds import ClipToBounds
from prunekit.ops.concat import Concat
from prunekit.ops.gru import GRU
from prunekit.ops.l2_norm import L2Norm
from prunekit.ops.layer_norm import LayerNorm
from prunekit.ops.normalize import Normalize
from prunekit.ops.prelu import PReLU
from prunekit.ops.reshape import Reshape
from prunekit.ops.slice import Slice
from prunekit.ops.tanh_to_bounds import TanhToBounds

ONES = np.ones(3, np.float32)
SQUARE = np.ones((3, 3), np.float32)
GOOD = Graph(
    inputs=(Port(name="obs", shape=(3,)),),
    nodes=(
        Node(op=Affine(weight=SQUARE, bias=ONES), inputs=("obs",), outputs=("a",)),
        Node(op=Add(), inputs=("a", "h"), outputs=("h2",)),
        Node(op=Argmax(), inputs=("h2",), outputs=("action",)),
    ),
    outputs=("action",),
    states=(State(before="h", after="h2", initial=np.zeros(3, np.float32)),),
)
NAN = np.array([1.0, np.nan, 1.0], np.float32)


def node(op: Op, inputs: str = "obs", outputs: str = "x") -> dict[str, Any]:
    return {"nodes": (*GOOD.nodes, Node(op=op, inputs=tuple(inputs.split()), outputs=tuple(outputs.split())))}


def test_specs_are_inferred() -> None:
    specs = specs_of(GOOD)
    assert (specs["a"], specs["action"]) == (Spec((3,)), Spec((), "int64"))
    assert GOOD.parameter_count == 12


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outputs": ("nowhere",)}, "output 'nowhere' does not exist; the graph has 'obs', 'h', 'a'"),
        ({"outputs": ()}, "a graph needs outputs"),
        ({"outputs": ("a", "a")}, "each once"),
        ({"inputs": (Port(name="obs", shape=(4,)),)}, r"node 'a' \(Affine\): it reads 4 values, .* for 3"),
        ({"inputs": (Port(name="obs", shape=(0,)),)}, r"input 'obs' has shape \[0\]"),
        ({"inputs": (Port(name="obs", shape=(None, 3)),)}, "'obs' has shape .* fixed size"),  # type: ignore[arg-type]
        ({"inputs": (Port(name="obs", shape=(3,), dtype="int64"),)}, r"node 'a' \(Affine\): it reads int64"),
        ({"inputs": (Port(name="obs", shape=(3,), dtype="bool"),)}, "'obs' is bool"),  # type: ignore[arg-type]
        ({"inputs": (Port(name="obs", shape=()),)}, r"node 'a' \(Affine\): it reads a single number"),
        ({"inputs": GOOD.inputs * 2}, "input 'obs' has no unique name"),
        ({"states": ()}, "reads 'h', which no node before it makes"),
        ({"states": (replace(GOOD.states[0], after="gone"),)}, "left as 'gone', which does not exist"),
        ({"states": (replace(GOOD.states[0], after="action"),)}, r"state 'h' is float32\[3\], but 'action' is int64"),
        ({"states": (replace(GOOD.states[0], initial=NAN),)}, "initial value of state 'h' holds NaN"),
        (node(Affine(weight=SQUARE, bias=NAN)), r"'bias' of node 'x' \(Affine\) holds NaN"),
        (node(Affine(weight=SQUARE, bias=ONES.astype(int))), "'bias' of node 'x' .* is int64"),
        (node(Affine(weight=SQUARE, bias=ONES[:2])), r"node 'x' \(Affine\): a weight \[3, 3\] and a bias \[2\]"),
        (node(Add(), "obs"), r"node 'x' \(Add\) reads \['obs'\], but the op has \['a', 'b'\]"),
        (node(Add(), "obs obs", "x y"), r"node 'x' \(Add\) makes \['x', 'y'\]"),
        (node(Add(), "obs later"), "reads 'later', which no node before it makes"),
        (node(Activation(kind="relu"), "obs", "a"), "value 'a' has no unique name"),
        (node(Activation(kind="relu"), "action"), "it reads int64, but computes with floats"),
        (node(Clip(low=float("nan"), high=1.0)), "'low' of node 'x' .* is NaN"),
        (node(Clip(low=2.0, high=1.0)), "bounds must be low <= high"),
        (node(Slice(selected=np.zeros(3, bool))), "at least one of which is true"),
        (node(Reshape(shape=(2, 2))), r"\[3\] cannot be read as \[2, 2\]"),
        (node(PReLU(slope=ONES[:2])), "it reads 3 values, but its constants are for 2"),
        (node(Normalize(mean=ONES, scale=ONES, clip=0.0)), "clip must be positive"),
        (node(Normalize(mean=ONES, scale=ONES[:2], clip=1.0)), r"mean \[3\], scale \[2\]"),
        (node(LayerNorm(scale=ONES, shift=ONES, epsilon=1e-5, count=2)), "over 2 values, but it reads 3"),
        (node(L2Norm(epsilon=0.0)), "epsilon must be positive"),
        (node(BatchNorm(mean=ONES, variance=-ONES, scale=ONES, shift=ONES, epsilon=1e-5)), "must not be negative"),
        (node(GRU(w_x=SQUARE, w_h=SQUARE, b_x=ONES, b_h=ONES), "obs h"), r"\[3 h, in\]"),
        (node(Argmax(start=2**40)), "32-bit integer"),
        (node(ClipToBounds(low=(1.0,) * 3, high=(0.0,) * 3)), "low <= high"),
        (node(ClipToBounds(low=(0.0,), high=(1.0,))), "it reads 3 values, but its constants are for 1"),
        (node(TanhToBounds(low=(-float("inf"),) * 3, high=(0.0,) * 3)), "no larger than"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        replace(GOOD, **changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("kind", "numbers"), [("swoosh", ()), ("elu", ()), ("tanh", (1.0,))])
def test_activations_that_there_are_not(kind: str, numbers: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match=kind):
        Activation(kind=kind, numbers=numbers)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, r"needs \['h', 'obs'\], but was given \['h'\]"),
        ({"obs": np.zeros((2, 4))}, r"'obs' is \[2, 4\], but the graph needs \[batch, 3"),
        ({"obs": np.zeros(3)}, r"'obs' is \[3\]"),
        ({"obs": np.zeros((5, 3))}, "but the graph needs"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run_step(GOOD, inputs, initial_states(GOOD, 2))


@pytest.mark.parametrize("parts", [0, -1, 2**16 + 1, 10**15])
def test_parts_that_are_none_or_too_many_are_refused_before_they_are_named(parts: int) -> None:
    with pytest.raises(InputError, match="from 1 to 65,536 parts"):
        Concat(parts=parts)
