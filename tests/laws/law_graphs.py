"""Generated graphs, masks and sequences of inputs. Every op has a builder here, or the tests of law 9 fail.

A builder takes the graph so far and the value to go on from, and returns the value that the op makes. Constants are
read-only, so that whatever writes into them fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from numpy.typing import NDArray

import prunekit.ops  # noqa: F401  (registers them)
from prunekit.graph.forms import MARGIN
from prunekit.graph.graph import Graph, Node, Port, State
from prunekit.graph.groups import find_groups
from prunekit.graph.op import Array, Op, parameters
from prunekit.graph.reference import all_values, initial_states, run_step
from prunekit.ops.activation import Activation
from prunekit.ops.activation_kinds import KINDS
from prunekit.ops.add import Add
from prunekit.ops.affine import Affine
from prunekit.ops.argmax import Argmax
from prunekit.ops.argmax_per_part import ArgmaxPerPart
from prunekit.ops.batch_norm import BatchNorm
from prunekit.ops.clip import Clip
from prunekit.ops.clip_to_bounds import ClipToBounds
from prunekit.ops.concat import Concat
from prunekit.ops.constant import Constant
from prunekit.ops.elementary import Elementary
from prunekit.ops.flatten import Flatten
from prunekit.ops.gru import GRU
from prunekit.ops.identity import Identity
from prunekit.ops.l2_norm import L2Norm
from prunekit.ops.layer_norm import LayerNorm
from prunekit.ops.log_softmax import LogSoftmax
from prunekit.ops.maximum import Maximum
from prunekit.ops.mul import Mul
from prunekit.ops.normalize import Normalize
from prunekit.ops.prelu import PReLU
from prunekit.ops.reduce import Reduce
from prunekit.ops.reshape import Reshape
from prunekit.ops.rms_norm import RMSNorm
from prunekit.ops.scale_shift import ScaleShift
from prunekit.ops.slice import Slice
from prunekit.ops.softmax import Softmax
from prunekit.ops.take import Take
from prunekit.ops.tanh_to_bounds import TanhToBounds
from prunekit.ops.threshold import Threshold
from prunekit.ops.where import Where

STEPS, ROWS = 20, 3
NUMBERS = {"negative_slope": 0.2, "alpha": 0.7, "beta": 1.5}


@dataclass(kw_only=True)
class Build:
    """A graph while it grows. Widths are those of the last axis."""

    draw: DrawFn
    random: np.random.Generator
    dtype: type[np.floating[Any]]
    nodes: list[Node] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    width: dict[str, int] = field(default_factory=dict)

    def values(self, *shape: int) -> Array:
        result = self.random.standard_normal(shape).astype(self.dtype)
        result.flags.writeable = False
        return result

    def add(self, op: Op, inputs: tuple[str, ...], width: int, name: str = "") -> str:
        name = name or f"{type(op).__name__.lower()}_{len(self.nodes)}"
        for value in parameters(op).values():
            value.flags.writeable = False
        self.nodes.append(Node(op=op, inputs=inputs, outputs=(name,)))
        self.width[name] = width
        return name

    def affine(self, x: str, width: int | None = None, name: str = "") -> str:
        """Some units read nothing, so that they are constants."""
        width = width or self.draw(st.integers(2, 6))
        weight = self.random.standard_normal((width, self.width[x])) / self.width[x] ** 0.5
        weight[self.random.random(width) < 0.2] = 0.0
        return self.add(Affine(weight=weight.astype(self.dtype), bias=self.values(width)), (x,), width, name)

    def same(self, op: Op, *inputs: str) -> str:
        return self.add(op, inputs, self.width[inputs[0]])

    def activation(self, x: str, kinds: tuple[str, ...] = tuple(KINDS)) -> str:
        kind = self.draw(st.sampled_from(kinds))
        return self.same(Activation(kind=kind, numbers=tuple(NUMBERS[name] for name in KINDS[kind].numbers)), x)

    def before_norm(self, x: str) -> str:
        """A value whose dead units are zero: a layer, or a sum of two, with or without a fitting activation."""
        x = self.affine(x)
        if self.draw(st.booleans()):
            x = self.activation(x, ("tanh", "relu", "silu"))
        return _add(self, x) if self.draw(st.booleans()) else x

    def positive(self, count: int) -> Array:
        return (np.abs(self.values(count)) + 0.5).astype(self.dtype)


def _add(build: Build, x: str) -> str:
    inner = build.activation(build.affine(x))
    return build.same(Add(), x, build.affine(inner, build.width[x]))


def _mul(build: Build, x: str) -> str:
    width = build.draw(st.integers(2, 5))
    gate = build.activation(build.affine(x, width), ("sigmoid", "silu"))
    return build.same(Mul(), gate, build.affine(x, width))


def _concat(build: Build, x: str) -> str:
    others = [name for name in build.width if name in ("obs", "normalize_0")]
    parts = (x, build.activation(build.affine(x)), build.draw(st.sampled_from([x, *others])))
    return build.add(Concat(parts=3), parts, sum(build.width[part] for part in parts))


def _slice(build: Build, x: str) -> str:
    whole = build.affine(x, build.draw(st.integers(3, 8)))
    selected = build.random.random(build.width[whole]) < 0.6
    selected[build.random.integers(len(selected))] = True
    first = build.add(Slice(selected=selected), (whole,), int(selected.sum()))
    if selected.all() or build.draw(st.booleans()):
        return first
    other = build.add(Slice(selected=~selected), (whole,), int((~selected).sum()))
    return build.add(Concat(parts=2), (other, first), build.width[whole])


def _shaped(build: Build, x: str) -> str:
    """[2 k] as [2, k], a layer and an activation on that, and flat again."""
    half = build.draw(st.integers(1, 3))
    x = build.add(Reshape(shape=(2, half)), (build.affine(x, 2 * half),), half)
    x = build.activation(build.affine(x))
    if build.draw(st.booleans()):
        x = _layer_norm(build, x, build.affine(x))
    return build.add(Flatten(), (x,), 2 * build.width[x])


def _layer_norm(build: Build, _: str, x: str) -> str:
    width = build.width[x]
    count = width + build.draw(st.sampled_from([0, 0, 3]))
    scale = build.values(width) * (build.random.random(width) < 0.7)  # where it is zero, a constant comes out
    return build.same(
        LayerNorm(scale=scale.astype(build.dtype), shift=build.values(width), epsilon=1e-2, count=count), x
    )


def _rms_norm(build: Build, x: str) -> str:
    x = build.before_norm(x)
    count = build.width[x] + build.draw(st.sampled_from([0, 2]))
    return build.same(RMSNorm(scale=build.values(build.width[x]), epsilon=1e-2, count=count), x)


def _gru(build: Build, x: str) -> str:
    size = build.draw(st.integers(2, 5))
    before = f"state_{len(build.states)}"
    build.width[before] = size
    reads = np.tile(build.random.random(size) < 0.7, 3)[:, None]  # the others fade by themselves
    op = GRU(
        w_x=(build.values(3 * size, build.width[x]) * reads).astype(build.dtype),
        w_h=(build.values(3 * size, size) * reads).astype(build.dtype),
        b_x=build.values(3 * size),
        b_h=build.values(3 * size),
    )
    after = build.add(op, (x, before), size)
    build.states.append(State(before=before, after=after, initial=build.values(size)))
    return after


def _batch_norm(build: Build, x: str) -> str:
    width = build.width[x]
    mean, scale, shift = (build.values(width) for _ in range(3))
    op = BatchNorm(mean=mean, variance=build.positive(width), scale=scale, shift=shift, epsilon=1e-5)
    return build.same(op, x)


def _normalize(build: Build, x: str) -> str:
    width = build.width[x]
    return build.same(Normalize(mean=build.values(width), scale=build.positive(width), clip=2.0), x)


def _parts(build: Build, x: str) -> ArgmaxPerPart:
    counts, left = [], build.width[x]
    while left:
        counts.append(build.draw(st.integers(1, left)))
        left -= counts[-1]
    starts = st.lists(st.integers(-2, 5), min_size=len(counts), max_size=len(counts))
    return ArgmaxPerPart(counts=tuple(counts), starts=tuple(build.draw(starts | st.just([0] * len(counts)))))


def _bounds(build: Build, x: str) -> dict[str, Any]:
    pairs = [(-1.0, 1.0), (-0.5, 2.0), (0.0, 0.25)]
    many = build.draw(st.lists(st.sampled_from(pairs), min_size=build.width[x], max_size=build.width[x]))
    return dict(zip(("low", "high"), zip(*many, strict=True), strict=True))


def _elementary(build: Build, x: str) -> str:
    """Those that are not for every number get positive ones: a dead unit is at 0.5."""
    kind = build.draw(
        st.sampled_from(["exp", "square", "abs", "sin", "cos", "erf", "log", "sqrt", "reciprocal", "pow"])
    )
    if kind == "exp":
        x = build.activation(x, ("tanh",))
    if kind in ("log", "sqrt", "reciprocal", "pow"):
        half = np.full(build.width[x], 0.5, build.dtype)
        x = build.same(ScaleShift(scale=np.ones_like(half), shift=half), build.same(Elementary(kind="abs"), x))
    return build.same(Elementary(kind=kind, exponent=build.draw(st.sampled_from([-0.5, 1.5]))), x)


def _take(build: Build, x: str) -> str:
    indices = build.draw(st.lists(st.integers(0, build.width[x] - 1), min_size=1, max_size=6))
    return build.add(Take(indices=tuple(indices)), (x,), len(indices))


def _scale_shift(build: Build, x: str) -> str:
    width = build.width[x]
    return build.same(ScaleShift(scale=build.values(width), shift=build.values(width)), x)


def _with_constant(build: Build, x: str) -> str:
    constant = build.add(Constant(value=build.values(2)), ("obs",), 2)
    return build.add(Concat(parts=2), (x, constant), build.width[x] + 2)


def _reduce(build: Build, x: str) -> str:
    kind = build.draw(st.sampled_from(["sum", "mean", "max"]))
    return build.add(Reduce(kind=kind), (x,), 1)


def _where(build: Build, x: str) -> str:
    other = build.activation(build.affine(x, build.width[x]))
    return build.same(Where(strict=build.draw(st.booleans())), x, other, build.affine(x, build.width[x]))


BODY: dict[str, Callable[[Build, str], str]] = {
    "Activation": lambda build, x: build.activation(x),
    "Add": _add,
    "Affine": lambda build, x: build.affine(x),
    "BatchNorm": _batch_norm,
    "Clip": lambda build, x: build.same(Clip(low=-0.5, high=build.draw(st.sampled_from([0.7, np.inf]))), x),
    "Concat": _concat,
    "Constant": _with_constant,
    "Elementary": _elementary,
    "Flatten": _shaped,
    "GRU": _gru,
    "Identity": lambda build, x: build.same(Identity(), x),
    "L2Norm": lambda build, x: build.same(L2Norm(epsilon=1e-3), build.before_norm(x)),
    "LayerNorm": lambda build, x: _layer_norm(build, x, build.before_norm(x)),
    "LogSoftmax": lambda build, x: build.same(LogSoftmax(), x),
    "Maximum": lambda build, x: build.same(Maximum(), x, build.affine(x, build.width[x])),
    "Mul": _mul,
    "Normalize": _normalize,
    "PReLU": lambda build, x: build.same(PReLU(slope=build.values(build.width[x])), x),
    "RMSNorm": _rms_norm,
    "Reduce": _reduce,
    "Reshape": _shaped,
    "ScaleShift": _scale_shift,
    "Slice": _slice,
    "Softmax": lambda build, x: build.same(Softmax(), x),
    "Take": _take,
    "Where": _where,
}
HEADS: dict[str, Callable[[Build, str], Op]] = {
    "Argmax": lambda build, x: Argmax(start=build.draw(st.sampled_from([0, 3, -1]))),
    "ArgmaxPerPart": lambda build, x: _parts(build, x),
    "ClipToBounds": lambda build, x: ClipToBounds(**_bounds(build, x)),
    "TanhToBounds": lambda build, x: TanhToBounds(**_bounds(build, x)),
    "Threshold": lambda build, x: Threshold(),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A graph, masks that keep a unit of every group, and a sequence of observations [rows, inputs]."""

    graph: Graph
    masks: dict[str, NDArray[np.bool_]]
    sequence: tuple[dict[str, Array], ...] = field(repr=False)


