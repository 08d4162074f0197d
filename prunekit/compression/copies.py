"""Students that begin as copies of the teacher's own network: what is a little smaller than it is safely good at once.

A copy is an ordinary student in everything else: it loses its least important units while it learns, and what these did
is taken over by those that stay.
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

# Of what is seen, a copy decides this share as its teacher does; within so much, in the student's units.
_SAME, _TOLERANCE = 0.95, 0.02


def copy_of(teacher: Teacher, dataset: ImitationDataset, scale: Scale, seed: int) -> Student | None:
    """Return a student that does what the teacher does in ``dataset``; None where there is none with units to lose.

    The teacher's network is one where it is a chain from one linear layer to another, whatever makes answers of the
    last one's outputs. The units are ``scale``, but for a normalizer and a squashing head of the teacher's own.
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
    """A chain from one linear layer to another; ``squashing`` is the head behind it, where there is a tanh."""

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
    """Return what squashes to the bounds of ``answers``; None where there are some without."""
    if not bool(answers.bounded.all()):
        return None
    low, high = ((answers.middle + sign * answers.half).tolist() for sign in (-1.0, 1.0))
    return TanhHead(low=tuple(low), high=tuple(high))


@torch.no_grad()
def _read_normalized_(layer: nn.Module, normalizer: Normalizer) -> None:
    """Have a ``layer`` that reads observations read what ``normalizer`` makes of them."""
    assert isinstance(layer, nn.Linear)
    shift = layer.weight @ normalizer.mean
    layer.bias = nn.Parameter(shift if layer.bias is None else layer.bias + shift)
    layer.weight.div_(normalizer.scale)


@torch.no_grad()
def _answer_in_units_(layer: nn.Module, answers: AnswerScale) -> None:
    """Have a ``layer`` that gives answers give them in units of ``answers``."""
    assert isinstance(layer, nn.Linear)
    bias = torch.zeros_like(answers.middle) if layer.bias is None else layer.bias
    layer.bias = nn.Parameter((bias - answers.middle) / answers.half)
    layer.weight.div_(answers.half[:, None])


def _same(student: Student, dataset: ImitationDataset) -> bool:
    """Return whether ``student`` decides as its teacher did in ``dataset``, all but rarely."""
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
