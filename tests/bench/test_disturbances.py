"""Episodes under noise and delay: what is done to observations, and what bench says of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from test_compare import FEW, Silent, cartpole, validator

from prunekit import InputError
from prunekit.benching.compare import run_bench
from prunekit.benching.settings import BenchSettings
from prunekit.cli.options import disturbance_named
from prunekit.disturbances.randomization import Parameter, Randomization
from prunekit.disturbances.record import Disturbance
from prunekit.report.bench_tables import disturbance_table

Run = Callable[..., tuple[int, str, str]]
DISTURBANCE = Disturbance(observation_noise=0.5, delay_steps=9)
WEIGHT = np.asarray([[0.0, 0.0], [-0.2, 0.2], [-1.0, 1.0], [-1.0, 1.0]])


def test_bench_plays_again_under_each_disturbance(tmp_path: Path) -> None:
    paths = [cartpole(tmp_path / "good.onnx", WEIGHT), cartpole(tmp_path / "late.onnx", -WEIGHT)]
    settings = BenchSettings(episodes=4, first_seed=40, calls=100, paced_ticks=2, disturbance=DISTURBANCE)
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


@pytest.mark.parametrize(
    ("noise", "delay", "drop", "told"),
    [
        ("obs=-0.1", 0, 0.0, "--noise: observation noise must be a number from 0 to 1,000,000, not -0.1"),
        ("nan", 0, 0.0, "--noise: observation noise must be a number from 0 to 1,000,000, not nan"),
        ("obs=0.1,action=2", 0, 0.0, "--noise: action noise must be a number from 0 to 1, not 2"),
        ("wind=1", 0, 0.0, "--noise 'wind=1' is not a noise level; write it as in --noise obs=0.02,action=0.01"),
        ("0.1,0.2", 0, 0.0, "--noise '0.1,0.2' is not a noise level"),
        (None, 1001, 0.0, "--delay: a delay must be an integer number of steps from 0 to 1,000, not 1001"),
        (None, 0, 1.0, "--drop: the share of lost observations must be a number from 0 to below 1, not 1"),
    ],
)
def test_values_out_of_range_are_refused(noise: str | None, delay: int, drop: float, told: str) -> None:
    with pytest.raises(InputError, match=re.escape(told)):
        disturbance_named(noise, delay, drop, None)


def test_options_say_what_is_done() -> None:
    assert disturbance_named(None, 0, 0.0, None) == Disturbance()
    assert disturbance_named("0.02", 1, 0.05, None) == Disturbance(observation_noise=0.02, delay_steps=1, drop=0.05)
    assert disturbance_named("action=0.01, obs=0.02", 0, 0.0, None) == Disturbance(
        observation_noise=0.02, action_noise=0.01
    )


def test_bench_draws_parameters(tmp_path: Path) -> None:
    """The policy pushes one way alone, whose force is as good as none in half of the episodes."""
    drawn = Randomization(parameters=(Parameter(path="force_mag", low=0.001, high=20.0, distribution="log-uniform"),))
    settings = BenchSettings(
        episodes=6, first_seed=40, calls=1, paced_ticks=1, disturbance=Disturbance(randomization=drawn)
    )
    (found,) = run_bench([cartpole(tmp_path / "good.onnx", WEIGHT)], [Silent()], settings).disturbed
    assert list(found) == ["randomized"]
    assert min(found["randomized"]) < 100.0 < max(found["randomized"])


def test_an_unknown_parameter_is_refused_in_one_line(tmp_path: Path, run: Run) -> None:
    (tmp_path / "drawn.toml").write_text("[lenght]\nrange = [0.1, 2.0]\n")
    model = cartpole(tmp_path / "good.onnx", WEIGHT)
    told = ["--episodes", 1, "--randomize", tmp_path / "drawn.toml"]
    code, _, error = run("bench", model, *told)
    assert (code, error.count("\n")) == (2, 1)
    assert "lenght: CartPoleEnv has no lenght; did you mean length? there are force_mag, gravity" in error
