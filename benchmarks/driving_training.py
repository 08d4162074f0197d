"""Teachers that drive: trained by PPO, or to do what a driver does who knows more than they see."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from driving_tasks import TASKS, Way, folder

_COPIES, _CARS = 32, 64


def train_one(name: str, seed: int) -> dict[str, Any]:
    """Train a teacher and save it; return its widths, how long it took and what its last episodes earned."""
    import torch

    torch.set_num_threads(1)
    began = time.process_time()
    told = _TRAINED[TASKS[name].way](name, seed)
    return {**told, "cpu_seconds": round(time.process_time() - began, 1)}


def _learner(name: str, seed: int, copies: int) -> Any:
    """Return so many copies of EnvPool's environment; the comparison with highway-env's is made where it is a twin."""
    from prunekit.adapters.envpool import EnvPoolRunner
    from prunekit.adapters.envpool_learning import EnvPoolVecEnv

    task = TASKS[name]
    runner = EnvPoolRunner(task.env_id, twin_id=name, max_copies=copies, checked=not task.is_twin)
    inside = runner.environment
    learner = EnvPoolVecEnv(
        runner.pool, copies, inside.observation_space, inside.action_space, lambda seen: seen, lambda action: action
    )
    learner.seed(1_000 * seed)
    return learner


def _in_envpool(name: str, seed: int) -> dict[str, Any]:
    """Train by PPO of Stable-Baselines3 in 32 environments of EnvPool."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecMonitor

    task = TASKS[name]
    learner = _learner(name, seed, _COPIES)
    model = PPO(
        "MlpPolicy",
        VecMonitor(learner),
        n_steps=64,
        batch_size=256,
        learning_rate=lambda left: 5e-4 * left,
        gamma=task.gamma,
        policy_kwargs={"net_arch": [256, 256]},
        seed=seed,
        device="cpu",
    )
    model.learn(task.steps)
    model.save(folder(name, seed) / "teacher.zip")
    learner.close()
    last = float(np.mean([episode["r"] for episode in model.ep_info_buffer or []]))
    return {"steps": task.steps, "hidden": "256x256", "last": last}


def _racing_as_a_driver(name: str, seed: int) -> dict[str, Any]:
    """Learn in highway-env's environment with its grid filled faster, which is compared with the usual one first."""
    from driving_drivers import racing_teacher
    from driving_racetrack import require_equal

    compared = require_equal(seed)
    model, told = racing_teacher(seed)
    model.save(folder(name, seed) / "teacher.zip")
    return {**told, "hidden": "256x256", "compared_steps": compared}


def _parking_as_a_driver(name: str, seed: int) -> dict[str, Any]:
    """Learn in 64 environments of EnvPool, whose twin it is."""
    from driving_drivers import parking_teacher

    learner = _learner(name, seed, _CARS)
    model, told = parking_teacher(seed, learner)
    learner.close()
    model.save(folder(name, seed) / "teacher.zip")
    return {**told, "hidden": "128x128"}


_TRAINED = {
    Way.PPO: _in_envpool,
    Way.PPO_ELSEWHERE: _in_envpool,
    Way.RACING_DRIVER: _racing_as_a_driver,
    Way.PARKING_DRIVER: _parking_as_a_driver,
}
