"""Disturbances of what a policy sees, held against NumPy over recorded observations."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from prunekit.disturbances.deviation import Deviation
from prunekit.disturbances.environment import DisturbedEnvironment
from prunekit.disturbances.record import Disturbance
from prunekit.errors import InputError
from prunekit.rollouts import episode_return

SOME = arrays(
    np.float64, st.tuples(st.integers(1, 30), st.just(3)), elements=st.floats(-1e6, 1e6, allow_subnormal=False)
)


class Recorded(gym.Env[Any, Any]):
    """An environment that shows ``observations`` one after the other, in one buffer, whatever is done."""

    action_space = gym.spaces.Discrete(2)

    def __init__(self, observations: NDArray[Any]) -> None:
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, observations.shape[1:], np.float64)
        self.observations = observations
        self.buffer = np.empty_like(observations[0])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.at = 0
        self.buffer[:] = self.observations[0]
        return self.buffer, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.at += 1
        over = self.at == len(self.observations)
        self.buffer[:] = 0.0 if over else self.observations[self.at]
        return self.buffer, 0.0, over, False, {}


def seen_by(disturbance: Disturbance, observations: NDArray[Any], deviation: Any, seed: int = 0) -> list[Any]:
    """Return what a policy is shown of ``observations``."""
    seen: list[Any] = []
    disturbed = DisturbedEnvironment(Recorded(observations), disturbance, np.asarray(deviation, np.float64))

    def act(observation: Any) -> int:
        seen.append(observation)
        return 0

    episode_return(disturbed, act, seed)
    return seen


@given(SOME)
def test_the_deviation_is_that_of_all_observations(observations: NDArray[np.float64]) -> None:
    deviation = Deviation(3)
    act = deviation.watching(lambda observation: float(observation.sum()))
    assert [act(entry) for entry in observations] == [float(entry.sum()) for entry in observations]
    expected = observations.std(axis=0)
    assert np.allclose(deviation.value, expected, rtol=1e-9, atol=1e-9 * (1.0 + np.abs(observations).max()))


def test_an_entry_that_never_changes_has_no_deviation_and_no_noise() -> None:
    deviation = Deviation(2)
    act = deviation.watching(lambda _: None)
    for value in range(7):
        act(np.array([0.1, value]))
    assert deviation.value[0] == 0.0
    observations = np.array([[0.1, value] for value in range(7)])
    shown = np.array(seen_by(Disturbance(observation_noise=0.5), observations, deviation.value))
    assert (shown[:, 0] == 0.1).all()
    assert (shown[:, 1] != observations[:, 1]).all()


@given(SOME, st.integers(0, 40))
def test_a_delay_shows_what_was_seen_so_many_steps_before(observations: NDArray[np.float64], delay: int) -> None:
    """An episode that is shorter than the delay shows its first observation throughout."""
    shown = seen_by(Disturbance(delay_steps=delay), observations, np.zeros(3))
    expected = [observations[max(step - delay, 0)] for step in range(len(observations))]
    assert np.array_equal(shown, expected)


@given(SOME, st.integers(0, 3), st.sampled_from([0.0, 0.3, 0.9]), st.integers(0, 2**32 - 1))
def test_a_sensor_is_noisy_then_loses_what_it_saw_and_then_it_comes_late(
    observations: NDArray[np.float64], delay: int, drop: float, seed: int
) -> None:
    deviation = np.array([0.0, 1.0, 10.0])
    disturbance = Disturbance(observation_noise=0.25, delay_steps=delay, drop=drop)
    shown = seen_by(disturbance, observations, deviation, seed)
    noise = 0.25 * deviation * np.random.default_rng([seed, 1]).standard_normal(observations.shape)
    lost = np.random.default_rng([seed, 3]).random(len(observations)) < drop
    arrived = list(observations + noise)
    for step in range(1, len(observations)):
        if lost[step]:
            arrived[step] = arrived[step - 1]
    for step, found in enumerate(shown):
        assert np.array_equal(found, arrived[max(step - delay, 0)])


def test_noise_has_the_deviation_that_was_asked_for() -> None:
    shown = np.array(seen_by(Disturbance(observation_noise=0.1), np.zeros((20_000, 2)), [1.0, 5.0]))
    assert np.allclose(shown.std(axis=0), [0.1, 0.5], rtol=0.03)
    assert np.allclose(shown.mean(axis=0), 0.0, atol=0.02)


def test_so_many_observations_are_lost() -> None:
    steps = np.arange(20_000.0)[:, None]
    shown = np.array(seen_by(Disturbance(drop=0.2), steps, [1.0]))
    assert (shown != steps).mean() == pytest.approx(0.2, abs=0.01)
    again = np.array(seen_by(Disturbance(drop=0.3), steps, [1.0]))
    assert (again != steps)[shown != steps].all(), "more drops are the same ones and others"


def test_what_was_shown_is_not_changed_by_what_is_done_to_it() -> None:
    observations = np.arange(6.0)[:, None]
    disturbed = DisturbedEnvironment(Recorded(observations), Disturbance(delay_steps=3))
    first, _ = disturbed.reset(seed=0)
    first[:] = 99.0
    assert [float(disturbed.step(0)[0][0]) for _ in range(5)] == [0.0, 0.0, 0.0, 1.0, 2.0]


@pytest.mark.parametrize(("dtype", "expected"), [(np.float32, np.float32), (np.uint8, np.float64)])
def test_noise_keeps_fractions_and_signs(dtype: Any, expected: Any) -> None:
    shown = seen_by(Disturbance(observation_noise=0.2), np.zeros((50, 2), dtype), [1.0, 1.0])
    assert all(entry.dtype == expected for entry in shown)
    assert min(entry.min() for entry in shown) < 0.0 < max(entry.max() for entry in shown) < 1.0


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_noise_in_terms_of_no_number_is_refused(wrong: float) -> None:
    observations = np.zeros((2, 2))
    with pytest.raises(InputError, match="entry 1 of the observations has no finite standard deviation"):
        seen_by(Disturbance(observation_noise=0.2), observations, [1.0, wrong])
    with pytest.raises(InputError, match="standard deviations; give them"):
        DisturbedEnvironment(Recorded(observations), Disturbance(observation_noise=0.2))
    assert len(seen_by(Disturbance(delay_steps=1), observations, [1.0, wrong])) == 2


def test_a_deviation_is_not_finite_where_an_observation_was_not() -> None:
    deviation = Deviation(3)
    act = deviation.watching(lambda _: None)
    for value in (1.0, np.inf, 2.0):
        act(np.array([0.0, value, 1e300 * value]))
    assert list(np.isfinite(deviation.value)) == [True, False, False]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"observation_noise": -1.0}, "observation noise must be a number from 0 to 1,000,000, not -1"),
        ({"observation_noise": np.nan}, "observation noise must be"),
        ({"action_noise": 1.5}, "action noise must be a number from 0 to 1, not 1.5"),
        ({"delay_steps": -1}, "a delay must be an integer number of steps from 0 to 1,000, not -1"),
        ({"delay_steps": 1.5}, "a delay must be"),
        ({"delay_steps": 1001}, "a delay must be"),
        ({"drop": 1.0}, "the share of lost observations must be a number from 0 to below 1, not 1"),
        ({"drop": -0.1}, "the share of lost observations must be"),
    ],
)
def test_a_disturbance_out_of_range_is_refused(wrong: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        Disturbance(**wrong)


def test_a_disturbance_says_what_it_is_together_and_apart() -> None:
    both = Disturbance(observation_noise=0.02, action_noise=0.01, delay_steps=1, drop=0.05)
    assert both.words == "observation noise 0.02, action noise 0.01, delay 1, drop 0.05"
    assert list(both.apart()) == ["noise 0.02", "action noise 0.01", "delay 1", "drop 0.05"]
    assert Disturbance().words == "none"
    assert Disturbance().is_none
    assert Disturbance().apart() == {}
    assert both.scaled(2.0) == Disturbance(observation_noise=0.04, action_noise=0.02, delay_steps=2, drop=0.1)
    assert Disturbance(delay_steps=1).to_json() == {"observation_noise": 0.0, "delay_steps": 1}
    assert both.to_json()["drop"] == 0.05


def test_noise_on_actions_is_that_of_the_seed_whatever_the_policy_does() -> None:
    taken: list[int] = []

    class Taking(Recorded):
        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            taken.append(int(action))
            return super().step(action)

    disturbed = DisturbedEnvironment(Taking(np.zeros((2000, 1))), Disturbance(action_noise=0.5))
    episode_return(disturbed, lambda _: 0, 3)
    zeros, taken[:] = list(taken), []
    episode_return(disturbed, lambda _: 1, 3)
    assert np.mean(zeros) == pytest.approx(0.25, abs=0.03)
    assert all(one == 1 for zero, one in zip(zeros, taken, strict=True) if zero == 1)
    assert np.mean(taken) == pytest.approx(0.75, abs=0.03)


def test_noise_on_actions_without_bounds_is_refused_by_name() -> None:
    class Unbounded(Recorded):
        action_space = gym.spaces.Box(-np.inf, np.inf, (2,))  # type: ignore[assignment]

    with pytest.raises(InputError, match="environment 'Unbounded' has actions without finite bounds"):
        DisturbedEnvironment(Unbounded(np.zeros((2, 1))), Disturbance(action_noise=0.1))
