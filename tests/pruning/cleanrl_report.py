"""Runs the training loop of ``examples/cleanrl_ppo.py``, which knows nothing of this; writes a line of JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from cleanrl_ppo import ENV_ID, train


def mean_return(policy: nn.Module | None, episodes: int = 20) -> float:
    """Mean return of the policy's best-scored actions, or of random ones, over the same episodes."""
    env, generator = gym.make(ENV_ID), np.random.default_rng(0)
    total = 0.0
    for episode in range(episodes):
        obs, over = env.reset(seed=10_000 + episode)[0], False
        while not over:
            with torch.no_grad():
                action = int(generator.integers(2)) if policy is None else int(policy(torch.as_tensor(obs)).argmax())
            obs, reward, terminated, truncated, _ = env.step(action)
            total, over = total + float(reward), terminated or truncated
    env.close()
    return total / episodes


def main(seed: int) -> None:
    agent, small, seen, pruner = train(seed)
    states = torch.cat([seen, torch.randn(1000, 4)])
    with torch.no_grad():
        scores, small_scores = agent.actor(states), small(states)
    found = {
        "knows_stable_baselines3": "stable_baselines3" in sys.modules,
        "masked_units": [int((~keep).sum()) for keep in pruner.masks.values()],
        "small_widths": [m.out_features for m in small if isinstance(m, nn.Linear)],
        "critic_zeros": sum(int((p == 0.0).sum()) for p in agent.critic.parameters()),
        "scale": float(scores.abs().max()),
        "largest_difference": float((scores - small_scores).abs().max()),
        "small_return": mean_return(small),
        "random_return": mean_return(None),
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
