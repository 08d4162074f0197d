"""Who plays in the search: students as they will be deployed, and the teacher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prunekit.benching.models import BenchModel
from prunekit.benching.runtimes import OnnxRuntime
from prunekit.compression.teacher import Teacher
from prunekit.environments import Spaces
from prunekit.errors import CheckError, InputError
from prunekit.export.onnx import to_onnx
from prunekit.graph.graph import Graph
from prunekit.policy.actor import Actor
from prunekit.policy.graphs import graph_of
from prunekit.policy.program import Float32
from prunekit.rollouts import BatchPolicy, one_at_a_time
from prunekit.runtimes.quick import QuickPolicy

# How many observations a teacher answers at once if its answers do not depend on the batch.
_TEACHER_BATCH = 16
_ROWS = 16


def deployed(actor: Actor, spaces: Spaces) -> BatchPolicy:
    """Return ``actor`` as it plays when deployed: bit for bit as its C, or in ONNX Runtime if it has no C.

    The policy raises CheckError for an observation that is not finite.
    """
    graph = graph_of(actor)
    try:
        return policy_of_graph(graph, spaces)
    except InputError:  # a head from outside the package may have no C
        content = to_onnx(graph, {})
        model = BenchModel(
            path=Path("the student"), content=content, size_bytes=len(content), hidden=(), parameters=0, macs=0
        )
        return one_at_a_time(OnnxRuntime(model, spaces).act)


def policy_of_graph(graph: Graph, spaces: Spaces) -> BatchPolicy:
    """Return ``graph``, whose actions fit ``spaces``, as a playing policy; raises InputError if it has no C."""
    quick = QuickPolicy(graph)
    answers, action = quick.answers, spaces.actions.action
    single = spaces.actions.choices == 1

    def actions(observations: Float32) -> list[Any]:
        require_finite(observations)
        rows = answers(observations).reshape(len(observations), -1)
        return [action(value) for value in (rows[:, 0] if single else rows)]

    return BatchPolicy(actions=actions, batch=quick.batch)


def playing_teacher(teacher: Teacher) -> BatchPolicy:
    """Return ``teacher`` as a playing policy: the C of its graph if there is one, otherwise its own answers.

    It answers several observations at once only if that changes no bit of its answers.
    """
    spaces = teacher.spaces
    if teacher.graph is not None and _gives_actions(teacher.graph, spaces):
        try:
            return policy_of_graph(teacher.graph, spaces)
        except InputError:
            pass  # an op without C

    def actions(observations: Float32) -> Sequence[Any]:
        return [spaces.actions.decided(answer) for answer in teacher.responses(observations)]

    return BatchPolicy(actions=actions, batch=_TEACHER_BATCH if _independent(teacher) else 1)


def require_finite(observations: Float32) -> None:
    """Raise CheckError where one of ``observations`` [n, obs] is not finite."""
    if not np.isfinite(observations).all():
        raise CheckError(f"the policy has no action for the observation {observations.tolist()}, which is not finite")


def _gives_actions(graph: Graph, spaces: Spaces) -> bool:
    maker = next((node for node in graph.nodes if "action" in node.outputs), None)
    return maker is not None and spaces.actions.takes(maker.op)


def _independent(teacher: Teacher) -> bool:
    """Return whether the answers to a few random observations have the same bits in batches of any size."""
    draws = np.random.default_rng(1).normal(size=(_ROWS, teacher.spaces.observation)).astype(np.float32)
    try:
        one_by_one = [teacher.responses(row[None]).tobytes() for row in draws]
        for size in (2, 7, _ROWS):
            for first in range(0, _ROWS, size):
                part = draws[first : first + size]
                told = [answer.tobytes() for answer in teacher.responses(part)]
                if told != one_by_one[first : first + size]:
                    return False
    except Exception:  # of a user's function; it will be raised again, and reported, in an episode
        return False
    return True
