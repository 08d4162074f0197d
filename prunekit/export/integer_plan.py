"""The integer plan of a graph: a normalizer, stages with at most one function each, and a tail in floats."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, assert_never, final

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import InputError
from prunekit.export.integer_stages import IntegerPlan, Layer, Mixed, Norm, Pick, Stage, Value
from prunekit.export.rounding import Float64
from prunekit.graph.graph import Graph, Node, Port, specs_of
from prunekit.graph.integers import (
    INTEGERS,
    AffineStep,
    Bent,
    Curve,
    Joined,
    Normed,
    Picked,
    Pointwise,
    Product,
    Quotient,
    Scaled,
    Squashed,
    Step,
    Sum,
)
from prunekit.graph.op import Spec, name_of

_CURE = "export without `int8`"
# Sums of a norm's values, and of their squares, fit into 32 bits.
_MAX_NORMED = 4_096


def integer_plan(graph: Graph) -> IntegerPlan:
    """Return ``graph`` as stages; reshapes are dropped, and scales and shifts are folded into neighbouring layers.

    Raises InputError, naming node and op, for ops without an integer form.
    """
    specs = specs_of(graph)
    body, tail = _parted(graph)
    (port,) = graph.inputs
    reads = Counter([*(name for node in (*body, *tail) for name in node.inputs), *graph.outputs])
    plan = _Plan(port=port, reads=reads, values={port.name: Value(stage=port.name)})
    for node in body:
        plan.add(node, specs)
    made = {port.name, *(name for node in body for name in node.outputs)}
    ends: dict[str, Value] = {}
    sums: set[str] = set()
    rest = list(tail)
    for name in dict.fromkeys(name for names in (*(node.inputs for node in tail), graph.outputs) for name in names):
        if name not in made:
            continue
        end = name
        if plan.is_layer_of_its_own(name, body):
            end = _absorbed(plan, name, rest, graph, specs)
            sums.add(end)
        ends[end] = plan.values[end]
    ports = tuple(Port(name=name, shape=specs[name].shape) for name in ends)
    return plan.made(ends, frozenset(sums), Graph(inputs=ports, nodes=tuple(rest), outputs=graph.outputs))


def _absorbed(plan: _Plan, name: str, rest: list[Node], graph: Graph, specs: dict[str, Spec]) -> str:
    """Fold scales after the sums ``name`` into the weights, remove them from ``rest``, and return the name of the
    result.
    """
    while name not in graph.outputs:
        readers = [node for node in rest if name in node.inputs]
        form = INTEGERS.find(readers[0].op) if len(readers) == 1 and readers[0].inputs == (name,) else None
        if form is None or not all(isinstance(step, Scaled) for step in form(readers[0].op)):
            break
        plan.add(readers[0], specs)
        rest.remove(readers[0])
        (name,) = readers[0].outputs
    return name


def _parted(graph: Graph) -> tuple[list[Node], list[Node]]:
    """Return the nodes up to and including the last layers, and the nodes after them, both as far as outputs need
    them.
    """
    needed, nodes = set(graph.outputs), list[Node]()
    for node in reversed(graph.nodes):
        if needed & set(node.outputs):
            nodes.insert(0, node)
            needed |= set(node.inputs)
    wanted, body = set[str](), list[Node]()
    for node in reversed(nodes):
        if _is_layer(node) or wanted & set(node.outputs):
            body.insert(0, node)
            wanted |= set(node.inputs)
    if not body:
        raise InputError(f"the policy has no layer of weights, so there is nothing to quantize; {_CURE}")
    for node in body:
        if INTEGERS.find(node.op) is None:
            raise InputError(f"node '{node.name}': {name_of(node.op)} has no form for integers; {_CURE}")
    if len(graph.inputs) != 1 or graph.states:
        names = [port.name for port in graph.inputs] + [state.before for state in graph.states]
        raise InputError(f"int8 C takes one input, but the policy has {', '.join(names)}; {_CURE}")
    return body, [node for node in nodes if node not in body]


def _is_layer(node: Node) -> bool:
    form = INTEGERS.find(node.op)
    return form is not None and any(isinstance(step, AffineStep) for step in form(node.op))


@final
@dataclass(kw_only=True)
class _Plan:
    """The plan so far: ``values`` by their names in the graph; ``reads`` counts the readers of each."""

    port: Port
    reads: Counter[str]
    values: dict[str, Value]
    stages: dict[str, Stage] = field(default_factory=dict)
    normal: Scaled | None = None
    held: tuple[float, float] = (-math.inf, math.inf)

    def add(self, node: Node, specs: dict[str, Spec]) -> None:
        """Add a node; raises InputError, naming it, if it has no integer form."""
        steps = INTEGERS.of(node.op, node.name)(node.op)
        given, made = [specs[name] for name in node.inputs], specs[node.outputs[0]]
        values = [self.values[name] for name in node.inputs]
        alone = all(self.reads[name] == 1 for name in node.inputs)
        for index, step in enumerate(steps):
            name = node.name if len(steps) == 1 else f"{node.name}.{index}"
            values = [self._stepped(node, name, _flat(step, node, given, made), values, alone)]
            given, alone = [made], True
        (self.values[node.outputs[0]],) = values

    def is_layer_of_its_own(self, name: str, body: Sequence[Node]) -> bool:
        """Return whether ``name`` is a layer's sums that no stage reads."""
        value = self.values[name]
        stage = self.stages.get(value.stage)
        if not isinstance(stage, Layer) or stage.then is not None or value.scaled:
            return False
        return not any(name in node.inputs for node in body)

    def made(self, ends: dict[str, Value], sums: frozenset[str], tail: Graph) -> IntegerPlan:
        """Return the plan."""
        inputs = math.prod(self.port.shape)
        mean, scale = np.zeros(inputs), np.ones(inputs)
        if self.normal is not None:
            mean, scale = np.asarray(self.normal.mean), np.asarray(self.normal.scale)
        return IntegerPlan(
            port=self.port.name,
            inputs=inputs,
            normalized=self.normal is not None,
            mean=mean,
            scale=scale,
            low=self.held[0],
            high=self.held[1],
            stages=tuple(self.stages.values()),
            ends=ends,
            sums=frozenset(ends[name].stage for name in sums),
            tail=tail,
        )

    def _stepped(self, node: Node, name: str, step: Step, values: Sequence[Value], alone: bool) -> Value:
        value = values[0]
        before = self.stages.get(value.stage)
        match step:
            case AffineStep():
                weight, bias = step.weight.astype(np.float64), step.bias.astype(np.float64)
                for scaled in reversed(value.scaled):
                    bias = bias + weight @ (scaled.shift - scaled.mean * scaled.scale)
                    weight = weight * scaled.scale
                return self._kept(Layer(name=name, source=value.stage, weight=weight, bias=bias))
            case Scaled() if alone and isinstance(before, Layer) and before.then is None and not value.scaled:
                weight, bias = before.weight * np.reshape(step.scale, (-1, 1)), (before.bias - step.mean) * step.scale
                return self._kept(replace(before, weight=weight, bias=bias + step.shift))
            case Scaled():
                return replace(value, scaled=(*value.scaled, step))
            case Bent() if alone and before is None and len(value.scaled) == 1 and self._normalizes(value, step):
                return Value(stage=value.stage)
            case Bent() | Squashed() | Quotient() | Curve():
                if alone and isinstance(before, Layer | Mixed) and not value.scaled:
                    then = _joined(before.then, step)
                    if then is not None:
                        return self._kept(replace(before, then=then))
                return self._kept(Mixed(name=name, step=Joined(), sources=(value,), then=step))
            case Sum() | Product() | Joined():
                return self._kept(Mixed(name=name, step=step, sources=tuple(values)))
            case Normed():
                called = f"node '{node.name}' ({name_of(node.op)})"
                return self._kept(Norm(name=name, called=called, step=step, source=value))
            case Picked():
                picked = self._kept(Pick(name=name, source=value.stage, selected=step.selected))
                return replace(picked, scaled=tuple(_selected(one, step.selected) for one in value.scaled))
            case _:
                assert_never(step)

    def _kept(self, stage: Stage) -> Value:
        self.stages[stage.name] = stage
        return Value(stage=stage.name)

    def _normalizes(self, value: Value, step: Bent) -> bool:
        """Return whether a scale of the input and the clip ``step`` form a normalizer; if so, it is stored."""
        (scaled,) = value.scaled
        mean, scale, shift = (np.asarray(one) for one in (scaled.mean, scaled.scale, scaled.shift))
        if value.stage != self.port.name or self.normal is not None or not _is_clip(step) or not scale.all():
            return False
        self.normal = Scaled(mean=mean - shift / scale if shift.any() else mean, scale=scale)
        self.held = (step.low, step.high)
        return True


