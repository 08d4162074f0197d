"""What the deterministic policy earns at the end of a run, and the note where it is far less than training earned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import Run
from small_runs import small_request, tensors_of
from torch import nn

import prunekit
from prunekit.errors import InputError
from prunekit.policy.actor import Actor
from prunekit.policy.artifact import load
from prunekit.policy.heads import ArgmaxHead
from prunekit.training.deterministic import DeterministicReturns, play
from prunekit.training.run import train
from prunekit.training.shortfall import falls_short, shortfall

STEPS = 4


class Warming(gym.Env[Any, Any]):
    """Pays 1 for every step but the first 200, whatever one does; may fail at a reset."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)
    made, closed, fails_from = 0, 0, 10**9

    def __init__(self) -> None:
        type(self).made += 1
        self.fails = type(self).made >= type(self).fails_from
        self.count, self.resets = 0, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.resets += 1
        if self.fails and self.resets > 2:
            raise RuntimeError("out of order")
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.count += 1
        return np.zeros(2, np.float32), float(self.count > 200), False, self.count % STEPS == 0, {}

    def close(self) -> None:
        type(self).closed += 1


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("made", 0), ("closed", 0), ("fails_from", 10**9)):
        monkeypatch.setattr(Warming, name, value)


def actor(inputs: int = 2, outputs: int = 2) -> Actor:
    torch.manual_seed(0)
    return Actor(nn.Sequential(nn.Linear(inputs, 4), nn.Tanh(), nn.Linear(4, outputs)), ArgmaxHead())


def test_it_plays_a_few_episodes_on_the_same_seeds() -> None:
    balancing = actor(4)
    first, again = (play(balancing, lambda: gym.make("CartPole-v1"), 100_000) for _ in range(2))
    assert len(first.returns) == 10
    assert first == again
    assert len(set(first.returns)) > 1
    assert first.mean == np.mean(first.returns)
    alone = play(balancing, lambda: gym.make("CartPole-v1"), 100_000, 3)
    assert alone.returns == first.returns[:3]


@pytest.mark.parametrize(("total_steps", "episodes"), [(1, 1), (10 * STEPS, 1), (50 * STEPS, 5), (10**6, 10)])
def test_short_runs_play_less(total_steps: int, episodes: int) -> None:
    assert play(actor(), Warming, total_steps).returns == (0.0,) * episodes
    assert Warming.made == Warming.closed == 1


def test_no_episode_needs_no_environment() -> None:
    assert play(actor(), Warming, 1000, 0) == DeterministicReturns()
    assert (Warming.made, DeterministicReturns().mean) == (0, None)


def test_a_failing_environment_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Warming, "fails_from", 1)
    played = play(actor(), Warming, 1000)
    assert played.returns == (0.0, 0.0)
    assert "out of order" in played.failure
    assert Warming.closed == 1


@pytest.mark.parametrize(
    ("played", "trained", "floor", "far_less"),
    [
        ([0.0] * 10, [260.0] * 100, -200.0, True),  # 200 of 460
        ([40.0] * 10, [260.0] * 100, -200.0, False),  # 240 of 460
        ([500.0] * 10, [38.0] * 100, 20.0, False),
        ([0.0, 600.0] * 5, [1000.0] * 100, 0.0, False),  # within chance
        ([0.0] * 10, [1000.0, -800.0] * 5, 0.0, False),  # training's own mean is within chance of nothing
        ([-300.0] * 10, [-250.0] * 100, -200.0, False),  # neither is better than the random policy
        ([0.0] * 2, [260.0] * 100, -200.0, False),
        ([0.0] * 10, [260.0] * 2, -200.0, False),
    ],
)
def test_the_note_is_for_what_is_far_less_beyond_chance(
    played: list[float], trained: list[float], floor: float, far_less: bool
) -> None:
    assert falls_short(played, trained, floor) is far_less
    assert (shortfall(played, trained, floor) is not None) is far_less


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_share_lies_between_0_and_1(share: float) -> None:
    with pytest.raises(InputError, match="share"):
        falls_short([0.0] * 10, [1.0] * 10, 0.0, share=share)


OPTIONS = ("--env", f"{__name__}:Warming", "--algo", "ppo", "--dense", "--hidden", "4", "--steps", 2048)


def test_train_says_what_the_deterministic_policy_earns_and_warns_where_it_is_far_less(
    tmp_path: Path, run: Run
) -> None:
    code, out, err = run("train", *OPTIONS, "--out", tmp_path / "run", "--json", tmp_path / "run.json")
    assert code == 0, err
    told = json.loads((tmp_path / "run.json").read_text())
    note = (
        "the deterministic policy, which is deployed, earned 0.0 in 10 episodes, far less than the 4.0 of the last 100 "
        "training episodes, which explore; train again with another --seed"
    )
    assert told["notes"] == [note]
    assert (told["returns"]["training_mean"], told["returns"]["deterministic_mean"]) == (4.0, 0.0)
    assert told["returns"]["deterministic_episodes"] == 10
    summary, last = out.splitlines()[-2:]
    assert ", return 4.0 over the last training episodes, 0.0 of the deterministic policy (10 episodes), " in summary
    assert last == f"note: {note}"


def test_a_run_is_complete_though_the_environment_fails_at_its_end(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = run("train", *OPTIONS, "--out", tmp_path / "first")
    assert code == 0, err
    last = Warming.made
    monkeypatch.setattr(Warming, "made", 0)
    monkeypatch.setattr(Warming, "fails_from", last)
    code, out, err = run("train", *OPTIONS, "--out", tmp_path / "run")
    assert code == 0, err
    assert (tmp_path / "run" / "model.pt").is_file()
    assert ", 0.0 of the deterministic policy (2 episodes), " in out
    assert out.splitlines()[-1].startswith("note: the deterministic policy could not be played to the end: ")
    assert "out of order" in out.splitlines()[-1]


def test_the_files_of_a_run_do_not_depend_on_what_is_played_at_its_end(tmp_path: Path) -> None:
    with_, without = (train(small_request("ppo"), tmp_path / str(count), episodes=count) for count in (10, 0))
    assert with_.played.returns
    assert without.played.returns == ()
    assert tensors_of(with_.folder) == tensors_of(without.folder)
    provenances = [load(result.folder / "model.pt").provenance for result in (with_, without)]
    assert provenances[0]["returns"] == provenances[1]["returns"]


def test_python_has_the_returns(tmp_path: Path) -> None:
    trained = prunekit.train("CartPole-v1", algo="ppo", dense=True, hidden=(4,), steps=2048, out=tmp_path / "run")
    assert len(trained.deterministic_returns) == 10 or sum(trained.deterministic_returns) >= 204
    assert " of the deterministic policy (" in trained.summary
