"""Any policy file as one graph: recognised by content, asked for what it does not say, equal to what wrote it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

from prunekit.api.loading import load
from prunekit.environments import make_environment
from prunekit.errors import ArtifactError, InputError
from prunekit.graph.reference import run_step
from prunekit.policy.actor import Actor
from prunekit.policy.artifact import make_artifact, save
from prunekit.policy.heads import ArgmaxHead
from prunekit.readers.policy_file import PolicyOptions
from prunekit.readers.read import read_policy


def model_file(path: Path) -> Path:
    network = nn.Sequential(nn.Linear(3, 4), nn.ELU(), nn.Linear(4, 2))
    save(make_artifact(Actor(network, ArgmaxHead()), None, {"note": "kept"}), path)
    return path


def zip_of(folder: Path, normalized: bool) -> tuple[PPO, Any]:
    env: Any = DummyVecEnv([lambda: make_environment("Pendulum-v1")])
    env = VecNormalize(env) if normalized else env
    model = PPO("MlpPolicy", env, n_steps=16, batch_size=16, device="cpu", policy_kwargs={"net_arch": [8, 6]})
    model.learn(64)
    model.save(folder / "agent.zip")
    return model, env


def test_a_model_of_prunekit(tmp_path: Path) -> None:
    policy = read_policy(model_file(tmp_path / "model.pt"))
    assert policy.recognised == "prunekit model, 3-4-2, elu"
    assert policy.metadata == {"note": "kept"}
    assert policy.artifact is not None
    assert not policy.keeps_outputs


def test_a_file_of_ours_says_nothing_of_its_other_outputs(tmp_path: Path) -> None:
    path = load(model_file(tmp_path / "model.pt")).export_onnx(tmp_path / "model.onnx")
    assert read_policy(path).notes == ()
    (note,) = read_policy(path, PolicyOptions(output="outputs")).notes
    assert note == "of its outputs only 'outputs' is used, not action, scores"


def test_a_file_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    model_file(tmp_path / "model.pt").rename(tmp_path / "model.bin")
    assert read_policy(tmp_path / "model.bin").artifact is not None
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(ArtifactError, match=r"notes\.txt: unknown kind of file"):
        read_policy(tmp_path / "notes.txt")


@pytest.mark.parametrize("normalized", [False, True], ids=["raw", "normalized"])
def test_a_zip_acts_as_its_library_does(normalized: bool, tmp_path: Path) -> None:
    model, env = zip_of(tmp_path, normalized)
    if normalized:
        (tmp_path / "agent").mkdir()
        env.save(str(tmp_path / "agent" / "vecnormalize.pkl"))  # where RL Baselines3 Zoo puts it
    policy = read_policy(tmp_path / "agent.zip", PolicyOptions(without_normalizer=not normalized))
    words = f"zip of Stable-Baselines3 {stable_baselines3.__version__}, PPO, 3-8-6-1, tanh"
    assert policy.recognised == (f"{words}, normalizer inside" if normalized else words)
    raw = np.random.default_rng(0).normal(0.0, 2.0, (100, 3)).astype(np.float32)
    expected, _ = model.predict(env.normalize_obs(raw) if normalized else raw, deterministic=True)
    found = run_step(policy.graph, {"obs": raw}, {})[0]["action"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_a_zip_does_not_say_is_asked_for(tmp_path: Path) -> None:
    _, env = zip_of(tmp_path, normalized=True)
    with pytest.raises(
        InputError,
        match=r"agent\.zip: .*VecNormalize.*no normalizer is next to it.*`normalizer`.*`normalizer=False`",
    ):
        read_policy(tmp_path / "agent.zip")
    (tmp_path / "agent").mkdir()
    for name in ("agent/vecnormalize.pkl", "vec_normalize.pkl"):
        env.save(str(tmp_path / name))
    with pytest.raises(InputError, match="several files next to it"):
        read_policy(tmp_path / "agent.zip")
    shutil.move(tmp_path / "vec_normalize.pkl", tmp_path / "mine.pkl")
    given = read_policy(tmp_path / "agent.zip", PolicyOptions(normalizer=tmp_path / "mine.pkl"))
    assert given.recognised.endswith("normalizer inside")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (PolicyOptions(without_normalizer=True), "`normalizer=False` is for zips"),
        (PolicyOptions(normalizer=Path("x.pkl")), "`normalizer` is for zips"),
        (PolicyOptions(output="a"), "`output` is for ONNX"),
        (PolicyOptions(inputs=3), "`inputs` is for TorchScript"),
    ],
)
def test_options_of_other_kinds_are_refused(options: PolicyOptions, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"model\.pt: {words}.*; leave it out"):
        read_policy(model_file(tmp_path / "model.pt"), options)


def test_options_that_exclude_each_other() -> None:
    with pytest.raises(InputError, match="exclude each other"):
        PolicyOptions(normalizer=Path("x.pkl"), without_normalizer=True)
    with pytest.raises(InputError, match="`inputs` must be at least 1"):
        PolicyOptions(inputs=0)


def test_reading_leaves_torch_as_it_is(tmp_path: Path) -> None:
    path = model_file(tmp_path / "model.pt")
    before = torch.get_rng_state()
    read_policy(path)
    assert torch.equal(torch.get_rng_state(), before)
