"""Teachers that drive: PPO in EnvPool's environments, SAC with hindsight where a goal has to be reached."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from driving_tasks import TASKS, folder

_COPIES = 32


def train_one(name: str, seed: int) -> dict[str, Any]:
    """Train a teacher of 256x256 and save it; return how long it took and what its last episodes earned."""
    import torch

    torch.set_num_threads(1)
    began = time.process_time()
    last = (_with_hindsight if TASKS[name].has_goal else _in_envpool)(name, seed)
    seconds = round(time.process_time() - began, 1)
    return {"steps": TASKS[name].steps, "cpu_seconds": seconds, "last": last}


def _in_envpool(name: str, seed: int) -> float:
    """Train by PPO of Stable-Baselines3 in 32 environments of EnvPool."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecMonitor

    from prunekit.adapters.envpool import EnvPoolRunner
    from prunekit.adapters.envpool_learning import EnvPoolVecEnv

    task = TASKS[name]
    runner = EnvPoolRunner(task.env_id, twin_id=name, max_copies=_COPIES, checked=not task.is_twin)
    inside = runner.environment
    learner = EnvPoolVecEnv(
        runner.pool, _COPIES, inside.observation_space, inside.action_space, lambda seen: seen, lambda action: action
    )
    learner.seed(1_000 * seed)
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
    return float(np.mean([episode["r"] for episode in model.ep_info_buffer or []]))


def _with_hindsight(name: str, seed: int) -> float:
    """Train by SAC with hindsight experience replay in highway-env's own environment, whose observations are a Dict.

    What is saved has the same layers and takes the flat observation, in which Gymnasium has the parts in the order
    that Stable-Baselines3 joins them in.
    """
    import gymnasium as gym
    from stable_baselines3 import SAC, HerReplayBuffer
    from stable_baselines3.common.monitor import Monitor

    from prunekit.environments import make_environment

    task, flat = TASKS[name], make_environment(TASKS[name].env_id)
    layers: dict[str, Any] = {"policy_kwargs": {"net_arch": [256, 256]}, "seed": seed, "device": "cpu"}
    model = SAC(
        "MultiInputPolicy",
        Monitor(gym.make(name)),
        replay_buffer_class=HerReplayBuffer,
        replay_buffer_kwargs={"n_sampled_goal": 4, "goal_selection_strategy": "future"},
        learning_starts=1_000,
        learning_rate=1e-3,
        batch_size=256,
        gamma=task.gamma,
        tau=0.05,
        **layers,
    )
    model.learn(task.steps)
    told = SAC("MlpPolicy", flat, buffer_size=1, **layers)
    told.policy.load_state_dict(model.policy.state_dict())
    told.save(folder(name, seed) / "teacher.zip")
    flat.close()
    return float(np.mean([episode["r"] for episode in model.ep_info_buffer or []]))
