"""Episodes under noise and delay: what is done to observations, and what bench says of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_compare import FEW, Silent, cartpole, validator

from prunekit import InputError
from prunekit.benching.compare import run_bench
from prunekit.benching.settings import BenchSettings
from prunekit.disturbances import Deviation, Disturbance, disturbed
from prunekit.report.bench_tables import disturbance_table

WEIGHT = np.asarray([[0.0, 0.0], [-0.2, 0.2], [-1.0, 1.0], [-1.0, 1.0]])


@given(st.integers(0, 5), st.integers(1, 12))
def test_a_delay_shows_what_was_so_many_steps_ago(delay: int, steps: int) -> None:
    seen: list[float] = []
    act = disturbed(lambda obs: seen.append(float(obs[0])), Disturbance(delay_steps=delay), np.ones(1), 0)
    for step in range(steps):
        act(np.array([float(step)]))
    assert seen == [float(max(step - delay, 0)) for step in range(steps)]


def test_noise_has_the_size_of_every_entry_and_comes_again_with_its_seed() -> None:
    deviation, zeros = np.array([1.0, 0.0, 100.0]), np.zeros(3, np.float32)

    def noise(seed: int) -> np.ndarray:
        seen: list[np.ndarray] = []
        act = disturbed(seen.append, Disturbance(observation_noise=0.02), deviation, seed)
        for _ in range(4000):
            act(zeros)
        return np.array(seen)

    found = noise(3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.std(axis=0), 0.02 * deviation, rtol=0.05)
    np.testing.assert_allclose(found.mean(axis=0), 0.0, atol=0.1)
    assert not found[:, 1].any()
    assert np.array_equal(found, noise(3))
    assert not np.array_equal(found, noise(4))
    assert not zeros.any(), "the environment's own array is not changed"


@given(st.lists(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=2), min_size=1, max_size=30))
def test_the_deviation_is_that_of_all_observations(rows: list[list[float]]) -> None:
    deviation = Deviation(2)
    act = deviation.watching(lambda observation: observation[0])
    assert [act(np.array(row)) for row in rows] == [row[0] for row in rows]
    np.testing.assert_allclose(deviation.value, np.array(rows).std(axis=0), rtol=1e-6, atol=1e-6)


def test_bench_plays_again_under_each_disturbance(tmp_path: Path) -> None:
    paths = [cartpole(tmp_path / "good.onnx", WEIGHT), cartpole(tmp_path / "late.onnx", -WEIGHT)]
    settings = BenchSettings(episodes=4, first_seed=40, calls=100, paced_ticks=2, noise=0.5, delay=9)
    result = run_bench(paths, [Silent()], settings)
    assert [list(found) for found in result.disturbed] == [["noise 0.5", "delay 9"]] * 2
    own = result.devices[0]["silent"].returns
    assert np.mean(result.disturbed[0]["delay 9"]) < 0.5 * np.mean(own)
    data = json.loads(json.dumps(result.to_json(), allow_nan=False))
    validator().validate(data)
    assert data["models"][0]["disturbed"]["noise 0.5"]["returns"] == list(result.disturbed[0]["noise 0.5"])
    table = disturbance_table(result)
    assert table is not None
    assert [row[0].text for row in table.rows] == ["return, noise 0.5", "return, delay 9"]
    assert "of its own" in table.rows[1][1].detail


def test_bench_without_disturbances_has_none(tmp_path: Path) -> None:
    result = run_bench([cartpole(tmp_path / "good.onnx", WEIGHT)], [Silent()], FEW)
    assert result.disturbed == ({},)
    assert disturbance_table(result) is None


@pytest.mark.parametrize(("field", "value"), [("noise", -0.1), ("noise", float("nan")), ("delay", -1), ("delay", 1001)])
def test_values_out_of_range_are_refused(field: str, value: float) -> None:
    with pytest.raises(InputError, match=f"`{field}` must be from 0"):
        BenchSettings(**{field: value})
