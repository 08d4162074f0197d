"""EnvPool's twins: used where they do as the user's environment does, and refused by name where not.

A stand-in plays EnvPool's part, as it is no dependency; where EnvPool is installed, it is asked too.
"""

from __future__ import annotations

import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from fake_envpool import fake
from gymnasium.envs.classic_control import CartPoleEnv

from prunekit.adapters.envpool import EnvPoolRunner
from prunekit.adapters.envpool_learning import EnvPoolVecEnv
from prunekit.adapters.envpool_twin import require_twin
from prunekit.errors import FailedEpisodeError, InputError
from prunekit.rollouts import BatchPolicy, EpisodeRunner, StoppedError


def use(monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    monkeypatch.setitem(sys.modules, "envpool", module)


def balancing(batch: int) -> BatchPolicy:
    return BatchPolicy(actions=lambda rows: [np.int64(row[2] + row[3] > 0.0) for row in rows], batch=batch)


def test_its_episodes_depend_on_seeds_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, fake())
    runner = EnvPoolRunner("CartPole-v1", max_copies=4)
    found = list(runner.play_all(balancing(3), range(6)))
    assert [episode.seed for episode in found] == list(range(6))
    assert all(episode.total == len(episode.observations) for episode in found)
    assert runner.steps == sum(episode.total for episode in found)
    again = list(runner.play_all(balancing(1), [5, 2]))
    for one, other in zip(again, (found[5], found[2]), strict=True):
        assert one.total == other.total
        np.testing.assert_array_equal(one.observations, other.observations)
    own = EpisodeRunner("CartPole-v1")
    means = [np.mean([episode.total for episode in all_]) for all_ in (found, own.play_all(balancing(1), range(6)))]
    assert means[0] == pytest.approx(means[1], rel=0.5)
    runner.stopped = lambda: True
    with pytest.raises(StoppedError, match="stopped"):
        list(runner.play_all(balancing(1), [0]))
    runner.close()


@pytest.mark.parametrize(
    ("module", "env_id", "kwargs", "told"),
    [
        (None, "CartPole-v1", {}, "EnvPool is not installed; run: pip install 'prunekit\\[fast\\]'"),
        (fake(force=1.001), "CartPole-v1", {}, "'CartPole-v1' cannot stand in for yours: at step 1 of episode 1 of"),
        (fake(shift=0.05), "CartPole-v1", {}, "its episodes begin in other states \\(entry 0 of the observations\\)"),
        (fake(), "Acrobot-v1", {}, "EnvPool has no environment 'Acrobot-v1'"),
        (fake(), "CartPole-v1", {"sutton_barto_reward": True}, "takes no argument sutton_barto_reward"),
        (fake(), "LunarLander-v3", {}, "its physical state cannot be read from what it shows; leave `fast` out"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, module: Any, env_id: str, kwargs: dict[str, Any], told: str
) -> None:
    use(monkeypatch, module)
    with pytest.raises(InputError, match=told) as refused:
        EnvPoolRunner(env_id, kwargs)
    assert "\n" not in str(refused.value)


def test_another_time_limit_is_that_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, fake())
    gym.register("prunekit-test/ShortPole-v0", "gymnasium.envs.classic_control:CartPoleEnv", max_episode_steps=12)
    try:
        with pytest.raises(InputError, match="EnvPool has no environment 'prunekit-test/ShortPole-v0'"):
            EnvPoolRunner("prunekit-test/ShortPole-v0")
        runner = EnvPoolRunner("prunekit-test/ShortPole-v0", twin_id="CartPole-v1")
        assert [episode.total for episode in runner.play_all(balancing(2), [0, 1])] == [12.0, 12.0]
    finally:
        gym.registry.pop("prunekit-test/ShortPole-v0")


def test_a_learner_sees_the_last_observation_and_the_first_of_the_next_episode(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(monkeypatch, fake())
    runner = EnvPoolRunner("CartPole-v1")
    space, actions = runner.environment.observation_space, runner.environment.action_space
    learner = EnvPoolVecEnv(runner.pool, 3, space, actions, lambda seen: 2.0 * seen, lambda action: int(action))
    first = learner.reset()
    assert np.abs(first).max() <= 0.1
    ended = 0
    for step in range(40):
        shown, rewards, over, told = learner.step([1, 0, step % 2])
        for index in range(3):
            if over[index]:
                ended += 1
                assert np.abs(shown[index]).max() <= 0.1 < np.abs(told[index]["terminal_observation"]).max()
                assert not told[index]["TimeLimit.truncated"]
            else:
                assert told[index] == {}
            assert rewards[index] == 1.0
    assert ended >= 6
    learner.seed(5)
    assert not np.array_equal(learner.reset(), first)
    learner.seed(0)
    np.testing.assert_array_equal(learner.reset(), first)
    learner.close()


def test_what_is_not_finite_is_named_and_the_others_are_played(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, fake())
    runner = EnvPoolRunner("CartPole-v1")
    use(monkeypatch, fake(broken=(1,)))
    played = runner.play_all(balancing(2), [6, 7, 8])
    assert next(played).seed == 6
    with pytest.raises(
        FailedEpisodeError, match="'CartPole-v1': the episode with seed 7 has an observation or a reward that is not"
    ):
        next(played)


def wrapped(render_mode: str | None = None) -> Any:
    return gym.wrappers.FlattenObservation(gym.make("CartPole-v1", render_mode=render_mode))


def test_what_a_function_wraps_is_known_by_its_own_id(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, fake())
    assert EnvPoolRunner(wrapped, {"render_mode": "rgb_array"}).twin_id == "CartPole-v1"
    with pytest.raises(
        InputError,
        match=r"environment 'test_envpool:Bare' was not made by an id that "
        r"EnvPool could look up.*leave `fast` out",
    ):
        EnvPoolRunner(Bare)


def lasting(duration: int) -> Any:
    environment = gym.make("CartPole-v1")
    environment.unwrapped.config = {"duration": duration, "other": 1}  # type: ignore[attr-defined]
    return environment


def test_a_setting_of_another_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, fake())
    EnvPoolRunner(lasting, {"duration": 30}).close()
    with pytest.raises(InputError, match=r"cannot stand in for yours: its duration is 30, that of yours 60"):
        EnvPoolRunner(lasting, {"duration": 60})


class Bare(CartPoleEnv):
    """An environment that no id made."""


def test_the_random_policy_plays_there_too(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, fake())
    runner = EnvPoolRunner("CartPole-v1")
    earned = [runner.random(seed) for seed in range(12)]
    assert len(set(earned)) > 4
    assert np.mean(earned) == pytest.approx(22.0, abs=8.0)
    assert [runner.random(seed) for seed in range(12)] == earned


def test_the_true_one_is_a_twin_of_hopper_and_none_of_ant() -> None:
    pytest.importorskip("envpool", reason="EnvPool is not installed: pip install 'prunekit[fast]'")
    require_twin("Hopper-v5", gym.make("Hopper-v5"), {})
    with pytest.raises(InputError, match="'Ant-v5' cannot stand in for yours: at step 1 of episode 1"):
        require_twin("Ant-v5", gym.make("Ant-v5"), {})
