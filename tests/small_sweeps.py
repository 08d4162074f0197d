"""Sweep files that are small enough for a test."""

from __future__ import annotations

from pathlib import Path

SMALL = """
title = "Small"
episodes = 3
first_seed = 500

[environments."CartPole-v1".presets.ppo]
hidden = [32, 32]
[environments."CartPole-v1".presets.ppo.model]
n_steps = 32
batch_size = 64

[methods.unpruned]
unpruned = true
[methods."masked 0.9"]
sparsity = 0.9
[methods."masked 0.9".plan]
states = 64
[methods."from scratch"]
widths_of = "masked 0.9"
[methods.linear]
hidden = []

[disturbances."delay 1"]
delay_steps = 1

[[grid]]
environments = ["CartPole-v1"]
algorithms = ["ppo"]
methods = ["unpruned", "masked 0.9", "from scratch", "linear"]
seeds = [0]
steps = [4096]
disturbances = ["delay 1"]
"""


def sweep_file(folder: Path, text: str = SMALL) -> Path:
    path = folder / "sweep.toml"
    path.write_text(text)
    return path
