"""A run that ends far below what it had earned says so; noise and poor policies do not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import prunekit
from prunekit.errors import InputError
from prunekit.training.fall import Fall, fall_in, fall_of, last_return_in

Run = Callable[..., tuple[int, str, str]]
FELL = [100.0 + value for value in [-1.0, 0.0, 1.0] * 9] + [9.0, 10.0, 11.0]
STEPS = range(10, 310, 10)
PAID = range(200, 300)
"""The steps of an environment that are rewarded; a random policy is played for fewer."""


def test_a_fall_is_told_with_both_means_and_its_time() -> None:
    assert fall_of(STEPS, FELL, 0.0) == Fall(end=10.0, best=100.0, best_steps=30)
    assert Fall(end=-68.04, best=5482.0, best_steps=650_000).sentence == (
        "the return fell during training, from 5,482.0 up to step 650,000 to -68.0 at the end; "
        "train again with another `seed`"
    )


def test_half_of_the_gain_over_the_random_policy_is_what_counts() -> None:
    deviations = np.tile([-1.0, 0.0, 1.0], 10)
    for end, fell in ((48.0, False), (46.0, True)):  # three standard errors are 1.7
        returns = [*(100.0 + deviations[:27]), *(end + deviations[27:])]
        assert (fall_of(STEPS, returns, 0.0) is not None) is fell
        assert fall_of(STEPS, returns, -200.0) is None
        assert fall_of(STEPS, returns, 100.0) is None


def test_a_fall_that_was_made_up_for_is_none() -> None:
    returns = [*[100.0] * 12, *[0.0] * 12, *[90.0] * 6]
    assert fall_of(STEPS, returns, 0.0) is None
    assert fall_of(STEPS, returns[:24] + [1.0] * 6, 0.0) is not None


def test_parts_without_enough_returns_are_not_judged() -> None:
    assert fall_of([], [], 0.0) is None
    assert fall_of(STEPS, [None] * 30, 0.0) is None
    assert fall_of(STEPS, [*FELL[:29], None], 0.0) is None
    assert fall_of(STEPS, [*FELL[3:], *[None] * 3], 0.0) is None  # what came after the fall is not known
    assert fall_of(STEPS, [*[None] * 27, *FELL[27:]], 0.0) is None
    assert fall_of(STEPS, [*[None] * 24, *FELL[24:]], 0.0) == Fall(end=10.0, best=100.0, best_steps=270)
    with pytest.raises(InputError, match="at least 2 parts"):
        fall_of(STEPS, FELL, 0.0, parts=1)


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.sampled_from([40, 60, 200]), st.sampled_from([0.0, -1.0, -10.0]))
def test_a_policy_of_constant_quality_has_not_fallen(seed: int, count: int, floor: float) -> None:
    returns = np.random.default_rng(seed).normal(size=count).tolist()
    assert fall_of(range(count), returns, floor) is None


@settings(max_examples=50)
@given(st.floats(0.01, 1e6), st.floats(-1e6, 1e6))
def test_a_fall_is_one_in_any_unit(scale: float, offset: float) -> None:
    assert fall_of(STEPS, [offset + scale * value for value in FELL], offset) is not None


def test_a_damaged_record_is_no_reason_to_lose_a_run(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    assert fall_in(path, 0.0) is None
    rows = [f"{step},{value}" for step, value in zip(STEPS, FELL, strict=True)]
    path.write_text("\n".join(["steps,mean_return", *rows]) + "\n")
    assert fall_in(path, 0.0) == Fall(end=10.0, best=100.0, best_steps=30)
    rows[3], rows[7], rows[11], rows[15], rows[16] = "40,x", "80", "-,1", "160,inf", "170,nan"
    path.write_text("\n".join(["steps,mean_return", *rows]) + "\n")
    fall = fall_in(path, 0.0)
    assert fall is not None
    assert (fall.end, fall.best) == (10.0, 100.0)
    assert last_return_in(path) == STEPS[-1]
    path.write_text("steps,mean_return\n1,2.5\n2,\n3,nan\n")
    assert last_return_in(path) == 1
    for content in (b"", b"\xff\x00\xff\n", b"a,b\n1,2\n", b'steps,mean_return\n"'):
        path.write_bytes(content)
        assert fall_in(path, 0.0) is None
        assert last_return_in(path) is None


class Fading(gym.Env[Any, Any]):
    """Pays nothing, then for a while, then nothing again, whatever one does."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)
    count = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.count += 1
        reward = 1.0 if self.count in PAID else 0.0
        return np.zeros(2, np.float32), reward, False, self.count % 4 == 0, {}


def test_a_run_that_fell_says_so_and_one_that_did_not_does_not(tmp_path: Path, run: Run) -> None:
    options = ["--env", f"{__name__}:Fading", "--algo", "ppo", "--dense", "--hidden", "4", "--steps", 4096]
    code, out, err = run("train", *options, "--out", tmp_path / "fell", "--json", tmp_path / "fell.json")
    assert code == 0, err
    notes = json.loads((tmp_path / "fell.json").read_text())["notes"]
    assert len(notes) == 1
    assert notes[0].startswith("the return fell during training, from 4.0 up to step ")
    assert notes[0].endswith(" to 0.0 at the end; train again with another --seed")
    assert out.splitlines()[-1] == f"note: {notes[0]}"
    trained = prunekit.train(
        "CartPole-v1", algo="ppo", dense=True, hidden=(4,), steps=2048, out=tmp_path / "cart", seed=1
    )
    assert trained.notes == ()