@st.composite
def cases(draw: DrawFn, op: str | None = None, dtype: type[np.floating[Any]] = np.float64) -> Case:
    """Draw a case; ``op`` is in its graph."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    build = Build(draw=draw, random=random, dtype=dtype)
    build.width["obs"] = draw(st.integers(1, 4))
    x = _normalize(build, "obs") if draw(st.booleans()) else "obs"
    x = build.affine(x)
    body = draw(st.lists(st.sampled_from(sorted(BODY)), min_size=1, max_size=3))
    if op in BODY:
        body.insert(draw(st.integers(0, len(body))), op)
    for name in body:
        x = BODY[name](build, x)
    x = build.affine(x, name="outputs")
    head = op if op in HEADS else draw(st.sampled_from([None, *HEADS]))
    if head is not None:
        build.nodes.append(Node(op=HEADS[head](build, x), inputs=(x,), outputs=("action",)))
    graph = Graph(
        inputs=(Port(name="obs", shape=(build.width["obs"],)),),
        nodes=tuple(build.nodes),
        outputs=("outputs",) if head is None else ("action", "outputs"),
        states=tuple(build.states),
    )
    masks = {}
    for group in find_groups(graph):
        keep = random.random(group.width) < draw(st.sampled_from([0.3, 0.7]))
        keep[random.integers(group.width)] = True
        keep.flags.writeable = False
        masks[group.name] = keep
    steps = STEPS if graph.states else 1
    observations = (2.0 * build.values(ROWS, build.width["obs"]) for _ in range(steps))
    return Case(graph=graph, masks=masks, sequence=tuple({"obs": obs.astype(np.float32)} for obs in observations))


def all_steps(case: Case, graph: Graph, dtype: type[np.floating[Any]] = np.float64) -> dict[str, Array]:
    """Return outputs and states of every step, stacked [steps, rows, ...]."""
    states = initial_states(graph, ROWS, dtype)
    found: list[dict[str, Array]] = []
    for inputs in case.sequence:
        outputs, states = run_step(graph, inputs, states, dtype)
        found.append({**outputs, **{f"{name}_out": value for name, value in states.items()}})
    return {name: np.stack([step[name] for step in found]) for name in found[0]}


def assert_agree(graph: Graph, found: dict[str, Array], expected: dict[str, Array], allowed: float) -> None:
    head = next((node.op for node in graph.nodes if "action" in node.outputs), None)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].shape == value.shape
        if value.dtype == np.int64:
            assert head is not None
            clear = MARGIN.of(head, "action")(head, expected["outputs"]) > 2 * allowed
            assert found[name].dtype == np.int64
            np.testing.assert_array_equal(found[name][clear], value[clear])
        else:
            np.testing.assert_allclose(found[name], value, rtol=0.0, atol=allowed)


def assume_apart(case: Case, graph: Graph) -> None:
    """Leave out cases in which a ``Where`` stands so near its edge that rounding may choose the other side."""
    states = initial_states(graph, ROWS)
    for inputs in case.sequence if any(isinstance(node.op, Where) for node in graph.nodes) else ():
        values = all_values(graph, inputs, states)
        states = {state.before: values[state.after] for state in graph.states}
        edges = [values[node.inputs[0]] for node in graph.nodes if isinstance(node.op, Where)]
        assume(all(bool((np.abs(edge) > 1e-4).all()) for edge in edges))


def rounding_of(case: Case, graph: Graph, expected: dict[str, Array]) -> float:
    """Return what float32 may differ by: 1e-5 of the scale, and what it makes of this graph in NumPy."""
    assume_apart(case, graph)
    single = all_steps(case, graph, np.float32)
    floats = [name for name, value in expected.items() if value.dtype != np.int64]
    scale = max(1.0, *(float(np.abs(expected[name]).max()) for name in floats))
    return 1e-5 * scale + 4 * max(float(np.abs(single[name] - expected[name]).max()) for name in floats)
