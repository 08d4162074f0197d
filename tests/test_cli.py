"""The command line: the whole path on a small run, exit codes, help, and interruption."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.xdist_group("trained")

Run = Callable[..., tuple[int, str, str]]


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
    from prunekit.policy.artifact import load, save

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
    code, _, err = run("bench", *models, "--episodes", 20, "--keep", 0.5)
    assert code == 1
    assert "broken.pt" in err
    words = ["--episodes", 20, "--keep", 0.5, "--range=0,500"]
    code, out, _ = run("bench", models[0], models[0], *words)
    assert code == 0
    assert "certified" in out
    assert "every return clipped to [0, 500]" in out, "sentences are not wrapped where nobody reads a terminal"
    code, _, err = run("bench", models[0], models[0], *words, "--max-failures", 0.3)
    assert code == 0, err


SHIPPED = Path(__file__).parents[1] / "models" / "CartPole-v1-ppo" / "compact.pt"


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_an_interrupted_training_says_so(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stable_baselines3.PPO.learn", interrupt)
    code, _, err = run("train", "--out", tmp_path / "run", "-q")
    assert code == 130
    assert err.count("\n") == 1
    assert str(tmp_path / "run") in err


def test_an_interrupted_compression_says_what_is_lost(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prunekit.compression.command.compress", interrupt)
    code, _, err = run("compress", SHIPPED, "--out", tmp_path / "small", "-q")
    assert code == 130
    assert err.count("\n") == 1
    assert "nothing was written" in err
    assert not (tmp_path / "small").exists()


def test_what_was_written_before_an_interruption_is_not_denied(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prunekit.compression.command.draw", interrupt)
    code, _, err = run("compress", SHIPPED, "--steps", 2000, "--out", tmp_path / "small", "-q")
    assert code == 130
    assert err.endswith("interrupted\n")
    assert (tmp_path / "small" / "certificate.json").is_file()


def test_the_bare_command_and_its_version(run: Run) -> None:
    code, out, _ = run()
    assert code == 0
    assert "Usage" in out
    code, out, _ = run("--version")
    assert (code, out.split()[0]) == (0, "prunekit")


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
