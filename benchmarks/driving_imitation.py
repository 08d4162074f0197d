"""Teachers that learn what a driver does who knows more than they see, in the states that they get into (DAgger)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

Array = np.ndarray[Any, Any]
Drives = Callable[[Callable[[Array], Array] | None], tuple[Array, Array]]

_BATCH, _RATE = 256, 1e-3


@final
@dataclass(frozen=True, kw_only=True)
class Course:
    """How to learn from a driver: ``rounds``, and how often what was seen by then is learned after each, and at last.

    ``scale`` [obs] multiplies the first layer's weights at first, so that observations of small numbers count.
    """

    hidden: int
    rounds: int
    epochs: int
    last_epochs: int
    scale: Array | None = field(default=None)


def imitated(environment: Any, drives: Drives, course: Course, seed: int) -> tuple[Any, dict[str, float]]:
    """Return PPO's policy in Stable-Baselines3, its actor trained, how many rows it saw, and its mean squared error.

    ``drives`` plays by a function of observations [n, obs], or in the first round by the driver, and returns what was
    seen, [n, obs], and what the driver does there, [n, actions].
    """
    import torch
    from stable_baselines3 import PPO

    layers = {"net_arch": [course.hidden] * 2}
    model = PPO("MlpPolicy", environment, policy_kwargs=layers, seed=seed, device="cpu")
    trunk: Any = model.policy.mlp_extractor.policy_net
    actor = torch.nn.Sequential(trunk, model.policy.action_net)
    if course.scale is not None:
        with torch.no_grad():
            trunk[0].weight.mul_(torch.from_numpy(course.scale))

    def acts(rows: Array) -> Array:
        with torch.no_grad():
            return np.asarray(actor(torch.from_numpy(rows)).clamp(-1.0, 1.0).numpy())

    generator = torch.Generator().manual_seed(seed)
    seen: list[tuple[Array, Array]] = []
    told: dict[str, float] = {}
    for round_ in range(course.rounds):
        seen.append(drives(acts if round_ else None))
        rows, actions = (torch.from_numpy(np.concatenate(part)) for part in zip(*seen, strict=True))
        epochs = course.epochs if round_ < course.rounds - 1 else course.last_epochs
        told = {"steps": len(rows), "error": _fit(actor, rows, actions, epochs, generator)}
        print(f"round {round_ + 1}: {len(rows):,} rows, error {told['error']:.4f}", flush=True)
    return model, told


def _fit(actor: Any, rows: Any, actions: Any, epochs: int, generator: Any) -> float:
    """Learn all rows, ``epochs`` times; return the mean squared error of the last time."""
    import torch

    optimizer = torch.optim.Adam(actor.parameters(), _RATE)
    steps, done, last = epochs * -(-len(rows) // _BATCH), 0, list[float]()
    for _ in range(epochs):
        last = []
        order = torch.randperm(len(rows), generator=generator)
        for begin in range(0, len(rows), _BATCH):
            part = order[begin : begin + _BATCH]
            optimizer.param_groups[0]["lr"] = _RATE * (1.0 - done / steps)
            loss = (actor(rows[part]) - actions[part]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            last.append(float(loss.detach()))
            done += 1
    return float(np.mean(last))
