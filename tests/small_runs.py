"""Small training runs to interrupt and resume, and what must be the same about them in the end."""

from __future__ import annotations

import csv
import io
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from prunekit.policy.artifact import load
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.schedules import Phases, Sparsity
from prunekit.training.presets import preset_for
from prunekit.training.request import TrainingRequest
from prunekit.training.run import train
from prunekit.training.status import Status

NOISY = "prunekit-test/Noisy-v0"


class Noisy(gym.Env[Any, Any]):
    """Short episodes whose returns are chance alone, so that the return guard pauses now and then."""

    observation_space = gym.spaces.Box(-9.0, 9.0, (3,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps_left = 3
        return self.np_random.normal(size=3).astype(np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps_left -= 1
        observation, reward = self.np_random.normal(size=3).astype(np.float32), self.np_random.normal()
        return observation, float(reward), False, self.steps_left == 0, {}


if NOISY not in gym.registry:
    gym.register(NOISY, Noisy)

PLAN = PruningPlan(
    threshold=Sparsity(0.75),
    strength=1.0,
    phases=Phases(start=0.2, end=0.7),
    checks=16,
    patience=2,
    share_per_check=0.3,
    states=1024,
)
LIMITED = replace(PLAN, max_divergence=1e-7)  # the outputs of these runs are small
FITTED = replace(PLAN, reconstruction=2)
OFF_POLICY = {"learning_starts": 100, "batch_size": 32, "train_freq": 2, "gradient_steps": 1}
DQN = {**OFF_POLICY, "buffer_size": 400, "target_update_interval": 70, "exploration_fraction": 1.0}
SETTINGS: dict[str, tuple[str, str, int, dict[str, Any]]] = {
    "ppo": ("ppo", "Hopper-v5", 1280, {"n_steps": 16, "batch_size": 16, "n_epochs": 2}),
    "dqn": ("dqn", "CartPole-v1", 1000, DQN),
    "sac": ("sac", "Hopper-v5", 600, {**OFF_POLICY, "buffer_size": 300, "train_freq": 4}),
    "td3": ("td3", "Pendulum-v1", 600, {**OFF_POLICY, "buffer_size": 300, "train_freq": 4, "learning_starts": 96}),
    "guarded": ("dqn", NOISY, 1000, DQN),
}
"""Algorithm, environment, steps and settings. Replay buffers are small enough to go round."""


def small_request(name: str, **changes: Any) -> TrainingRequest:
    """Return a request for a run of about a second, with a checkpoint at every eighth of it."""
    algorithm, env_id, steps, settings = SETTINGS[name]
    preset = preset_for(env_id, algorithm)
    n_envs = min(preset.n_envs, 2)
    preset = replace(preset, n_envs=n_envs, hidden=(24, 20), model={**preset.model, **settings})
    request = TrainingRequest(
        env_id=env_id, algorithm=algorithm, preset=preset, seed=3, steps=steps, plan=PLAN, checkpoint_steps=steps // 8
    )
    return replace(request, **changes)


class StopError(Exception):
    """The run is interrupted, in a test."""


@dataclass(kw_only=True)
class StopAt:
    """Interrupts a run at its first status at or after ``step``."""

    step: int
    phase: str = ""

    def update(self, status: Status) -> None:
        self.phase = status.phase
        if status.steps >= self.step:
            raise StopError


def run_until(request: TrainingRequest, folder: Path, step: int) -> str:
    """Begin a run, or go on with it, until ``step``; return the phase that it was in."""
    stop = StopAt(step=step)
    try:
        train(request, folder, [stop], resume=folder.exists())
    except StopError:
        return stop.phase
    raise AssertionError(f"the run ended before step {step}")


def tensors_of(folder: Path) -> dict[str, bytes]:
    """Return every number that a run left in its two model files, bit for bit, by name."""
    artifact = load(folder / "model.pt")
    found: dict[str, Any] = {f"model {name}": value for name, value in artifact.actor.state_dict().items()}
    found |= {f"mask {name}": keep for name, keep in artifact.masks.items()}
    with zipfile.ZipFile(folder / "agent.zip") as archive:
        for name in archive.namelist():
            if name.endswith(".pth"):  # policy, optimizers, and the temperature of SAC
                content = torch.load(io.BytesIO(archive.read(name)), weights_only=True)
                found |= {f"agent {name} {key}": value for key, value in flat(content).items()}
    assert any("policy.pth" in name for name in found)
    assert any("optimizer.pth" in name for name in found)
    return {name: np.asarray(torch.as_tensor(value).detach()).tobytes() for name, value in found.items()}


def flat(value: Any) -> dict[str, Any]:
    """Return the leaves of nested dicts and lists, by dotted name."""
    if not isinstance(value, dict | list | tuple):
        return {"": value} if isinstance(value, torch.Tensor | float | int) else {}
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    return {f"{name}.{key}": leaf for name, entry in entries for key, leaf in flat(entry).items()}


def assert_same_tensors(one: dict[str, bytes], other: dict[str, bytes]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name]] == []


def metrics_of(folder: Path) -> list[tuple[str, ...]]:
    """Return the columns of ``metrics.csv`` that do not depend on the clock; its steps rise strictly."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    steps = [int(row["steps"]) for row in rows]
    assert steps == sorted(set(steps))
    return [tuple(value for name, value in row.items() if not name.startswith("seconds") and name != "steps_per_second")
            for row in rows]  # fmt: skip
