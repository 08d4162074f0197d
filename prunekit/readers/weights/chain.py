"""The layers of a checkpoint in order: fully connected layers, norms between them, and the places of activations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import numpy as np

from prunekit.errors import InputError
from prunekit.formats.text import shown
from prunekit.graph.op import Op
from prunekit.ops.activation import Activation
from prunekit.ops.affine import Affine
from prunekit.ops.batch_norm import BatchNorm
from prunekit.ops.layer_norm import LayerNorm
from prunekit.readers.weights.tree import Tree, part_of

MAX_LAYERS = 100
_EPSILON = 1e-5
"""Torch's own for norms, and rarely another."""
_CELLS = {4: "an LSTM", 3: "a GRU", 1: "an RNN"}


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """The op of one layer, and its ``name`` in the file."""

    name: str
    op: Affine | LayerNorm | BatchNorm

    @property
    def widths(self) -> tuple[int, int]:
        """(input width, output width)."""
        if isinstance(self.op, Affine):
            made, read = self.op.weight.shape
            return read, made
        return len(self.op.scale), len(self.op.scale)


def layers_at(tree: Tree, names: Sequence[str]) -> list[Layer]:
    """Return the layers with these dotted ``names``; raises InputError if one is not a layer, or if they do not fit
    together.
    """
    if len(names) > MAX_LAYERS:
        raise InputError(f"has {len(names):,} layers, more than the {MAX_LAYERS} that any policy needs")
    if not names:
        raise InputError("has no weight matrices where its library keeps them; it is damaged, save it again")
    layers = [_layer(tree, name) for name in names]
    if not isinstance(layers[0].op, Affine) or not isinstance(layers[-1].op, Affine):
        raise InputError("its first and its last layer must be fully connected ones")
    for before, after in pairwise(layers):
        if before.widths[1] != after.widths[0]:
            raise InputError(
                f"its layer '{shown(after.name, 80)}' reads {after.widths[0]} values, but '{shown(before.name, 80)}' "
                f"before it makes {before.widths[1]}; give `layers` in the order in which they are used"
            )
    return layers


def shape_of(layers: Sequence[Layer]) -> str:
    """Return the widths as text, such as 45-512-256-128-12."""
    widths = [layer.widths for layer in layers if isinstance(layer.op, Affine)]
    return "-".join(map(str, [widths[0][0], *(made for _, made in widths)]))


def ops_of(layers: Sequence[Layer], activation: Activation | None) -> list[Op]:
    """Return the ops in order, with an activation after each layer but the last, or after the norm that follows it."""
    ops: list[Op] = []
    for index, layer in enumerate(layers[:-1]):
        ops.append(layer.op)
        following = layers[index + 1]
        norm_follows = not isinstance(following.op, Affine) and _between(layer, following) == 0
        if isinstance(layer.op, Affine):
            bends = not norm_follows
        else:
            before = layers[index - 1]
            if None in (_between(before, layer), _between(layer, following)):
                raise InputError(
                    f"it does not say whether '{shown(layer.name, 80)}' comes before or after the activation; export "
                    "the policy to ONNX, which does"
                )
            bends = _between(before, layer) == 0
        if bends and activation is not None:
            ops.append(activation)
    return [*ops, layers[-1].op]


def sequence_at(tree: Tree, prefix: str) -> list[str] | None:
    """Return the layers ``prefix.0``, ``prefix.2``, ... of a ``Sequential`` in order, if the order is unambiguous.

    Between two layers there must be exactly one module without weights (the activation), and optionally a norm. Returns
    None otherwise.
    """
    if not prefix and len(tree.arrays) <= 2 and _rank(tree, "") == 2:
        return [""]  # one layer, as it is
    start = f"{prefix}." if prefix else ""
    numbers = set()
    for name in tree.arrays:
        number, _, kind = name.removeprefix(start).partition(".")
        if name.startswith(start) and number.isdigit() and len(number) <= 4:
            if "." in kind or not kind:
                return None
            numbers.add(int(number))
    names = [f"{start}{number}" for number in sorted(numbers)]
    ranks = {name: _rank(tree, name) for name in names}
    if not names or not set(ranks.values()) <= {1, 2} or ranks[names[-1]] != 2 or ranks[names[0]] != 2:
        return None
    places = [index for index, name in enumerate(names) if ranks[name] == 2]
    for first, second in pairwise(places):
        norms, steps = second - first - 1, _number(names[second]) - _number(names[first])
        if norms > 1 or steps - 1 - norms != 1:
            return None
    return names


