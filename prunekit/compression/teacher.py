"""A teacher: any existing policy, reduced to observations in and answers out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from prunekit.benching.runtimes import changing_answer
from prunekit.environments import Spaces
from prunekit.errors import CheckError, InputError, UnusableEnvironmentError
from prunekit.export.onnx import to_onnx
from prunekit.export.session import tuned_session
from prunekit.graph.graph import Graph, specs_of
from prunekit.policy.actor import Actor
from prunekit.policy.graphs import graph_of
from prunekit.policy.program import Float32, lower
from prunekit.policy.sizes import sizes_of

_QUESTIONS = 128
Float64 = NDArray[np.float64]
Respond = Callable[[Float32], Any]
"""Raw observations [n, obs] to outputs [n, k], as the kind of actions defines them, or to integer action numbers."""


@final
@dataclass(frozen=True, kw_only=True)
class Size:
    """Hidden units per layer (None: not known) and the number of parameters of a network."""

    hidden: tuple[int, ...] | None
    parameters: int


@final
@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A policy to imitate; messages call it ``name``. ``size`` is None if nothing is known about its network.

    Each of ``notes`` is one line about something that was left out or assumed when the policy was read. ``graph`` is
    the policy as a graph, if that is what answers. If a file is run directly instead, ``read`` reads it into a graph,
    or returns None if it cannot be read.

    ``responses`` answers observations in float64 [n, k], as the kind of actions defines them (``prunekit/spaces``).
    For discrete actions these are logits, and the largest is chosen; a teacher that gives only its choice has the
    logit 1 for it and 0 for all others. For continuous actions they are the actions, clipped to the bounds.
    """

    name: str
    spaces: Spaces
    respond: Respond
    size: Size | None = None
    notes: tuple[str, ...] = ()
    graph: Graph | None = None
    read: Callable[[], Graph | None] | None = None

    @cached_property
    def network(self) -> Graph | None:
        """The graph that a student may start as a copy of; if ``read`` makes it, the file is read here, once."""
        return self.graph if self.read is None else self.read()

    def responses(self, observations: Float32) -> Float64:
        """Return the teacher's answers [n, k] to raw observations [n, obs].

        Raises InputError, naming the teacher, if an answer is not finite or has the wrong shape for the action space.
        Raises UnusableEnvironmentError if an answer is not finite because the observation is not.
        """
        answers = self._answers(observations)
        if not np.isfinite(answers).all():
            seen = observations[int((~np.isfinite(answers)).any(axis=1).argmax())]
            if not np.isfinite(seen).all():
                raise UnusableEnvironmentError(
                    f"the environment gave the observation {seen.tolist()}, which is not finite, so {self.name} "
                    "cannot answer; make the environment give finite numbers"
                )
            raise InputError(f"{self.name}: the answer to observation {seen.tolist()} is not finite")
        return self.spaces.actions.answers(answers)

    def probe(self) -> None:
        """Ask the teacher twice about the same observations: zeros, and random ones.

        Their number differs from k, so that answers [k, n] cannot pass for [n, k]. Raises InputError, naming the
        teacher, if it does not run, if its answers have the wrong shape, or if the second answers differ.
        """
        zeros = np.zeros((self.spaces.outputs + 1, self.spaces.observation), np.float32)
        rows = _QUESTIONS if self.spaces.outputs != _QUESTIONS else _QUESTIONS + 1
        draws = np.random.default_rng(0).uniform(size=(rows, self.spaces.observation)).astype(np.float32)
        for observations in (zeros, draws):
            if self._answers(observations).tobytes() != self._answers(observations).tobytes():
                raise changing_answer(self.name)

    def _answers(self, observations: Float32) -> Float64:
        found = np.asarray(self.respond(observations.copy()))  # a copy: a function of a user's may work in place
        count, width = len(observations), self.spaces.outputs
        choices = self.spaces.actions.choices
        if choices is not None and np.issubdtype(found.dtype, np.integer) and found.size == count * choices:
            return self._chosen(found.reshape(count, choices))
        if not np.issubdtype(found.dtype, np.floating) or _longer_axes(found.shape) != _longer_axes((count, width)):
            raise InputError(
                f"{self.name}: answers {count} observations with {found.dtype} of shape {list(found.shape)}, but the "
                f"environment needs floats of shape {[count, width]}"
            )
        return found.reshape(count, width).astype(np.float64)

    def act(self, observation: Any) -> Any:
        """Return the action that ``env.step`` accepts for one raw observation [obs]."""
        answer = self.responses(np.asarray(observation, np.float32)[None])[0]
        return self.spaces.actions.decided(answer)

    def _chosen(self, choices: NDArray[np.integer[Any]]) -> Float64:
        try:
            return self.spaces.actions.outputs_of(choices)
        except CheckError as error:
            raise InputError(f"{self.name}: chooses {error}") from error


def teacher_of_graph(graph: Graph, name: str, spaces: Spaces) -> Teacher:
    """Return a ``graph`` with one input as a teacher; raises InputError, naming it, if it does not fit ``spaces``."""
    specs = specs_of(graph)
    sizes = [math.prod(port.shape) for port in graph.inputs]
    outputs = math.prod(specs["outputs"].shape)
    if len(sizes) != 1 or sizes[0] != spaces.observation or outputs != spaces.outputs:
        raise of_another_environment(name, sizes, outputs, spaces)
    port, session = graph.inputs[0], tuned_session(to_onnx(graph, {}), name)
    output = spaces.actions.taught_by

    def respond(observations: Float32) -> Any:
        return session.run([output], {port.name: observations.reshape(-1, *port.shape)})[0]

    counted = sizes_of(graph)
    teacher = Teacher(
        name=name,
        spaces=spaces,
        respond=respond,
        size=Size(hidden=counted.hidden, parameters=counted.parameters),
        graph=graph,
    )
    teacher.probe()
    return teacher


def of_another_environment(name: str, inputs: Sequence[int], outputs: int, spaces: Spaces) -> InputError:
    """Return the error for a policy whose ``inputs`` and ``outputs`` do not fit ``spaces``."""
    return InputError(
        f"{name}: maps {' and '.join(map(str, inputs))} values to {outputs}, but the environment has observations of "
        f"{spaces.observation} values and actions of {spaces.outputs}; give the teacher's own environment with `env`"
    )


def _longer_axes(shape: tuple[int, ...]) -> list[int]:
    return [size for size in shape if size != 1]


def teacher_of_actor(actor: Actor, name: str, spaces: Spaces) -> Teacher:
    """Return ``actor`` as a teacher that answers as the deployed policy would.

    Raises InputError, naming it, if it does not fit ``spaces``.
    """
    program = lower(actor)
    if (program.inputs, program.outputs) != (spaces.observation, spaces.outputs):
        raise of_another_environment(name, [program.inputs], program.outputs, spaces)

    graph = graph_of(program)
    session = tuned_session(to_onnx(graph, {}), name)
    output = spaces.actions.taught_by

    def respond(observations: Float32) -> Any:
        return session.run([output], {"obs": observations})[0]

    return Teacher(
        name=name,
        spaces=spaces,
        respond=respond,
        size=Size(hidden=program.hidden, parameters=program.parameters),
        graph=graph,
    )
