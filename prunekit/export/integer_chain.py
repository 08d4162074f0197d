"""A graph as integers take it: a normalizer, layers with one function behind each, and a tail of floats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never, final

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import InputError
from prunekit.export.rounding import Float64
from prunekit.graph.graph import Graph, Node, Port, specs_of
from prunekit.graph.integers import INTEGERS, AffineStep, Bent, Curve, Pointwise, Quotient, Scaled, Squashed, Step
from prunekit.graph.op import Spec, name_of

_CURE = "export without --int8"


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """One layer, weight [out, in] and bias [out] float64, and what follows it: nothing behind the last one.

    ``name`` is its node's.
    """

    name: str
    weight: Float64
    bias: Float64
    then: Pointwise | None = None


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class IntegerChain:
    """clip((x - mean) * scale, low, high), where it is ``normalized``, then ``layers``, then ``tail``.

    ``inputs`` is the width of an observation. The tail is a graph whose one input are the last layer's sums.
    """

    inputs: int
    normalized: bool
    mean: Float64
    scale: Float64
    low: float
    high: float
    layers: tuple[Layer, ...]
    tail: Graph


def integer_chain(graph: Graph) -> IntegerChain:
    """Return ``graph`` as a chain; reshapes are passed over, scales and shifts go into the layers beside them.

    Raises InputError, naming node and op, for what integers cannot do.
    """
    specs = specs_of(graph)
    body, tail = _parted(graph)
    port = graph.inputs[0]
    chain = _Chain(port=port)
    for node in body:
        for step in INTEGERS.of(node.op, node.name)(node.op):
            chain.add(node, _flat(step, node, specs[node.inputs[0]], specs[node.outputs[0]]))
    *_, end = body
    rest = list(tail)
    # What scales the sums goes into the weights, unless they are an output themselves.
    while rest and rest[0].inputs == end.outputs and end.outputs[0] not in graph.outputs:
        form = INTEGERS.find(rest[0].op)
        steps = () if form is None else form(rest[0].op)
        readers = [node for node in rest if end.outputs[0] in node.inputs]
        if form is None or len(readers) > 1 or not all(isinstance(step, Scaled) for step in steps):
            break
        end = rest.pop(0)
        for step in steps:
            chain.add(end, _flat(step, end, specs[end.inputs[0]], specs[end.outputs[0]]))
    sums = end.outputs[0]
    made = Graph(inputs=(Port(name=sums, shape=specs[sums].shape),), nodes=tuple(rest), outputs=graph.outputs)
    return chain.made(made)


def _parted(graph: Graph) -> tuple[list[Node], list[Node]]:
    """Return the nodes up to the last layer, and those that read its sums."""
    layers = [node for node in graph.nodes if _is_layer(node)]
    if not layers:
        raise InputError(f"the policy has no layer of weights, so there is nothing for int8; {_CURE}")
    needed = set(layers[-1].outputs)
    body: list[Node] = []
    for node in reversed(graph.nodes):
        if needed & set(node.outputs):
            body.insert(0, node)
            needed |= set(node.inputs)
    for node in body:
        if INTEGERS.find(node.op) is None:
            raise InputError(f"node '{node.name}': {name_of(node.op)} has no form for integers; {_CURE}")
    if len(graph.inputs) != 1 or graph.states:
        names = [port.name for port in graph.inputs] + [state.before for state in graph.states]
        raise InputError(f"integers take one input, but the policy has {', '.join(names)}; {_CURE}")
    value = graph.inputs[0].name
    for node in body:
        _require_chain(node, value)
        (value,) = node.outputs
    made = {value}
    tail = [node for node in graph.nodes if node not in body]
    for node in tail:
        for name in node.inputs:
            if name not in made:
                _require_chain(node, value)
        made |= set(node.outputs)
    inner = [name for name in graph.outputs if name not in made]
    if inner:
        raise InputError(f"output '{inner[0]}' is read before the last layer, where there are integers; {_CURE}")
    return body, tail


def _is_layer(node: Node) -> bool:
    form = INTEGERS.find(node.op)
    return form is not None and any(isinstance(step, AffineStep) for step in form(node.op))


def _require_chain(node: Node, value: str) -> None:
    if node.inputs != (value,):
        raise InputError(
            f"node '{node.name}' ({name_of(node.op)}) reads {', '.join(node.inputs)}, but integers go through one "
            f"chain of layers, which gives it {value} alone; {_CURE}"
        )


def _flat(step: Step, node: Node, given: Spec, made: Spec) -> Step:
    """Return ``step`` on the values in one row; constants over the last axis are repeated."""
    match step:
        case AffineStep():
            if math.prod(given.shape) != given.shape[-1]:
                raise InputError(
                    f"node '{node.name}' ({name_of(node.op)}) reads {list(given.shape)}, a layer for each row; "
                    f"integers have layers of one row; {_CURE}"
                )
            return step
        case Scaled():
            mean, scale, shift = (_row(value, made) for value in (step.mean, step.scale, step.shift))
            return Scaled(mean=mean, scale=scale, shift=shift)
        case Bent():
            return step if isinstance(step.slope, float) else replace(step, slope=_row(step.slope, made))
        case Squashed() | Quotient() | Curve():
            return step
        case _:
            assert_never(step)


def _row(value: NDArray[np.floating] | float, made: Spec) -> Float64:
    return np.broadcast_to(np.asarray(value, np.float64), made.shape).ravel()


@final
@dataclass(kw_only=True)
class _Chain:
    """What was read so far; ``ahead`` waits for the layer that it goes into."""

    port: Port
    layers: list[Layer] = field(default_factory=list)
    normal: Scaled | None = None
    held: tuple[float, float] = (-math.inf, math.inf)
    ahead: list[Scaled] = field(default_factory=list)

    def add(self, node: Node, step: Step) -> None:
        """Take one step more; raises InputError, naming the node, where integers have no place for it."""
        match step:
            case AffineStep():
                weight, bias = step.weight.astype(np.float64), step.bias.astype(np.float64)
                for scaled in reversed(self.ahead):
                    bias = bias + weight @ (scaled.shift - scaled.mean * scaled.scale)
                    weight = weight * scaled.scale
                self.ahead = []
                self.layers.append(Layer(name=node.name, weight=weight, bias=bias))
            case Scaled() if self.layers and self.layers[-1].then is None:
                layer = self.layers[-1]
                weight, bias = layer.weight * np.reshape(step.scale, (-1, 1)), (layer.bias - step.mean) * step.scale
                self.layers[-1] = replace(layer, weight=weight, bias=bias + step.shift)
            case Scaled():
                self.ahead.append(step)
            case Bent() | Squashed() | Quotient() | Curve() if self.layers and not self.ahead:
                self.layers[-1] = replace(self.layers[-1], then=_joined(node, self.layers[-1].then, step))
            case Bent() if not self.layers and len(self.ahead) == 1 and self.normal is None:
                self._normalize(node, step)
            case Bent() | Squashed() | Quotient() | Curve():
                place = "two functions follow each other" if self.layers else "a function comes before the first layer"
                raise InputError(
                    f"node '{node.name}' ({name_of(node.op)}): {place}, which has no integer form; {_CURE}"
                )
            case _:
                assert_never(step)

    def made(self, tail: Graph) -> IntegerChain:
        """Return the chain."""
        inputs = math.prod(self.port.shape)
        mean, scale = np.zeros(inputs), np.ones(inputs)
        if self.normal is not None:
            mean, scale = np.asarray(self.normal.mean), np.asarray(self.normal.scale)
        return IntegerChain(
            inputs=inputs,
            normalized=self.normal is not None,
            mean=mean,
            scale=scale,
            low=self.held[0],
            high=self.held[1],
            layers=tuple(self.layers),
            tail=tail,
        )

    def _normalize(self, node: Node, step: Bent) -> None:
        (scaled,) = self.ahead
        mean, scale, shift = (np.asarray(value) for value in (scaled.mean, scaled.scale, scaled.shift))
        if not _is_clip(step) or not scale.all():
            raise InputError(
                f"node '{node.name}' ({name_of(node.op)}): it comes before the first layer, where integers can only "
                f"scale and clip; {_CURE}"
            )
        self.normal = Scaled(mean=mean - shift / scale if shift.any() else mean, scale=scale)
        self.held, self.ahead = (step.low, step.high), []


def _is_clip(step: Pointwise) -> bool:
    return isinstance(step, Bent) and isinstance(step.slope, float) and step.slope == 1.0


def _joined(node: Node, first: Pointwise | None, then: Pointwise) -> Pointwise:
    """Return ``then`` behind ``first``; of two, the second must be a clip behind a rectifier or another clip."""
    if first is None:
        return then
    if isinstance(first, Bent) and isinstance(first.slope, float) and first.slope in (0.0, 1.0) and _is_clip(then):
        assert isinstance(then, Bent)
        low = max(first.low, 0.0) if first.slope == 0.0 else first.low
        low, high = (min(max(bound, then.low), then.high) for bound in (low, first.high))
        return Bent(low=low, high=high)
    raise InputError(
        f"node '{node.name}' ({name_of(node.op)}): two functions follow each other, which has no integer form; {_CURE}"
    )


def widths_of(chain: IntegerChain) -> Sequence[int]:
    """Return the width of the observation and of each layer."""
    return [chain.inputs, *(len(layer.bias) for layer in chain.layers)]
