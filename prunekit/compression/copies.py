"""Students that start as copies of the teacher's network, because a slightly smaller copy is good at once.

In everything else a copy is an ordinary student: while it learns it loses its least important units, and the units that
stay take over what those did.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from torch import nn

from prunekit.compression.student import ImitationDataset, Scale, Student
from prunekit.compression.teacher import Teacher
from prunekit.errors import CouplingError, InputError
from prunekit.graph.graph import Graph, Node
from prunekit.ops.activation import Activation
from prunekit.ops.affine import Affine
from prunekit.ops.tanh_to_bounds import TanhToBounds
from prunekit.policy.actor import Normalizer
from prunekit.policy.chains import actor_of
from prunekit.policy.heads import TanhHead
from prunekit.pruning.groups import find_groups
from prunekit.spaces.kind import AnswerScale

# A copy has to act as its teacher does on this share of the dataset, within this tolerance on the student's scale.
_SAME, _TOLERANCE = 0.95, 0.02


def copy_of(teacher: Teacher, dataset: ImitationDataset, scale: Scale, seed: int) -> Student | None:
    """Return a student that answers as the teacher does on ``dataset``.

    None if the teacher's network is not a chain that starts and ends with a linear layer, if the copy would answer
    differently, or if it has no units to lose. The student has the given ``scale``, except that the teacher's own
    normalizer and squashing head are kept.
    """
    own = _own_network(teacher, scale)
    if own is None:
        return None
    layers = own.layers.float()
    if own.normalizer is None:
        _read_normalized_(layers[0], scale.normalizer)
    else:
        scale = replace(scale, normalizer=own.normalizer)
    if own.squashing is None:
        _answer_in_units_(layers[-1], scale.answers)
    else:
        scale = replace(scale, squashing=own.squashing)
        layers.append(nn.Tanh())
    hidden = tuple(group.width for group in find_groups(layers))
    student = Student(hidden, scale, teacher.spaces, seed, network=layers)
    return student if sum(hidden) > len(hidden) and _same(student, dataset) else None


@final
@dataclass(frozen=True, kw_only=True)
class _OwnNetwork:
    """A chain that starts and ends with a linear layer; ``squashing`` is the head after it if that has a tanh."""

    layers: nn.Sequential
    normalizer: Normalizer | None
    squashing: TanhHead | None


def _own_network(teacher: Teacher, scale: Scale) -> _OwnNetwork | None:
    graph, actions = teacher.network, teacher.spaces.actions
    last = _last_layer(graph)
    if graph is None or last is None:
        return None
    behind = [node.op for node in graph.nodes[last + 1 :]]
    nodes = (
        *graph.nodes[:last],
        replace(graph.nodes[last], outputs=("outputs",)),
        Node(op=actions.head(), inputs=("outputs",), outputs=("action",)),
    )
    try:
        chain = Graph(inputs=graph.inputs, nodes=nodes, outputs=("action", "outputs"), states=graph.states)
        actor, _ = actor_of(chain, actions)
    except (CouplingError, InputError):
        return None
    layers = actor.network
    assert isinstance(layers, nn.Sequential)
    if not isinstance(layers[0], nn.Linear):
        return None
    squashing = None
    if any(isinstance(op, TanhToBounds) or (isinstance(op, Activation) and op.kind == "tanh") for op in behind):
        squashing = _head_of(scale.answers)
        if squashing is None:
            return None
    return _OwnNetwork(layers=layers, normalizer=actor.normalizer, squashing=squashing)


def _last_layer(graph: Graph | None) -> int | None:
    nodes = () if graph is None else graph.nodes
    return max((index for index, node in enumerate(nodes) if isinstance(node.op, Affine)), default=None)


def _head_of(answers: AnswerScale) -> TanhHead | None:
    """Return the head that squashes to the bounds of ``answers``; None if some of them have no bounds."""
    if not bool(answers.bounded.all()):
        return None
    low, high = ((answers.middle + sign * answers.half).tolist() for sign in (-1.0, 1.0))
    return TanhHead(low=tuple(low), high=tuple(high))


@torch.no_grad()
def _read_normalized_(layer: nn.Module, normalizer: Normalizer) -> None:
    """Change a ``layer`` that reads raw observations so that it reads those of ``normalizer``."""
    assert isinstance(layer, nn.Linear)
    shift = layer.weight @ normalizer.mean
    layer.bias = nn.Parameter(shift if layer.bias is None else layer.bias + shift)
    layer.weight.div_(normalizer.scale)


@torch.no_grad()
def _answer_in_units_(layer: nn.Module, answers: AnswerScale) -> None:
    """Change a ``layer`` that gives answers so that it gives them on the scale of ``answers``."""
    assert isinstance(layer, nn.Linear)
    bias = torch.zeros_like(answers.middle) if layer.bias is None else layer.bias
    layer.bias = nn.Parameter((bias - answers.middle) / answers.half)
    layer.weight.div_(answers.half[:, None])


def _same(student: Student, dataset: ImitationDataset) -> bool:
    """Return whether ``student`` acts as its teacher did on nearly all of ``dataset``."""
    actions, half = student.spaces.actions, student.scale.answers.half.double().numpy()
    with torch.no_grad():
        found = student.actor.outputs(torch.from_numpy(dataset.states)).double().numpy()
        if student.scale.squashing is not None:
            found = student.scale.squashing(torch.from_numpy(found)).numpy()
    pairs = zip(actions.answers(found), dataset.answers, strict=True)
    if actions.choices is not None:
        same = [np.array_equal(actions.decided(one), actions.decided(other)) for one, other in pairs]
    else:
        same = [bool((np.abs(one - other) <= _TOLERANCE * half).all()) for one, other in pairs]
    return float(np.mean(same)) >= _SAME
