"""Players for a certificate: any policy as it would be deployed, and the random policy."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from prunekit.benching.certify import Certified, CertifySettings, Play, Returns, certified
from prunekit.benching.models import BenchModel
from prunekit.benching.runtimes import OnnxRuntime
from prunekit.environments import Spaces
from prunekit.errors import CheckError, FailedEpisodeError, InputError
from prunekit.export.onnx import to_onnx
from prunekit.export.quantize import Bits, quantize, run_quantized
from prunekit.export.recording import require_place
from prunekit.export.session import tuned_session
from prunekit.formats.text import shown
from prunekit.graph.graph import Graph
from prunekit.graph.reference import initial_states
from prunekit.policy.actions import keeps_outputs, with_actions_of
from prunekit.rollouts import Act
from prunekit.simulators.episodes import Episodes


@final
@dataclass(frozen=True, kw_only=True)
class Player:
    """A policy, called ``name`` in messages.

    ``begin`` begins an episode and returns a function from an observation to the action for ``env.step``. For a policy
    without state it is always the same function. ``form`` is the number format in which it plays. ``notes`` are those
    of its file.
    """

    name: str
    begin: Callable[[], Act]
    form: str = "float32"
    notes: tuple[str, ...] = ()


def stateless(name: str, act: Act, form: str = "float32") -> Player:
    """Return a policy that uses ``act`` in every episode."""
    return Player(name=name, begin=lambda: act, form=form)


def player_of(model: BenchModel, spaces: Spaces, *, as_read: bool = False) -> Player:
    """Return a policy as ONNX Runtime runs it; raises InputError, naming the file, if it does not fit ``spaces``.

    An ONNX file runs in its own form if possible. Otherwise, and with ``as_read``, it runs as the graph that was read.
    """
    return replace(_player_of(model, spaces, as_read=as_read), notes=model.notes)


def _player_of(model: BenchModel, spaces: Spaces, *, as_read: bool) -> Player:
    graph, name = model.graph, str(model.path)
    if graph is not None and graph.states:
        return _with_state(_headed(graph, spaces, name), model.content, spaces, name)
    if graph is not None and as_read:
        return _as_read(model, graph, spaces)
    try:
        return stateless(name, OnnxRuntime(model, spaces).act)
    except InputError:
        if graph is None:
            raise
        with suppress(InputError):
            return _as_read(model, graph, spaces)
        raise


def integer_player(graph: Graph, name: str, spaces: Spaces, seen: NDArray[np.float32], bits: Bits = 16) -> Player:
    """Return the policy ``graph`` in integers, run by the NumPy twin of its C, which has the same bits.

    ``seen`` are its own observations [n, ...], from which ranges are taken. Raises InputError, naming the policy, if it
    has no integer form or does not fit ``spaces``.
    """
    try:
        quantized = quantize(_headed(graph, spaces, name), seen, bits)
    except InputError as error:
        raise InputError(f"{name}: {str(error).removeprefix(f'{name}: ')}") from error

    def act(observation: Any) -> Any:
        row = np.asarray(observation, np.float32)[None]
        return spaces.actions.action(run_quantized(quantized, row)[0][0])

    return stateless(name, act, f"int8 weights, int{bits} activations")


def episodes_of(episodes: Episodes, teacher: Player, small: Player) -> Play:
    """Return a function that plays an episode of each policy in ``episodes``, with one seed."""
    turns = (
        episodes.returns(lambda _: teacher.begin()),
        episodes.random(),
        episodes.returns(lambda _: small.begin()),
    )

    def play(seed: int, count: int) -> Returns:
        found: list[float | FailedEpisodeError] = []
        for turn in turns[:count]:
            try:
                found.append(turn(seed))
            except FailedEpisodeError as error:
                return (*found, error)
        return tuple(found)

    return play


def certify_players(
    episodes: Episodes,
    small: Player,
    teacher: Player,
    settings: CertifySettings,
    progress: Callable[[str, int], None] = lambda *_: None,
) -> Certified:
    """Return the test of ``small`` against ``teacher`` on fresh ``episodes``; raises as ``certified`` does.

    >>> from prunekit.simulators.spec import environment_spec
    >>> both = [stateless(name, lambda seen: int(seen[2] + seen[3] > 0)) for name in ("small", "teacher")]
    >>> episodes = environment_spec("CartPole-v1").episodes()
    >>> certify_players(episodes, *both, CertifySettings(keep=0.5)).certified
    True
    """
    play, names = episodes_of(episodes, teacher, small), (small.name, teacher.name)
    found = certified(play, names, settings, form=small.form, progress=progress)
    return replace(found, facts={"env": {"id": episodes.name, "seeds": episodes.seeding.value}})


def graph_in(model: BenchModel, spaces: Spaces, why: str) -> Graph:
    """Return the graph of ``model`` with a head for ``spaces``; without a graph, raises InputError with ``why``."""
    if model.graph is None:
        raise InputError(f"{model.path}: {why}: {model.not_read}")
    return _headed(model.graph, spaces, str(model.path))


def _as_read(model: BenchModel, graph: Graph, spaces: Spaces) -> Player:
    content = to_onnx(_headed(graph, spaces, str(model.path)), {})
    read = replace(model, content=content, sampled={})
    return stateless(str(model.path), OnnxRuntime(read, spaces).act)


def _headed(graph: Graph, spaces: Spaces, name: str) -> Graph:
    if keeps_outputs(graph):
        return with_actions_of(graph, spaces, name)
    require_place(name, graph, spaces, "the environment")
    return graph


def _with_state(graph: Graph, content: bytes, spaces: Spaces, name: str) -> Player:
    """Return a policy that keeps its state from one observation to the next, and resets it at the start of an
    episode.
    """
    if len(graph.inputs) != 1:
        names = ", ".join(port.name for port in graph.inputs)
        raise InputError(f"{name}: has several inputs ({names}), but the environment gives one observation")
    session, port = tuned_session(content, name), graph.inputs[0]
    wanted = ["action", *(f"{state.before}_out" for state in graph.states)]

    def begin() -> Act:
        states = initial_states(graph, 1, np.float32)

        def act(observation: Any) -> Any:
            row = np.asarray(observation, port.dtype).reshape(1, *port.shape)
            action, *after = session.run(wanted, {port.name: row, **states})
            if not np.isfinite(action).all():
                seen = shown(np.asarray(observation).tolist())
                raise CheckError(f"{name}: the action is not finite for observation {seen}")
            states.update({state.before: value for state, value in zip(graph.states, after, strict=True)})
            return spaces.actions.action(action[0])

        return act

    return Player(name=name, begin=begin)
