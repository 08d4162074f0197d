"""Assembly of a policy from a checkpoint: its layers, the normalizer before them, and the head after them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from prunekit.errors import InputError, PrunekitError
from prunekit.formats.text import shown
from prunekit.graph.graph import Graph, Node, Port
from prunekit.graph.op import Array, Op
from prunekit.ops.activation import Activation
from prunekit.ops.affine import Affine
from prunekit.ops.identity import Identity
from prunekit.ops.normalize import Normalize
from prunekit.policy.description import described
from prunekit.readers.lowering.builder import as_floats
from prunekit.readers.opened import Opened
from prunekit.readers.passes.simplify import simplified
from prunekit.readers.policy_file import PolicyFile, PolicyOptions
from prunekit.readers.weights.chain import (
    doubts_between,
    follows,
    layers_at,
    ops_of,
    recurrent_layer,
    shape_of,
)
from prunekit.readers.weights.tree import Tree, may_be_policy, part_of
from prunekit.readers.weights.words import Ending, activation_named, ending_named

OPTIONS = ("layers", "activation", "head", "nesting")
"""What may be said of every checkpoint."""

LAYERS_SAID = "only the layers that `layers` names are read, in this order"
_NOTHING = "nothing"
_WITHOUT_EFFECT = ("dropout.Dropout", "linear.Identity")
_KINDS = ("weight", "kernel", "scale")
_LEFT_OUT = "its normalizer '{0}' is left out, because `layers` does not name it; `layers` {0},{1},... puts it first"


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """Where a policy is in a checkpoint; ``called`` names the kind of file and ``part`` the network in messages.

    ``tree`` holds the ``layers``. ``activation`` and ``ending`` (for a number of outputs) are fixed by the library,
    None if it does not fix them. ``normalizer`` is applied first.
    """

    called: str
    part: str = "policy"
    tree: Tree
    layers: tuple[str, ...]
    activation: str | None = None
    ending: Callable[[int], Ending] | None = None
    normalizer: Normalize | None = None
    notes: tuple[str, ...] = ()


def policy_of_plan(opened: Opened, options: PolicyOptions, plan: Plan) -> PolicyFile:
    """Return the policy of ``plan``; raises InputError, naming the file and the option, for missing information."""
    try:
        return _read(opened, options, plan)
    except PrunekitError as error:
        text = str(error)
        if text.startswith((f"{opened.path}: ", "`")):
            raise
        raise InputError(f"{opened.path}: {text}") from error


def _read(opened: Opened, options: PolicyOptions, plan: Plan) -> PolicyFile:
    layers = layers_at(plan.tree, plan.layers)
    told = f"{plan.called}, {plan.part} {shape_of(layers)}"
    word = options.activation if options.activation is not None else plan.activation
    affine = sum(isinstance(layer.op, Affine) for layer in layers)
    told_between = told_activation(plan.tree, plan.layers) if word is None and not options.layers else None
    if word is None and told_between is None and affine > 1:
        behind = _unsaid_behind(options, plan)
        also = (
            f", and `head` for '{shown(behind, 60)}' after the last layer (none, tanh, argmax, ...)" if behind else ""
        )
        raise InputError(f"{told}, activation not in the file: give `activation` (elu, relu, tanh, ...){also}")
    ops = ops_of(layers, told_between if word is None else activation_named(word))
    outputs = layers[-1].widths[1]
    ending, notes = _ending(told, options, plan, outputs)
    if plan.normalizer is not None:
        if len(plan.normalizer.mean) != layers[0].widths[0]:
            raise InputError(
                f"its normalizer is of {len(plan.normalizer.mean)} values, but its first layer reads "
                f"{layers[0].widths[0]}"
            )
        ops = [plan.normalizer, *ops]
    graph = graph_of_ops([*ops, *ending.ops], ending.head)
    kept = isinstance(ending.head, Identity)
    epsilon = ["the epsilon of its norms is not in the file; it is taken to be torch's default, 1e-05"]
    norms = epsilon if any(not isinstance(layer.op, Affine) for layer in layers) else []
    return PolicyFile(
        path=opened.path,
        recognised=f"{plan.called}, {described(graph)}",
        graph=graph,
        notes=(*plan.notes, *doubts_between(layers), *norms, *notes),
        keeps_outputs=kept,
    )


def _ending(told: str, options: PolicyOptions, plan: Plan, outputs: int) -> tuple[Ending, list[str]]:
    if options.head is not None:
        return ending_named(options.head, outputs), []
    if plan.ending is not None:
        return plan.ending(outputs), []
    behind = follows(plan.tree, plan.layers[-1])
    ending = None if behind is None or options.layers else _told_ending(plan.tree, behind)
    if ending is not None:
        return ending, []
    if _unsaid_behind(options, plan) is not None:
        raise InputError(
            f"{told}; after its last layer comes a module without weights, '{shown(behind, 60)}', and the file does "
            "not say what it does: give `head` (none, tanh, argmax, ...)"
        )
    what = f"what '{shown(behind, 60)}' after the last layer does is not in the file: " if behind is not None else ""
    return Ending(head=Identity()), [f"{what}the action is the output of the last layer, unless `head` says otherwise"]


def _unsaid_behind(options: PolicyOptions, plan: Plan) -> str | None:
    """Return the module after the last layer about which neither the library, the user nor the file says anything."""
    if options.head is not None or plan.ending is not None or options.layers:
        return None
    behind = follows(plan.tree, plan.layers[-1])
    return None if behind is not None and _told_ending(plan.tree, behind) is not None else behind


def told_activation(tree: Tree, layers: Sequence[str]) -> Activation | None:
    """Return the activation between ``layers`` of a module that was saved whole, if it is the same everywhere."""
    found = {op for name in layers[:-1] if (op := _op_behind(tree, name)) is not None}
    return found.pop() if len(found) == 1 else None


def _op_behind(tree: Tree, layer: str) -> Activation | None:
    behind = follows(tree, layer)
    op = None if behind is None else _op_told(tree, behind)
    return op if isinstance(op, Activation) else None


def _told_ending(tree: Tree, behind: str) -> Ending | None:
    op = _op_told(tree, behind)
    if isinstance(op, Activation):
        return Ending(ops=(op,), head=Identity())
    return Ending(head=Identity()) if op == _NOTHING else None


def _op_told(tree: Tree, name: str) -> object:
    """Return the activation of the module ``name`` by its class, "nothing" for a class without effect, None for
    others.
    """
    from prunekit.readers.sb3.activation import activation_called  # which needs torch

    text = tree.classes.get(name, "")
    if any(f"'torch.nn.modules.{word}'" in text for word in _WITHOUT_EFFECT):
        return _NOTHING
    try:
        return activation_called(text) or _NOTHING
    except InputError:
        return None


def graph_of_ops(ops: Sequence[Op], head: Op) -> Graph:
    """Return a graph that applies ``ops`` in order to an observation ``obs``, and ``head`` for the action."""
    first = next(op for op in ops if isinstance(op, Affine))
    nodes, value = [], "obs"
    for index, op in enumerate(ops):
        name = "outputs" if index == len(ops) - 1 else f"{type(op).__name__.lower()}_{index}"
        nodes.append(Node(op=op, inputs=(value,), outputs=(name,)))
        value = name
    nodes.append(Node(op=head, inputs=("outputs",), outputs=("action",)))
    inputs = (Port(name="obs", shape=(first.weight.shape[1],)),)
    return simplified(Graph(inputs=inputs, nodes=tuple(nodes), outputs=("action", "outputs")))


def normalizer_of(mean: Array, deviation: Array, clip: float = math.inf) -> Normalize:
    """Return the op clip((x - mean) / deviation, -clip, clip); raises InputError if these are not valid numbers."""
    if mean.shape != deviation.shape or mean.ndim != 1:
        raise InputError("its normalizer's mean and deviation are not vectors of one length")
    with np.errstate(all="ignore"):  # the results of broken statistics are checked here
        scale = as_floats(1.0 / deviation)
    if not (np.isfinite(scale).all() and np.isfinite(as_floats(mean)).all() and (deviation > 0.0).all()):
        raise InputError("its normalizer holds statistics that are NaN, infinite or negative; it is broken")
    return Normalize(mean=as_floats(mean), scale=scale, clip=clip)


def deviation_of(variance: Array, *, inside: float = 0.0, beside: float = 0.0) -> Array:
    """Return sqrt(variance + inside) + beside, with NaN where this is undefined."""
    with np.errstate(all="ignore"):
        return np.asarray(np.sqrt(variance + inside) + beside)


def said_layers(
    opened: Opened,
    options: PolicyOptions,
    called: str,
    roots: Sequence[str] = (),
    normalizer: tuple[str, Normalize] | None = None,
) -> Plan | None:
    """Return the plan for layers that the user named: exactly these, in the nesting that contains all of them.

    If several nestings do, the first of ``roots`` is taken (the places where a library keeps its policy), or else the
    only one whose name is not that of a critic. The file's ``normalizer`` is used if the first name is its name.
    Returns None without ``--layers``. Raises InputError, naming the file, if no nesting or several have the layers.
    """
    if not options.layers:
        return None
    notes, layers = [LAYERS_SAID], options.layers
    if normalizer is not None and layers[0] == normalizer[0] and len(layers) > 1:
        layers = layers[1:]
    elif normalizer is not None:
        notes.append(_LEFT_OUT.format(normalizer[0], shown(layers[0], 60)))
        normalizer = None
    places = [options.nesting] if options.nesting is not None else nestings_of(opened.tree, layers[0])
    fitting = [place for place in places if _has_all(opened.tree, place, layers)]
    chosen = next((root for root in roots if root in fitting), None)
    own = [place for place in fitting if may_be_policy(place)]
    fitting = own if len(own) == 1 else fitting
    if chosen is None and len(fitting) > 1:
        there = ", ".join(place or "the file itself" for place in fitting[:8])
        raise InputError(f"{opened.path}: several parts have these layers; choose one with `nesting`: {shown(there)}")
    if chosen is None and not fitting:
        where = "" if options.nesting is None else f" under '{shown(options.nesting, 60)}'"
        missing = next((name for name in layers if not nestings_of(opened.tree, name)), layers[0])
        there = ", ".join(opened.tree.matrices[:16]) or "none"
        raise InputError(
            f"{opened.path}: has no layer '{shown(missing, 60)}'{where}; its layers are {shown(there, 400)}"
        )
    place = fitting[0] if chosen is None else chosen
    part = opened.tree.under(place)
    refuse_recurrent(opened, part, called)
    return Plan(
        called=called,
        tree=part,
        layers=layers,
        normalizer=None if normalizer is None else normalizer[1],
        notes=tuple(notes),
    )


def nestings_of(tree: Tree, layer: str) -> list[str]:
    """Return the dotted paths under which there is a layer with this name."""
    ends = [part_of(layer, kind) for kind in _KINDS]
    found: dict[str, None] = {}
    for name in tree.arrays:
        for end in ends:
            if name == end:
                found[""] = None
            elif name.endswith(f".{end}"):
                found[name[: -len(end) - 1]] = None
    return list(found)


def refuse_recurrent(opened: Opened, tree: Tree, called: str) -> None:
    """Raise InputError, naming the file and the layer, if the policy in ``tree`` (and not only its critic) is
    recurrent.
    """
    found = recurrent_layer(Tree(arrays={name: tree.arrays[name] for name in tree.arrays if may_be_policy(name)}))
    if found is not None:
        raise InputError(
            f"{opened.path}: {called}, recurrent ({found}); only feed-forward policies are read from weights"
        )


def _has_all(tree: Tree, place: str, layers: Sequence[str]) -> bool:
    start = f"{place}." if place else ""
    return all(any(start + part_of(name, kind) in tree for kind in _KINDS) for name in layers)
