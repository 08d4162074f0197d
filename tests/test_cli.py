"""The command line: the whole path on a small run, and one clear line for each bad input."""

from __future__ import annotations

import json
import os
import pickle
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from prunekit import cli

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["prunekit", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    return call


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "run"
    command = ["train", "--env", "CartPole-v1", "--steps", "4096", "--hidden", "48,48", "--out", str(folder), "-q"]
    done = subprocess.run([sys.executable, "-m", "prunekit", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == done.stderr == ""
    return folder


def refused(result: tuple[int, str, str], *words: str) -> None:
    code, out, err = result
    assert code == 2, err
    assert err.count("\n") == 1, f"not one line: {err}"
    assert out == ""
    assert "Traceback" not in err
    for word in words:
        assert word in err


def test_train_shrink_export_and_bench(trained: Path, tmp_path: Path, run: Run) -> None:
    code, _, err = run("shrink", trained / "model.pt", "--out", tmp_path, "--json", tmp_path / "shrink.json")
    assert code == 0, err
    shrunk = json.loads((tmp_path / "shrink.json").read_text())
    assert shrunk["hidden"]["before"] == [48, 48]
    assert sum(shrunk["hidden"]["after"]) == 6  # floor of 7% of 96 units
    assert shrunk["largest_difference"] < 1e-5
    assert run("export", trained / "model.pt", "--format", "onnx", "--out", tmp_path)[0] == 0
    models = [tmp_path / "model.onnx", tmp_path / "model.compact.onnx", tmp_path / "model.compact.pt"]
    code, out, err = run("bench", *models, "--device", "cpu", "--episodes", 5, "--json", tmp_path / "bench.json")
    assert code == 0, err
    assert "retention of return" in out
    result = json.loads((tmp_path / "bench.json").read_text())
    dense, small, same = (model["devices"]["cpu"]["return"] for model in result["models"])
    assert small["mean"] == same["mean"] == dense["mean"]
    for model in models:
        code, out, _ = run("inspect", model)
        assert code == 0
        assert "CartPole-v1" in out


def test_shrink_writes_beside_the_model_and_leaves_it_alone(trained: Path, run: Run) -> None:
    before = (trained / "model.pt").read_bytes()
    assert run("shrink", trained / "model.pt", "-q")[:2] == (0, "")
    assert (trained / "model.compact.pt").is_file()
    assert (trained / "model.compact.onnx").is_file()
    assert (trained / "model.pt").read_bytes() == before


def test_bench_fails_when_the_return_is_not_kept(trained: Path, tmp_path: Path, run: Run) -> None:
    from prunekit import load, save

    good, broken = load(trained / "model.pt"), load(trained / "model.pt")
    with torch.no_grad():
        # Balances by pushing towards the side to which the pole falls: near 500; reversed, near 9.
        for artifact, sign in ((good, 1.0), (broken, -1.0)):
            layers = [layer for layer in artifact.actor.network if isinstance(layer, torch.nn.Linear)]
            for layer in layers:
                layer.weight.zero_()
                layer.bias.zero_()
            layers[0].weight[0] = torch.tensor([0.05, 0.2, 1.0, 1.0])
            layers[1].weight[0, 0] = 1.0
            layers[2].weight[:, 0] = torch.tensor([-sign, sign])
            artifact.actor.normalizer = None
    for artifact, name in ((good, "good"), (broken, "broken")):
        artifact.masks.update({name: torch.ones_like(keep) for name, keep in artifact.masks.items()})
        save(artifact, tmp_path / f"{name}.pt")
    models = [tmp_path / "good.pt", tmp_path / "broken.pt"]
    code, _, err = run("bench", *models, "--episodes", 20, "--keep", 0.95)
    assert code == 1
    assert "broken.pt" in err
    assert run("bench", models[0], models[0], "--episodes", 20, "--keep", 0.95)[0] == 0


def test_missing_file(run: Run, tmp_path: Path) -> None:
    for command in ("shrink", "export", "inspect", "bench"):
        refused(run(command, tmp_path / "nowhere.pt"), "nowhere.pt", "no such file")
    refused(run("bench", tmp_path / "nowhere.onnx"), "nowhere.onnx", "no such file")


def test_truncated_model(trained: Path, tmp_path: Path, run: Run) -> None:
    content = (trained / "model.pt").read_bytes()
    (tmp_path / "half.pt").write_bytes(content[: len(content) // 2])
    for command in ("shrink", "bench"):
        refused(run(command, tmp_path / "half.pt"), "half.pt", "damaged")
    assert [path.name for path in tmp_path.iterdir()] == ["half.pt"]


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def test_malicious_pickle_runs_nothing(tmp_path: Path, run: Run) -> None:
    trap = tmp_path / "trap"
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Malicious(trap)))
    torch.save({"format": "prunekit.model", "version": 1, "layers": Malicious(trap)}, tmp_path / "zipped.pt")
    for name in ("plain.pt", "zipped.pt"):
        for command in ("shrink", "inspect", "bench"):
            refused(run(command, tmp_path / name), name)
    assert not trap.exists()
    torch.load(tmp_path / "zipped.pt", weights_only=False)
    assert trap.exists(), "the trap itself must work, or this test shows nothing"


def test_an_environment_named_by_a_file_imports_nothing(
    trained: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = tmp_path / "trap"
    (tmp_path / "prunekit_trap.py").write_text(f"import os; os.mkdir({str(trap)!r})\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    data = torch.load(trained / "model.pt", weights_only=True)
    data["provenance"]["env"]["id"] = "prunekit_trap:CartPole-v1"
    torch.save(data, tmp_path / "evil.pt")
    assert run("export", tmp_path / "evil.pt", "-q")[0] == 0
    for name in ("evil.pt", "evil.onnx"):
        refused(run("bench", tmp_path / name), name, "would import a module", "--env")
    assert not trap.exists()
    assert run("bench", tmp_path / "evil.pt", "--env", "prunekit_trap:CartPole-v1", "--episodes", 1, "-q")[0] == 0
    assert trap.exists(), "the trap itself must work, or this test shows nothing"


def test_onnx_of_another_environment(trained: Path, tmp_path: Path, run: Run) -> None:
    assert run("export", trained / "model.pt", "--out", tmp_path, "-q")[0] == 0
    refused(run("bench", tmp_path / "model.onnx", "--env", "Hopper-v5"), "model.onnx", "4", "11")


def test_unknown_environment(run: Run) -> None:
    refused(run("train", "--env", "Nope-v0"), "Nope-v0")


def test_environment_whose_extra_is_missing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise gym.error.DependencyNotInstalled("mujoco is not installed")

    monkeypatch.setattr(gym, "make", fail)
    refused(run("train", "--env", "Hopper-v5"), "Hopper-v5", "pip install 'gymnasium[mujoco]'")


class DictEnv(gym.Env[dict[str, Any], int]):
    observation_space = spaces.Dict({"a": spaces.Box(-1.0, 1.0, (2,), np.float32)})
    action_space = spaces.Discrete(2)


def test_dict_observations(run: Run) -> None:
    gym.register("prunekit-test/Dict-v0", DictEnv)
    try:
        refused(run("train", "--env", "prunekit-test/Dict-v0"), "Dict observations", "FlattenObservation")
    finally:
        gym.registry.pop("prunekit-test/Dict-v0")


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, "nan"])
def test_sparsity_outside_its_range(run: Run, sparsity: object) -> None:
    refused(run("train", "--sparsity", sparsity), "sparsity", "[0, 1)")


def test_sparsity_that_leaves_an_empty_layer(run: Run, tmp_path: Path) -> None:
    refused(run("train", "--sparsity", 0.999, "--out", tmp_path / "x"), "0.999", "lower the sparsity")
    assert not (tmp_path / "x").exists()


def test_algorithm_that_does_not_fit(run: Run) -> None:
    refused(run("train", "--env", "Hopper-v5", "--algo", "dqn"), "dqn", "continuous", "ppo")


def test_output_folder_that_exists(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    refused(run("train", "--out", tmp_path), str(tmp_path), "exists already")
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_places_that_cannot_be_written_are_refused_before_the_work(trained: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "file").write_text("mine")
    below = tmp_path / "file" / "x"
    refused(run("train", "--out", below), str(below), "cannot be written")
    refused(run("train", "--json", below, "--out", tmp_path / "run"), str(below), "cannot be written")
    refused(run("shrink", trained / "model.pt", "--out", tmp_path / "file"), "cannot be written")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_or_another_kind_of_file_is_named(trained: Path, tmp_path: Path, run: Run) -> None:
    refused(run("shrink", tmp_path), str(tmp_path), "folder")
    assert run("export", trained / "model.pt", "--out", tmp_path, "-q")[0] == 0
    refused(run("shrink", tmp_path / "model.onnx"), "model.onnx", "model.pt")
    (tmp_path / "notes.txt").write_text("hello")
    refused(run("inspect", tmp_path / "notes.txt"), "notes.txt", ".onnx")


def test_an_interrupted_training_says_so(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("stable_baselines3.PPO.learn", interrupt)
    code, _, err = run("train", "--out", tmp_path / "run", "-q")
    assert code == 130
    assert err.count("\n") == 1
    assert str(tmp_path / "run") in err


def test_the_bare_command_and_its_version(run: Run) -> None:
    code, out, _ = run()
    assert code == 0
    assert "Usage" in out
    code, out, _ = run("--version")
    assert (code, out.split()[0]) == (0, "prunekit")


def test_nan_weights(trained: Path, tmp_path: Path, run: Run) -> None:
    data = torch.load(trained / "model.pt", weights_only=True)
    data["layers"][0]["weight"][3, 1] = float("nan")
    torch.save(data, tmp_path / "nan.pt")
    for command in ("shrink", "export", "bench"):
        refused(run(command, tmp_path / "nan.pt"), "nan.pt", "NaN")
    assert [path.name for path in tmp_path.iterdir()] == ["nan.pt"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["train", "--dense", "--sparsity", "0.5"], "--sparsity and --dense"),
        (["train", "--hidden", "18,x"], "--hidden 18,x"),
        (["train", "--steps", "0"], "--steps"),
        (["train", "--seed", "-1"], "--seed"),
        (["train", "--lr-schedule", "cosine"], "--lr-schedule cosine"),
        (["train", "--stepps", "5"], "--stepps"),
        (["bench", "--device", "toaster", "x.onnx"], "toaster"),
        (["export", "x.pt", "--format", "tflite"], "tflite"),
        (["bench", "x.onnx", "--episodes", "0"], "--episodes"),
        (["bench", "x.onnx", "--keep", "nan"], "--keep"),
        (["bench", "x.onnx", "--keep", "0.9", "--episodes", "19"], "19"),
        (["train", "--algo", "dqn", "--steps", "500"], "--steps 500"),
        (["train", "--env", "Nope-v0"], "Nope-v0"),
    ],
)
def test_other_bad_words(run: Run, arguments: list[str], word: str) -> None:
    refused(run(*arguments), word)


def test_help_is_instant() -> None:
    # Processor time, as the wall clock of a loaded machine tells of the load.
    command = [sys.executable, "-m", "prunekit", "--help"]
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.4
