"""Disturbances of what a policy sees, held against NumPy over recorded observations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from prunekit.disturbances import Deviation, Disturbance, disturbed
from prunekit.errors import InputError

SOME = arrays(
    np.float64, st.tuples(st.integers(1, 30), st.just(3)), elements=st.floats(-1e6, 1e6, allow_subnormal=False)
)


def seen_by(disturbance: Disturbance, observations: NDArray[Any], deviation: Any, seed: int = 0) -> list[Any]:
    """Return what a policy is shown of ``observations``, from an environment that has one buffer for all of them."""
    seen: list[Any] = []
    act = disturbed(seen.append, disturbance, np.asarray(deviation, np.float64), seed)
    buffer = np.empty_like(observations[0])
    for observation in observations:
        buffer[:] = observation
        act(buffer)
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


@given(SOME, st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_noise_is_that_of_the_seed_in_terms_of_the_deviation(
    observations: NDArray[np.float64], delay: int, seed: int
) -> None:
    deviation = np.array([0.0, 1.0, 10.0])
    shown = seen_by(Disturbance(observation_noise=0.25, delay_steps=delay), observations, deviation, seed)
    generator = np.random.default_rng([seed, 1])
    for step, found in enumerate(shown):
        noise = generator.standard_normal(3) * deviation * 0.25
        assert np.array_equal(found, observations[max(step - delay, 0)] + noise)


def test_noise_has_the_deviation_that_was_asked_for() -> None:
    shown = np.array(seen_by(Disturbance(observation_noise=0.1), np.zeros((20_000, 2)), [1.0, 5.0]))
    assert np.allclose(shown.std(axis=0), [0.1, 0.5], rtol=0.03)
    assert np.allclose(shown.mean(axis=0), 0.0, atol=0.02)


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
    assert len(seen_by(Disturbance(delay_steps=1), observations, [1.0, wrong])) == 2


def test_a_deviation_is_not_finite_where_an_observation_was_not() -> None:
    deviation = Deviation(3)
    act = deviation.watching(lambda _: None)
    for value in (1.0, np.inf, 2.0):
        act(np.array([0.0, value, 1e300 * value]))
    assert list(np.isfinite(deviation.value)) == [True, False, False]


@pytest.mark.parametrize("wrong", [{"observation_noise": -1.0}, {"observation_noise": np.nan}, {"delay_steps": -1}])
def test_a_disturbance_is_refused_that_is_none(wrong: Any) -> None:
    with pytest.raises(InputError, match="not negative"):
        Disturbance(**wrong)
