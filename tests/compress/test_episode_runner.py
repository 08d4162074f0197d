"""Episodes in lockstep: the same as one after the other, whatever is played beside them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import failing
import gymnasium as gym
import numpy as np
import points
import pytest
import torch
from torch import nn

from prunekit.compression.playing import deployed, playing_teacher
from prunekit.compression.teacher import Teacher, teacher_of_actor
from prunekit.environments import Spaces, make_environment, spaces_of
from prunekit.errors import CheckError, FailedEpisodeError, InputError
from prunekit.policy.actor import Actor, Normalizer
from prunekit.policy.graphs import graph_of
from prunekit.policy.heads import head_of
from prunekit.rollouts import BatchPolicy, EpisodeRunner
from prunekit.runtimes import quick
from prunekit.runtimes.quick import QuickPolicy

SEEDS = (4, 9, 2, 9, 11, 30, 7)


class Uneven(points.Point):
    """A ``points.Point`` whose episodes have different lengths."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        seen, reward, _, over, facts = super().step(action)
        return seen, reward, bool(np.sin(self._steps + 9.0 * self._state[0]) > 0.97), over, facts


class Counting(points.Point):
    """A ``points.Point`` that is another one every time that it is made."""

    made = 0

    def __init__(self) -> None:
        super().__init__()
        Counting.made += 1
        self.reward = float(Counting.made)


class Remembering(points.Point):
    """A ``points.Point`` that is worth more with every episode that was begun in it."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.reward = getattr(self, "reward", 0.0) + 1.0
        return super().reset(seed=seed, options=options)


gym.register("Uneven-v0", Uneven)
gym.register("Remembering-v0", Remembering)
gym.register("Counting-v0", Counting)


def steering(batch: int, asked: list[int] | None = None) -> BatchPolicy:
    def actions(seen: Any) -> list[Any]:
        if asked is not None:
            asked.append(len(seen))
        return list(points.steer(seen).astype(np.float32))

    return BatchPolicy(actions=actions, batch=batch)


@pytest.fixture
def runner() -> Iterator[EpisodeRunner]:
    made = EpisodeRunner("Uneven-v0", max_copies=4)
    yield made
    made.close()


def test_episodes_are_the_same_in_any_batch(runner: EpisodeRunner) -> None:
    alone = list(runner.play_all(steering(1), SEEDS))
    steps, asked = runner.steps, list[int]()
    together = list(runner.play_all(steering(16, asked), SEEDS))
    assert max(asked) == 4
    assert [one.seed for one in together] == list(SEEDS)
    assert len({len(one.observations) for one in alone}) > 2
    for one, other in zip(alone, together, strict=True):
        assert (one.seed, one.total) == (other.seed, other.total)
        assert np.array_equal(one.observations, other.observations)
    assert runner.steps == 2 * steps == 2 * sum(len(one.observations) for one in alone)


def test_who_has_seen_enough_pays_for_no_more(runner: EpisodeRunner) -> None:
    first = next(runner.play_all(steering(4), SEEDS))
    assert runner.steps == len(first.observations)
    assert runner.play(steering(4), SEEDS[0]).total == first.total


def test_a_failure_comes_in_its_episode_s_turn() -> None:
    runner = EpisodeRunner(failing.FAILING, {"first": 2, "last": 2})
    for batch in (1, 3):
        playing = runner.play_all(steering(batch), (0, 1, 2, 3))
        assert [next(playing).seed, next(playing).seed] == [0, 1]
        with pytest.raises(FailedEpisodeError, match="the episode with seed 2"):
            next(playing)
    runner.close()


@pytest.mark.parametrize("env_id", ["Counting-v0", "Remembering-v0"])
def test_an_environment_without_a_twin_is_played_in_alone(env_id: str) -> None:
    runner = EpisodeRunner(env_id)
    asked: list[int] = []
    assert len(list(runner.play_all(steering(8, asked), SEEDS))) == len(SEEDS)
    assert set(asked) == {1}
    assert f"one at a time, as environments '{env_id}' do not do the same" in runner.note
    runner.close()


def actor_for(spaces: Spaces, *hidden: int) -> Actor:
    widths = (spaces.observation, *hidden, spaces.outputs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(widths):
            layers += [nn.Linear(fan_in, fan_out), nn.Tanh()]
    return Actor(nn.Sequential(*layers[:-1]), head_of(spaces.actions), Normalizer([0.1, -0.2], [1.5, 0.5], 10.0))


@pytest.mark.parametrize("env_id", [points.CONTINUOUS, points.DISCRETE, points.LEVERS, points.SWITCHES])
@pytest.mark.parametrize("hidden", [(), (5,), (70, 60)])
def test_the_compiled_policy_and_its_twin_give_the_same_bits(env_id: str, hidden: tuple[int, ...]) -> None:
    environment = make_environment(env_id)
    graph = graph_of(actor_for(spaces_of(environment), *hidden))
    seen = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
    try:
        compiled = QuickPolicy(graph, compiled=True).answers
    except InputError:
        pytest.skip("no C compiler")
    twin = QuickPolicy(graph, compiled=False).answers
    rows = twin(seen).reshape(100, -1)
    assert np.array_equal(compiled(seen).reshape(100, -1), rows)
    assert np.array_equal(np.concatenate([compiled(one[None]).reshape(1, -1) for one in seen]), rows)


@pytest.mark.parametrize("env_id", [points.CONTINUOUS, points.DISCRETE, points.LEVERS, points.SWITCHES])
def test_without_a_compiler_the_twin_plays_the_same(env_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = EpisodeRunner(env_id)
    actor = actor_for(runner.spaces, 5)
    with_it = [one.total for one in runner.play_all(deployed(actor, runner.spaces), SEEDS)]
    monkeypatch.setattr(quick, "_compiler", lambda: None)
    policy = deployed(actor, runner.spaces)
    assert policy.batch > 1
    assert [one.total for one in runner.play_all(policy, SEEDS)] == with_it
    runner.close()


def test_nothing_is_answered_where_an_observation_is_not_finite(runner: EpisodeRunner) -> None:
    policy = deployed(actor_for(runner.spaces, 3), runner.spaces)
    for bad in (np.nan, np.inf):
        with pytest.raises(CheckError, match="not finite"):
            policy.actions(np.array([[0.0, 0.0], [bad, 1.0]], np.float32))
    assert len(policy.actions(np.full((1, 2), 3e38, np.float32))) == 1


def test_a_teacher_is_asked_in_batches_where_that_changes_nothing(runner: EpisodeRunner) -> None:
    def mixing(seen: Any) -> Any:
        return points.steer(seen) + 1e-9 * len(seen)

    spaces = runner.spaces
    assert playing_teacher(Teacher(name="it", spaces=spaces, respond=points.steer)).batch > 1
    assert playing_teacher(Teacher(name="it", spaces=spaces, respond=mixing)).batch == 1


def test_a_teacher_that_is_a_graph_plays_as_its_c(runner: EpisodeRunner) -> None:
    actor = actor_for(runner.spaces, 6)
    teacher = teacher_of_actor(actor, "it", runner.spaces)
    seen = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    own, same = playing_teacher(teacher).actions(seen), deployed(actor, runner.spaces).actions(seen)
    assert np.array_equal(own, same)
