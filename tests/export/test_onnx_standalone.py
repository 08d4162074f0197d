"""A compact file needs ONNX Runtime and nothing of this package: raw observation in, action for ``env.step`` out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from prunekit import Actor, Normalizer, compact, export_onnx, make_artifact
from prunekit.environments import make_environment, spaces_of
from prunekit.policy.heads import head_of
from prunekit.spaces.box import BoxActions

SCRIPT = """
import sys

import gymnasium
import numpy
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
env = gymnasium.make(sys.argv[2])
observation, _ = env.reset(seed=0)
generator = numpy.random.default_rng(0)
chosen = []
for step in range(300):
    action = session.run(["action"], {"obs": observation[None].astype(numpy.float32)})[0][0]
    assert env.action_space.contains(action), f"{action!r} is not in {env.action_space}"
    chosen.append(action)
    observation, _, terminated, truncated, _ = env.step(action)
    if terminated or truncated:
        observation, _ = env.reset()
    if step % 3 == 0:
        observation = generator.normal(0.0, 10.0 ** generator.uniform(-2, 4), observation.shape)
assert len(numpy.unique(numpy.asarray(chosen), axis=0)) > 1, "one action only: the observation has no effect"
loaded = {"torch", "prunekit", "stable_baselines3", "onnx"} & set(sys.modules)
assert not loaded, f"loaded: {loaded}"
print("done")
"""


@pytest.mark.parametrize("env_id", ["CartPole-v1", "LunarLanderContinuous-v3", "Hopper-v5"])
@pytest.mark.parametrize("squash", [False, True])
def test_a_compact_file_acts_in_its_environment_without_this_package(tmp_path: Path, env_id: str, squash: bool) -> None:
    environment = make_environment(env_id)
    spaces = spaces_of(environment)
    environment.close()
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(spaces.observation, 24), nn.Tanh(), nn.Linear(24, spaces.outputs))
    with torch.no_grad():
        network[2].weight.mul_(30.0)
    box = isinstance(spaces.actions, BoxActions)
    head = head_of(spaces.actions.squashed() if squash and box else spaces.actions)
    normalizer = Normalizer([0.1] * spaces.observation, [0.7] * spaces.observation, 10.0)
    artifact = make_artifact(Actor(network, head, normalizer), {"0": torch.arange(24) % 4 == 0}, {})
    policy = compact(artifact).artifact.actor
    scores = policy.outputs(torch.randn(50, spaces.observation)).detach().numpy()
    if isinstance(spaces.actions, BoxActions):
        assert (np.abs(scores) > max(spaces.actions.high)).any(), "scores inside the action space need no head"
    report = export_onnx(policy, tmp_path / "model.compact.onnx", {})
    command = [sys.executable, "-I", "-c", SCRIPT, str(report.path), env_id]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
