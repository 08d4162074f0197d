"""The command line on bad input: one clear line that names the culprit, exit code 2, and nothing lost."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

pytestmark = pytest.mark.xdist_group("trained")

Run = Callable[..., tuple[int, str, str]]


def refused(result: tuple[int, str, str], *words: str) -> None:
    code, out, err = result
    assert code == 2, err
    assert err.count("\n") == 1, f"not one line: {err}"
    assert out == ""
    assert "Traceback" not in err
    for word in words:
        assert word in err


def test_missing_file(run: Run, tmp_path: Path) -> None:
    for command in ("shrink", "export", "inspect", "bench"):
        refused(run(command, tmp_path / "nowhere.pt"), "nowhere.pt", "no such file")
    refused(run("bench", tmp_path / "nowhere.onnx"), "nowhere.onnx", "no such file")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("inspect",), ("Missing argument 'policy' (see prunekit inspect --help)",)),
        (("certify", "x.onnx"), ("'--against'", "prunekit certify --help")),
        (("export", "x.pt", "--foo"), ("--foo", "prunekit export --help")),
        (("compress", "x.pt", "--keep", "much"), ("--keep must be a number, got much (see prunekit compress --help",)),
        (("train", "--steps", "1e3"), ("--steps must be a whole number, got 1e3 (see prunekit train --help",)),
        (("bench", "x.pt", "--episodes", "9" * 5000 + "x"), ("whole number, got " + "9" * 60 + "... (see",)),
        (("expor", "x.pt"), ("'expor'", "'export'", "(see prunekit --help")),
    ],
)
def test_wrong_arguments_are_told_where_the_right_ones_stand(
    arguments: tuple[str, ...], words: tuple[str, ...], run: Run
) -> None:
    refused(run(*arguments), *words)


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
    refused(run("train", "--sparsity", sparsity), "--sparsity must be at least 0 and below 1, got ")


def test_sparsity_that_leaves_an_empty_layer(run: Run, tmp_path: Path) -> None:
    refused(run("train", "--sparsity", 0.999, "--out", tmp_path / "x"), "--sparsity 0.999 leaves", "lower it")
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
    refused(run("shrink", trained / "model.pt", "--out", tmp_path / "file"), "is a file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_or_another_kind_of_file_is_named(tmp_path: Path, run: Run) -> None:
    refused(run("shrink", tmp_path), str(tmp_path), "folder")
    (tmp_path / "notes.txt").write_text("hello")
    for command in ("shrink", "inspect"):
        refused(run(command, tmp_path / "notes.txt"), "notes.txt", ".onnx")


def test_nan_weights(trained: Path, tmp_path: Path, run: Run) -> None:
    data = torch.load(trained / "model.pt", weights_only=True)
    next(node for node in data["graph"]["nodes"] if node["op"] == "Affine")["fields"]["weight"][0, 1] = float("nan")
    torch.save(data, tmp_path / "nan.pt")
    for command in ("shrink", "export", "bench"):
        refused(run(command, tmp_path / "nan.pt"), "nan.pt", "NaN")
    assert [path.name for path in tmp_path.iterdir()] == ["nan.pt"]


@pytest.mark.parametrize(
    ("device", "words"),
    [
        (
            "cortex-m4",
            (
                "device cortex-m4",
                "arm-none-eabi-gcc",
                "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm",
            ),
        ),
        ("avr-uno", ("device avr-uno", "avr-gcc", "apt-get install gcc-avr avr-libc libsimavr-dev gcc")),
        ("cpu-c", ("the policy's C on this computer", "C compiler", "apt-get install gcc")),
    ],
)
def test_a_device_whose_tools_are_missing(
    run: Run, monkeypatch: pytest.MonkeyPatch, device: str, words: tuple[str, ...]
) -> None:
    model = Path(__file__).parents[1] / "models" / "CartPole-v1-ppo" / "compact.pt"
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    refused(run("bench", model, "--device", device), *words)


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
        (["bench", "x.onnx", "--keep", "0.9", "--episodes", "19"], "--episodes must be at least 20 for a certificate"),
        (
            ["bench", "x.pt", "--keep", "0.9", "--device", "cortex-m4"],
            "--loop-episodes must be at least 20 for a certificate, got 3 on the first device",
        ),
        (["bench", "x.pt", "--device", "stm32f411"], "armhf; stm32f411ce is a chip, which --part takes"),
        (["train", "--algo", "a2c"], "--algo a2c is unknown; choose one of ppo"),
        (["bench", "x.pt", "--keep", "0.9", "--part", "rp2040", "--loop-episodes", "19"], "got 19 on the first device"),
        (["bench", "x.pt", "--keep", "0.9", "--part", "rp2040", "--loop-episodes", "20"], "x.pt: no such file"),
        (["bench", "x.pt", "--keep", "0.9", "--device", "cpu-c", "--device", "avr-uno"], "x.pt: no such file"),
        (["bench", "x.pt", "--loop-episodes", "0"], "--loop-episodes must be at least 1, got 0"),
        (["bench", "x.pt", "--activations", "8"], "--activations needs --int8"),
        (["bench", "x.pt", "--int8", "--activations", "4"], "--activations must be 16 or 8, got 4"),
        (["bench", "x.pt", "--part", "z80"], "--part z80 is unknown; choose among stm32f030f4"),
        (["bench", "x.pt", "--part", "stm32f0"], "choose among stm32f030f4, stm32f030r8"),
        (["train", "--algo", "dqn", "--steps", "500"], "--steps 500"),
        (["train", "--env", "Nope-v0"], "Nope-v0"),
        (["bench", "x.onnx", "--keep", "95"], "--keep must lie in (0, 1], got 95; did you mean 0.95?"),
        (["bench", "x.onnx", "--max-failures", "5", "--keep", "0.9"], "got 5; did you mean 0.05?"),
        (["compress", "x.pt", "CartPole-v1"], "(CartPole-v1); did you mean --env CartPole-v1? (see prunekit compress"),
        (["compress", "x.pt", "y.pt"], "(y.pt) (see prunekit compress"),
        (["inspect", "x.pt", "CartPole-v1"], "(CartPole-v1) (see prunekit inspect"),
    ],
)
def test_other_bad_words(run: Run, arguments: list[str], word: str) -> None:
    refused(run(*arguments), word)
