"""``prunekit.compress``, ``bench`` and ``train``: from Python, with anything that a policy can play in."""

from __future__ import annotations

import json
import os
import random
import re
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import SyncVectorEnv, VectorWrapper
from playgrounds import STEPS, FollowMany, Playing, following, make_follow
from torch import nn

import prunekit
from prunekit import Compression, bench, certify, compress, train
from prunekit.api.compression import single_of
from prunekit.api.places import workers_for
from prunekit.environments import make_environment
from prunekit.simulators.batch import Seeding
from prunekit.simulators.spec import environment_spec

pytestmark = pytest.mark.xdist_group("api_functions")

QUICK = {"minutes": 0.04, "episodes": 40, "workers": 1}
NAME = "playgrounds:make_follow"


def policy(inputs: int = 2) -> prunekit.Policy:
    """The best one, and much larger than it has to be."""
    network = nn.Sequential(nn.Linear(inputs, 32), nn.ReLU(), nn.Linear(32, 1))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network[0].weight[0, 0], network[0].weight[1, 0] = 1.0, -1.0
        network[2].weight[0, 0], network[2].weight[0, 1] = 1.0, -1.0
    return prunekit.Policy.from_network(network, actions=gym.spaces.Box(-1.0, 1.0, (1,), np.float32))


@pytest.fixture(scope="module")
def found() -> Compression:
    return compress(policy(), env=make_follow, **QUICK)


def test_a_policy_is_compressed_and_certified(found: Compression, tmp_path: Path) -> None:
    assert found.certified == found.certificate.certified
    assert found.policy.sizes.parameters < policy().sizes.parameters
    seen = np.random.default_rng(0).uniform(-1.0, 1.0, (50, 2)).astype(np.float32)
    assert np.abs(found.policy.act(seen) - seen[:, :1]).mean() < 0.2
    assert found.to_json()["env"] == {"id": NAME, "kwargs": {}}
    assert repr(found) == f"Compression({found.policy}, {found.summary})"
    assert "array" not in repr(found.certificate)  # a thousand episodes are for programs
    assert "parameters" in found.summary or "weights" in found.summary
    again = prunekit.load(found.policy.save(tmp_path / "small.pt"))
    assert (again.act(seen) == found.policy.act(seen)).all()
    assert again.metadata["certificate"]["seeds"]
    written = {path.name for path in found.write(tmp_path / "out")}
    assert written == {"policy.onnx", "policy.pt", "README.md", "certificate.json"}
    assert json.loads((tmp_path / "out" / "certificate.json").read_text())["certified"] == found.certified
    with pytest.raises(prunekit.ArtifactError, match="would import a module; if you trust it, give it as `env`"):
        compress(tmp_path / "small.pt")


def test_a_function_is_compressed_where_a_function_plays() -> None:
    result = compress(following, env=lambda: make_follow(), **QUICK)
    assert result.policy.sizes.parameters > 0
    assert "<lambda>" in result.to_json()["env"]["id"]
    assert "following" in result.to_json()["teacher"]["name"]
    assert any("one process" in note for note in result.notes)


def test_a_policy_is_compressed_in_a_simulator_of_tensors() -> None:
    result = compress(policy(), env=FollowMany(), **QUICK)
    assert result.to_json()["env"] == {"id": "FollowMany", "kwargs": {}, "seeds": "none"}
    assert result.policy.sizes.parameters < policy().sizes.parameters
    assert "first environment" in result.notes[0]
    assert "cannot be seeded" in result.notes[1]
    assert not result.to_json()["tuned"]


def test_one_environment_is_taken_out_of_a_vector_where_that_is_the_same() -> None:
    source, seeding, notes = single_of(environment_spec(SyncVectorEnv([make_follow] * 2)))
    assert source is make_follow
    assert notes == []
    assert seeding is Seeding.EPISODES
    source, seeding, notes = single_of(environment_spec(VectorWrapper(SyncVectorEnv([make_follow] * 2))))
    assert seeding is Seeding.EPISODES
    assert "first environment" in notes[0]
    assert len(notes) == 1
    made, alone = make_environment(source), make_follow()
    for seed in (3, 4):
        assert (made.reset(seed=seed)[0] == alone.reset(seed=seed)[0]).all()
        for _ in range(STEPS):
            one, other = made.step(np.zeros(1, np.float32)), alone.step(np.zeros(1, np.float32))
            assert one[1] == pytest.approx(other[1])
            assert (one[2] or one[3]) == (other[2] or other[3])


def test_what_cannot_be_compressed_is_told() -> None:
    with pytest.raises(prunekit.InputError, match=r"Policy\(2-32-1, relu\): names no environment; give one with `env`"):
        compress(policy())
    with pytest.raises(prunekit.InputError, match="a function names no environment; give one with `env`"):
        compress(following)
    with pytest.raises(
        prunekit.InputError,
        match=r"a policy must be a file, a prunekit\.Policy or a "
        r"function, not int",
    ):
        compress(3, env=make_follow)  # type: ignore[arg-type]
    with pytest.raises(prunekit.InputError, match="maps 3 values to 1, but the environment has observations of 2"):
        compress(policy(3), env=make_follow, **QUICK)
    with pytest.raises(prunekit.InputError, match=r"`workers` 2 is not possible"):
        compress(policy(), env=lambda: make_follow(), workers=2)
    with pytest.raises(prunekit.InputError, match="`workers` must be at least 1"):
        workers_for(0, True)


