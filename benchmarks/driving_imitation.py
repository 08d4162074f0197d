"""A teacher of racetrack-v0 that learns from a driver who knows the road, in the states that it gets into by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from driving_environments import flat_racetrack
from driving_expert import steering

_COPIES, _EPISODE, _ROUNDS = 16, 300, 10
_BATCH, _EPOCHS, _LAST_EPOCHS = 256, 4, 20
_RATE = 1e-3


def imitated(seed: int) -> tuple[Any, dict[str, float]]:
    """Return PPO's policy of 256x256 in Stable-Baselines3, and how far it is from the driver, by DAgger.

    In the first of ten rounds the driver drives, then the policy does; what the driver would have done is learned by
    the policy's actor from all rounds together.
    """
    import torch
    from stable_baselines3 import PPO

    environments = [flat_racetrack() for _ in range(_COPIES)]
    model = PPO("MlpPolicy", environments[0], policy_kwargs={"net_arch": [256, 256]}, seed=seed, device="cpu")
    policy = model.policy
    actor = torch.nn.Sequential(policy.mlp_extractor.policy_net, policy.action_net)
    generator = torch.Generator().manual_seed(seed)
    seen, wanted, first, told = [], [], 1_000_000 * seed, dict[str, float]()
    for round_ in range(_ROUNDS):
        rows, actions = _driven(environments, actor if round_ else None, first)
        first += _COPIES * 100
        seen.append(rows)
        wanted.append(actions)
        data = torch.from_numpy(np.concatenate(seen)), torch.from_numpy(np.concatenate(wanted))
        epochs = _EPOCHS if round_ < _ROUNDS - 1 else _LAST_EPOCHS
        told = {"rows": len(data[0]), "error": _fit(actor, *data, epochs, generator)}
        print(f"round {round_ + 1}: {len(rows)} rows more, error {told['error']:.5f}", flush=True)
    for environment in environments:
        environment.close()
    return model, told


def _driven(environments: list[Any], actor: Any, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return what is seen in 300 steps of each environment, [n, obs], and what the driver does there, [n, 1]."""
    import torch

    shown = [environment.reset(seed=seed + index)[0] for index, environment in enumerate(environments)]
    seen, wanted, begun = [], [], len(environments)
    for _ in range(_EPISODE):
        rows = np.array(shown, np.float32)
        told = np.array([steering(environment) for environment in environments])
        seen.append(rows)
        wanted.append(told)
        with torch.no_grad():
            taken = told if actor is None else actor(torch.from_numpy(rows)).clamp(-1.0, 1.0).numpy()
        for index, environment in enumerate(environments):
            shown[index], _, terminated, truncated, _ = environment.step(taken[index])
            if terminated or truncated:
                shown[index], begun = environment.reset(seed=seed + begun)[0], begun + 1
    return np.concatenate(seen), np.concatenate(wanted)


def _fit(actor: Any, rows: Any, actions: Any, epochs: int, generator: Any) -> float:
    """Learn all rows, ``epochs`` times; return the mean squared error of the last time."""
    import torch

    optimizer = torch.optim.Adam(actor.parameters(), _RATE)
    steps, done, last = epochs * -(-len(rows) // _BATCH), 0, []
    for _ in range(epochs):
        last = []
        for part in torch.randperm(len(rows), generator=generator).split(_BATCH):
            optimizer.param_groups[0]["lr"] = _RATE * (1.0 - done / steps)
            loss = (actor(rows[part]) - actions[part]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            last.append(float(loss.detach()))
            done += 1
    return float(np.mean(last))