def _flat(step: Step, node: Node, given: Sequence[Spec], made: Spec) -> Step:
    """Return ``step`` for values in one row; constants over the last axis are repeated."""
    rows = math.prod(given[0].shape[:-1])
    match step:
        case AffineStep() | Normed() | Joined() if rows != 1:
            raise InputError(
                f"node '{node.name}' ({name_of(node.op)}) reads rows, {list(given[0].shape)}; in integers, layers, "
                f"norms and concatenations read one row; {_CURE}"
            )
        case Normed() if step.count > _MAX_NORMED:
            raise InputError(
                f"node '{node.name}' ({name_of(node.op)}): takes statistics of {step.count} values, but in "
                "integers they "
                f"are over {_MAX_NORMED} at most; {_CURE}"
            )
        case Scaled():
            mean, scale, shift = (_row(value, made) for value in (step.mean, step.scale, step.shift))
            return Scaled(mean=mean, scale=scale, shift=shift)
        case Bent():
            return step if isinstance(step.slope, float) else replace(step, slope=_row(step.slope, made))
        case Picked():
            return Picked(selected=np.tile(step.selected, rows))
        case AffineStep() | Squashed() | Quotient() | Curve() | Sum() | Product() | Joined() | Normed():
            return step
        case _:
            assert_never(step)


def _row(value: NDArray[np.floating[Any]] | float, made: Spec) -> Float64:
    return np.broadcast_to(np.asarray(value, np.float64), made.shape).ravel()


def _selected(scaled: Scaled, selected: NDArray[np.bool_]) -> Scaled:
    mean, scale, shift = (
        np.broadcast_to(np.asarray(one, np.float64), selected.shape)[selected]
        for one in (scaled.mean, scaled.scale, scaled.shift)
    )
    return Scaled(mean=mean, scale=scale, shift=shift)


def _is_clip(step: Pointwise) -> bool:
    return isinstance(step, Bent) and isinstance(step.slope, float) and step.slope == 1.0


def _joined(first: Pointwise | None, then: Pointwise) -> Pointwise | None:
    """Return ``then`` after ``first`` as one function if it is a clip after a rectifier or a clip; otherwise None."""
    if first is None:
        return then
    if isinstance(first, Bent) and isinstance(first.slope, float) and first.slope in (0.0, 1.0) and _is_clip(then):
        assert isinstance(then, Bent)
        low = max(first.low, 0.0) if first.slope == 0.0 else first.low
        low, high = (min(max(bound, then.low), then.high) for bound in (low, first.high))
        return Bent(low=low, high=high)
    return None