def test_workers_begin_where_the_script_can_be_imported_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(3), raising=False)
    monkeypatch.setattr("__main__.__file__", str(script), raising=False)
    script.write_text("import prunekit\nprunekit.compress('a.pt')\n")
    assert workers_for(None, True) == 1
    script.write_text("if __name__ == '__main__':\n    print(1)\n")
    assert workers_for(None, True) == 3
    assert workers_for(None, False) == 1
    monkeypatch.delattr("__main__.__file__")
    assert workers_for(None, True) == 3


def test_policies_and_files_are_measured_side_by_side(tmp_path: Path) -> None:
    path = policy().save(tmp_path / "large.pt")
    result = bench([path, policy()], env=make_follow, devices=[Playing()], episodes=3, env_kwargs={"steps": 2})
    assert [str(model.path) for model in result.models] == [str(path), "policies[1]"]
    first, second = (entry["playing"].returns for entry in result.devices)
    assert first == second
    assert max(map(abs, first)) < 1e-5
    told = result.to_json()
    assert told["env"] == {"id": NAME, "kwargs": {"steps": 2}, "seeds": "episodes"}
    assert result.retentions[1].estimate == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("vector", "seeding"),
    [(lambda: FollowMany(3), Seeding.NONE), (lambda: SyncVectorEnv([make_follow] * 3), Seeding.EPISODES)],
)
def test_policies_are_measured_where_many_step_together(vector: Callable[[], Any], seeding: Seeding) -> None:
    result = bench([policy(), policy()], env=vector(), devices=[Playing()], episodes=30, keep=0.5, noise=0.1)
    assert result.seeding is seeding
    certificate = result.certificates[1]
    assert certificate is not None
    assert certificate.certified
    random_mean = float(np.mean(result.random))
    assert random_mean == pytest.approx(-STEPS * 2 / 3, abs=1.0)
    assert np.mean(result.disturbed[0]["noise 0.1"]) < -0.1


def test_what_cannot_be_measured_is_told() -> None:
    with pytest.raises(prunekit.InputError, match=r"`policies` must be a list: write \[policy\]"):
        bench(policy(), env=make_follow)  # type: ignore[arg-type]
    with pytest.raises(prunekit.InputError, match=r"`devices` must be a list: write \['cpu'\]"):
        prunekit.bench([policy()], devices="cpu")
    with pytest.raises(prunekit.InputError, match="`parts` must be a list"):
        prunekit.bench([policy()], parts="stm32f405rg")
    with pytest.raises(prunekit.InputError, match="a device is a name, such as 'cpu', or a Device, not int"):
        prunekit.bench([policy()], devices=[3])  # type: ignore[list-item]
    with pytest.raises(prunekit.InputError, match=r"policies\[0\] is function"):
        bench([following], env=make_follow)  # type: ignore[list-item]
    with pytest.raises(prunekit.InputError, match="nothing to measure"):
        bench([], env=make_follow)
    with pytest.raises(
        prunekit.InputError, match=r"policies\[0\]: `keep` needs episodes of its env.*; give one with `env`"
    ):
        bench([policy(), policy()], keep=0.9)
    with pytest.raises(prunekit.InputError, match="`devices` toaster is unknown"):
        bench([policy()], env=make_follow, devices=["toaster"])


SMALL = partial(train, algo="ppo", steps=600, hidden=(8,), sparsity=0.5)


def test_training_in_a_function_s_environment_goes_on_and_says_where(tmp_path: Path) -> None:
    result = SMALL(make_follow, out=tmp_path / "run", env_kwargs={"steps": 4})
    assert result.folder == tmp_path / "run"
    assert result.policy.metadata["env"] == {"id": NAME, "kwargs": {"steps": 4}}
    assert result.policy.masks is None or result.policy.shrink().sizes.parameters < result.policy.sizes.parameters
    assert result.policy.act(np.zeros(2, np.float32)).shape == (1,)
    assert "hidden" in result.summary
    with pytest.raises(prunekit.InputError, match=r"this run is complete; give another `out`"):
        train(make_follow, out=tmp_path / "run", resume=True)
    (tmp_path / "run" / "model.pt").unlink()
    again = train(make_follow, out=tmp_path / "run", resume=True, env_kwargs={"steps": 4})
    assert again.complete == result.complete
    with pytest.raises(prunekit.InputError, match="would import a module; if you trust it, give it again as `env`"):
        train(out=tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compress(TWO, env=make_follow, minutes="2"), "`minutes` is a number, not str"),
        (lambda: compress(TWO, env=make_follow, steps=2.5), "`steps` is a whole number or None, not float"),
        (lambda: prunekit.certify(TWO, TWO, env=make_follow, keep="0.9"), "`keep` is a number, not str"),
        (lambda: prunekit.certify(TWO, TWO, env=make_follow, seed=None), "`seed` is a whole number, not NoneType"),
        (lambda: bench([TWO], env=make_follow, episodes="3"), "`episodes` is a whole number, not str"),
        (lambda: train(make_follow, steps="600"), "`steps` is a whole number or None, not str"),
        (lambda: train(make_follow, sparsity=True), "`sparsity` is a number or None, not bool"),
    ],
)
def test_what_is_no_number_is_told_with_its_name(call: Callable[[], object], message: str) -> None:
    with pytest.raises(prunekit.InputError, match=re.escape(message)):
        call()