def follows(tree: Tree, name: str) -> str | None:
    """Return the module without weights that comes after the layer ``name`` of a ``Sequential``, if the file notes
    one.
    """
    parent, _, number = name.rpartition(".")
    if not number.isdigit():
        return None
    after = f"{parent}.{int(number) + 1}" if parent else str(int(number) + 1)
    return after if after in tree.modules and _rank(tree, after) == 0 else None


def doubts_between(layers: Sequence[Layer]) -> list[str]:
    """Return one line for each place where two or more modules without weights are between two named layers."""
    lines = []
    for before, after in pairwise(layers):
        between = _between(before, after)
        if between is not None and between > 1:
            lines.append(
                f"{between} modules without weights stand between '{before.name}' and '{after.name}'; one is taken to "
                "be the activation, the others to do nothing (dropout)"
            )
    return [shown(line) for line in lines]


def recurrent_layer(tree: Tree) -> str | None:
    """Return a description of the recurrent layer in ``tree``; None if there is none."""
    for name in tree.arrays:
        layer, _, kind = name.rpartition(".")
        if kind.startswith(("weight_hh", "weight_ih")) and len(tree.shape(name)) == 2:
            rows, cells = tree.shape(name)
            if kind.startswith("weight_hh") and cells and not rows % cells:
                called = _CELLS.get(rows // cells, "a recurrent layer")
                return f"'{shown(layer or name, 60)}' is {called} of {cells} cells"
    for name in tree.arrays:
        layer = name.rpartition(".")[0]
        if any(word in name.lower() for word in (".rnn.", ".lstm.", ".gru.", "memory_a.")):
            return f"'{shown(layer, 60)}' is a recurrent layer"
    return None


def _layer(tree: Tree, name: str) -> Layer:
    kernel = part_of(name, "kernel") in tree
    weight_name = part_of(name, "kernel" if kernel else "weight")
    if weight_name not in tree and part_of(name, "scale") in tree:
        weight_name = part_of(name, "scale")
    if weight_name not in tree:
        there = ", ".join(tree.matrices[:12]) or "none"
        raise InputError(f"has no layer '{shown(name, 80)}'; its layers are {shown(there, 300)}")
    weight = tree.float32(weight_name)
    bias_name = part_of(name, "bias")
    bias = tree.float32(bias_name) if bias_name in tree else None
    if weight.ndim == 2:
        weight = np.ascontiguousarray(weight.T) if kernel else weight
        shift = np.zeros(len(weight), np.float32) if bias is None else bias
        if shift.shape != (len(weight),) or not weight.size:
            sizes = f"{list(weight.shape)} and biases {list(shift.shape)}"
            raise InputError(f"the weights {sizes} of '{shown(name, 80)}' do not fit")
        return Layer(name=name, op=Affine(weight=weight, bias=shift))
    if weight.ndim != 1 or (bias is not None and bias.shape != weight.shape) or not weight.size:
        kind = "a convolution" if weight.ndim > 2 else "no fully connected layer"
        raise InputError(f"its layer '{shown(name, 80)}' has weights of shape {list(weight.shape)}: {kind}")
    shift = np.zeros(len(weight), np.float32) if bias is None else bias
    if f"{name}.running_mean" in tree:
        mean, variance = (tree.float32(f"{name}.{kind}") for kind in ("running_mean", "running_var"))
        op = BatchNorm(mean=mean, variance=variance, scale=weight, shift=shift, epsilon=_EPSILON)
        return Layer(name=name, op=op)
    if len(weight) == 1:
        raise InputError(f"its layer '{shown(name, 80)}' has a single weight (PReLU?); export the policy to ONNX")
    return Layer(name=name, op=LayerNorm(scale=weight, shift=shift, epsilon=_EPSILON, count=len(weight)))


def _rank(tree: Tree, name: str) -> int:
    return next((len(tree.shape(key)) for key in (part_of(name, "weight"), part_of(name, "kernel")) if key in tree), 0)


def _number(name: str) -> int:
    return int(name.rpartition(".")[2])


def _between(before: Layer, after: Layer) -> int | None:
    """Return the number of modules between two layers of one ``Sequential``; None if they are in different ones."""
    (parent, _, first), (other, _, second) = (layer.name.rpartition(".") for layer in (before, after))
    if parent != other or not (first.isdigit() and second.isdigit()):
        return None
    return int(second) - int(first) - 1