def test_what_cannot_be_trained_in_is_told(tmp_path: Path) -> None:
    with pytest.raises(prunekit.UnusableEnvironmentError, match="'FollowMany' only steps in a batch"):
        SMALL(FollowMany(), out=tmp_path / "run")
    with pytest.raises(prunekit.InputError, match="`sparsity` and `dense` exclude each other"):
        SMALL(make_follow, dense=True, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def surroundings() -> tuple[Any, ...]:
    return (
        torch.get_num_threads(),
        torch.random.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),  # type: ignore[union-attr]
        random.getstate(),
        Path.cwd(),
        {number: signal.getsignal(number) for number in signal.valid_signals()},
        dict(os.environ),
    )


def refused(_: Path) -> None:
    with pytest.raises(prunekit.InputError):
        compress(THREE, env=make_follow, **QUICK)


TWO, THREE = policy(), policy(3)


@pytest.mark.parametrize(
    "call",
    [
        lambda folder: SMALL(make_follow, out=folder / "run"),
        lambda _: compress(TWO, env=make_follow, **QUICK),
        lambda _: bench([TWO], env=make_follow, devices=[Playing()], episodes=1),
        lambda folder: prunekit.load(TWO.save(folder / "policy.pt")).export_c(folder / "c"),
        lambda _: TWO.shrink(),
        refused,
    ],
    ids=["train", "compress", "bench", "export", "shrink", "refused"],
)
def test_law_6_what_the_caller_had_set_stays(call: Callable[[Path], object], tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        before = surroundings()
        call(tmp_path)
        assert surroundings() == before
    finally:
        torch.set_num_threads(threads)


def near(weight: float) -> prunekit.Policy:
    """A policy that answers so many times what it should."""
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network[0].weight[0, 0], network[0].weight[1, 0] = 1.0, -1.0
        network[2].weight[0, 0], network[2].weight[0, 1] = weight, -weight
    return prunekit.Policy.from_network(network, actions=gym.spaces.Box(-1.0, 1.0, (1,), np.float32))


@pytest.mark.parametrize(
    ("env", "seeds"),
    [
        (make_follow, "episodes"),
        (lambda: make_follow(), "episodes"),
        (SyncVectorEnv([make_follow] * 4), "episodes"),
        (FollowMany(4), "none"),
    ],
)
def test_two_policies_are_certified_and_refuted_wherever_they_play(env: Any, seeds: str) -> None:
    shown = certify(near(0.98), near(1.0), env=env, keep=0.9)
    assert shown.certified
    assert shown.to_json()["env"]["seeds"] == seeds
    assert shown.to_json()["env"]["kwargs"] == {}
    assert (shown.small, shown.teacher) == ("small", "teacher")
    refuted = certify(near(-1.0), near(1.0), env=env, keep=0.9)
    assert not refuted.certified
    assert refuted.certificate.refuted


def test_integers_are_certified_with_observations_where_none_can_be_recorded() -> None:
    seen = np.random.default_rng(0).uniform(-1.0, 1.0, (200, 2)).astype(np.float32)
    shown = certify(near(1.0), near(1.0), env=FollowMany(4), keep=0.8, int8=True, observations=seen)
    assert shown.certified
    assert "int8" in shown.form
    with pytest.raises(prunekit.UnusableEnvironmentError, match="only steps in a batch"):
        certify(near(1.0), near(1.0), env=FollowMany(4), int8=True)


def test_a_function_is_certified_and_what_cannot_be_is_told(tmp_path: Path) -> None:
    path = near(1.0).save(tmp_path / "teacher.pt")
    shown = certify(following, path, env=make_follow, keep=0.9)
    assert shown.certified
    assert (shown.small, shown.teacher) == ("small (playgrounds:following)", str(path))
    with pytest.raises(prunekit.InputError, match="small is int, but must be a file"):
        certify(3, path, env=make_follow)  # type: ignore[arg-type]
    with pytest.raises(prunekit.InputError, match="`int8` needs a file or"):
        certify(following, path, env=make_follow, int8=True)
    with pytest.raises(prunekit.InputError, match=r"teacher\.pt: names no environment; give one with `env`"):
        certify(following, path)
