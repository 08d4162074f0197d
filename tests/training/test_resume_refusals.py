"""Runs that cannot go on, or cannot be gone on with: one clear line, and nothing of the run is lost."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from small_runs import assert_same_tensors, metrics_of, run_until, small_request, tensors_of
from stable_baselines3 import DQN

from prunekit.errors import InputError
from prunekit.files import held
from prunekit.training.checkpoint import checkpoints_in, read_checkpoint
from prunekit.training.run import train
from prunekit.training.status import Status

pytestmark = pytest.mark.xdist_group("resume_refusals")

Run = Callable[..., tuple[int, str, str]]
Edit = Callable[[dict[str, Any]], object]


def one_line(result: tuple[int, str, str], code: int, *words: str) -> None:
    found, _, err = result
    assert found == code, err
    assert err.count("\n") == 1, f"not one line: {err}"
    assert "Traceback" not in err
    assert "internal error" not in err
    for word in words:
        assert word in err


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(run: Run, folder: Path, *words: str, options: tuple[object, ...] = ()) -> None:
    """``--resume`` of ``folder`` is bad input, and not a byte of it changes."""
    before = contents(folder)
    one_line(run("train", "--resume", "--out", folder, *options), 2, *words)
    assert contents(folder) == before


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume") / "run"
    run_until(small_request("dqn"), folder, 450)
    assert len(checkpoints_in(folder)) == 2
    return folder


@pytest.fixture
def begun(interrupted: Path, tmp_path: Path) -> Path:
    """Return a run of its own that was interrupted in the pruning window and has two checkpoints."""
    return Path(shutil.copytree(interrupted, tmp_path / "begun"))


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ended") / "run"
    train(small_request("dqn"), folder)
    return folder


def edited(path: Path, edit: Edit) -> None:
    content = torch.load(path, weights_only=True)
    edit(content)
    torch.save(content, path)


def test_resume_without_a_folder(run: Run) -> None:
    one_line(run("train", "--resume"), 2, "--resume", "--out")


def test_a_folder_that_is_no_run(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    refused(run, tmp_path, str(tmp_path), "holds no run to resume", "--out")
    refused(run, tmp_path / "nowhere", "nowhere: holds no run to resume", "--out")
    refused(run, tmp_path / "mine.txt", "mine.txt: is a file, but a folder is needed")
    assert not (tmp_path / "nowhere").exists()


def test_a_run_that_has_ended(run: Run, ended: Path) -> None:
    refused(run, ended, "is complete", "--out")


def test_a_run_that_another_process_goes_on_with(run: Run, begun: Path, ended: Path) -> None:
    with held(begun):
        refused(run, begun, str(begun), "another process is working in it")
    assert run("train", "--resume", "--out", begun, "-q") == (0, "", "")


def test_a_run_is_held_from_its_beginning(tmp_path: Path) -> None:
    seen: list[str] = []

    class Watching:
        def update(self, status: Status) -> None:
            with pytest.raises(InputError, match="another process is working in it"), held(tmp_path / "run"):
                pass
            seen.append(status.phase)

    train(small_request("dqn"), tmp_path / "run", [Watching()])
    assert seen
    with held(tmp_path / "run"):
        pass


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--env", "Acrobot-v1"], ['env.id differs: it was "CartPole-v1" and is "Acrobot-v1" now']),
        (["--algo", "ppo"], ['algorithm differs: it was "dqn" and is "ppo" now']),
        (["--seed", 1], ["seed differs: it was 3 and is 1 now"]),
        (["--steps", 999], ["steps differs: it was 1000 and is 999 now"]),
        (["--sparsity", 0.5], ["plan.threshold.sparsity differs: it was 0.75 and is 0.5 now"]),
        (["--dense"], ["plan differs: it was {", "and is null now"]),
        (["--hidden", "8,8"], ["hidden differs: it was [24, 20] and is [8, 8] now"]),
        (["--no-live-shrink"], ["live_shrink differs: it was true and is false now"]),
        (["--prune-critics"], ["prune_critics differs: it was false and is true now"]),
        (["--lr-schedule", "linear"], ['preset.learning_rate_schedule differs: it was "constant" and is "linear" now']),
        (["--checkpoint-every", 50], ["checkpoint_every differs: it was 125 and is 50 now"]),
    ],
    ids=lambda value: str(value[0]),
)
def test_other_options_than_the_run_began_with(run: Run, begun: Path, options: list[Any], words: list[str]) -> None:
    refused(run, begun, str(begun), *words, "resume with the settings that the run began with", options=tuple(options))


def test_the_same_options_again_go_on(run: Run, begun: Path, ended: Path) -> None:
    again = ("--env", "CartPole-v1", "--algo", "dqn", "--seed", 3, "--steps", 1000, "--hidden", "24,20", "-q")
    assert run("train", "--resume", "--out", begun, *again) == (0, "", "")
    assert_same_tensors(tensors_of(begun), tensors_of(ended))
    assert metrics_of(begun) == metrics_of(ended)


def test_other_versions(run: Run, begun: Path) -> None:
    newest = checkpoints_in(begun)[-1]
    edited(newest, lambda content: content["request"]["versions"].update(torch="1.0"))
    refused(run, begun, str(newest), 'versions.torch differs: it was "1.0"')
    config = json.loads((begun / "config.json").read_text())
    config["versions"]["numpy"] = "1.0"
    (begun / "config.json").write_text(json.dumps(config))
    refused(run, begun, str(begun), 'versions.numpy differs: it was "1.0"')


def test_a_truncated_checkpoint_and_the_one_before(run: Run, begun: Path, ended: Path) -> None:
    before, newest = checkpoints_in(begun)
    newest.write_bytes(newest.read_bytes()[:-1000])
    refused(run, begun, str(newest), "damaged", "remove it to continue from the previous one")
    newest.write_bytes(b"")
    refused(run, begun, str(newest), "damaged", "remove it to continue from the previous one")
    newest.unlink()
    assert checkpoints_in(begun) == [before]
    assert run("train", "--resume", "--out", begun, "-q") == (0, "", "")
    assert_same_tensors(tensors_of(begun), tensors_of(ended))


def without(*names: str) -> Edit:
    return lambda content: [content.pop(name) for name in names]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda content: content.update(version=2), ["checkpoint format 2", "reads 1"]),
        (lambda content: content.update(version=torch.ones(2)), ["checkpoint format"]),
        (lambda content: content.update(format="prunekit.model"), ["not a prunekit checkpoint"]),
        (without("learner"), ["lacks parts"]),
        (without("records"), ["lacks parts"]),
        (without("request"), ["lacks parts"]),
        (without("pruners"), ["do not fit"]),
        (lambda content: content["pruners"][0].clear(), ["do not fit"]),
        (lambda content: content["pruners"].pop(), ["do not fit"]),
        (lambda content: content["learner"]["parameters"].pop("policy"), ["do not fit"]),
        (lambda content: content["records"].pop("fresh"), ["do not fit"]),
        (lambda content: content["learner"]["generators"].pop("torch"), ["do not fit"]),
        (lambda content: content["learner"]["buffer"]["arrays"].update(actions=torch.zeros(3, 9, 9)), ["do not fit"]),
    ],
)
def test_a_checkpoint_edited_by_hand(run: Run, begun: Path, edit: Edit, words: list[str]) -> None:
    newest = checkpoints_in(begun)[-1]
    edited(newest, edit)
    refused(run, begun, str(newest), *words)


def test_a_foreign_file_as_checkpoint(run: Run, begun: Path) -> None:
    newest = checkpoints_in(begun)[-1]
    torch.save([torch.zeros(3)], newest)
    refused(run, begun, str(newest), "not a prunekit checkpoint", "remove it")
    newest.write_text("hello")
    refused(run, begun, str(newest), "remove it")
    newest.unlink()
    newest.mkdir()
    refused(run, begun, str(newest), "remove it")


def test_a_checkpoint_of_another_run(run: Run, begun: Path, tmp_path: Path) -> None:
    run_until(small_request("dqn", seed=4), tmp_path / "other", 450)
    newest = checkpoints_in(begun)[-1]
    shutil.copy(checkpoints_in(tmp_path / "other")[-1], newest)
    refused(run, begun, str(newest), "seed differs: it was 4 and is 3 now")


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def test_a_malicious_checkpoint_runs_nothing(run: Run, begun: Path, tmp_path: Path) -> None:
    trap, newest = tmp_path / "trap", checkpoints_in(begun)[-1]
    sound = newest.read_bytes()
    newest.write_bytes(pickle.dumps(Malicious(trap)))
    refused(run, begun, str(newest), "remove it")
    newest.write_bytes(sound)
    edited(newest, lambda content: content["records"].update(fresh=Malicious(trap)))
    refused(run, begun, str(newest), "could run code")
    assert not trap.exists()
    torch.load(newest, weights_only=False)
    assert trap.exists(), "the trap itself must work, or this test shows nothing"


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-200],
        lambda _: "",
        lambda _: "\x00\xff",
        lambda _: "[]",
        lambda text: text.replace('"dqn"', "7"),
        lambda text: text.replace('"sparsity"', '"magic"'),
        lambda text: text.replace('"threshold": {', '"threshold": 3, "x": {'),
        lambda text: text.replace('"seed": 3', '"seed": "three"'),
        lambda text: text.replace('"steps": 1000', '"steps": -5'),
        lambda text: text.replace('"preset"', '"presets"'),
        lambda text: text.replace('"constant"', '"cosine"'),
    ],
)
def test_a_damaged_config(run: Run, begun: Path, damage: Callable[[str], str]) -> None:
    config = begun / "config.json"
    text = config.read_text()
    config.write_text(damage(text))
    assert config.read_text() != text
    refused(run, begun, str(begun))


def test_a_config_that_is_missing(run: Run, begun: Path) -> None:
    (begun / "config.json").unlink()
    refused(run, begun, str(begun), "no config.json")


def test_the_rest_of_a_run_may_be_lost(run: Run, begun: Path, ended: Path) -> None:
    (begun / "metrics.csv").write_text("steps,sec")
    shutil.rmtree(begun / "tensorboard")
    assert run("train", "--resume", "--out", begun, "-q") == (0, "", "")
    assert_same_tensors(tensors_of(begun), tensors_of(ended))
    rows = metrics_of(begun)
    assert rows == metrics_of(ended)[-len(rows) :]


@pytest.mark.parametrize("suffix", [".pt", "metrics.csv", "tfevents", "agent.zip", "model.pt"])
def test_a_disk_that_fills_up(run: Run, begun: Path, ended: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file that a run writes finds the disk full, at the first byte or while its buffers are flushed."""
    good = checkpoints_in(begun)[-1]
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    fsync, opened = os.fsync, Path.open

    def failing_fsync(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        if suffix in name and (suffix != ".pt" or "model" not in name):
            raise full
        fsync(descriptor)

    def failing_open(self: Path, mode: str = "r", *arguments: Any, **keywords: Any) -> Any:
        if suffix in self.name and "a" in mode:
            raise full
        return opened(self, mode, *arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing_fsync)
        patch.setattr(Path, "open", failing_open)
        result = run("train", "--resume", "--out", begun, "-q")
    late = suffix in ("agent.zip", "model.pt")
    good = checkpoints_in(begun)[-1] if late else good
    one_line(result, 2, str(begun), "the disk is full", "make room", "at step", f"the last good checkpoint is {good}")
    read_checkpoint(good)
    assert [path.name for path in begun.rglob(".*")] == [".lock"]
    assert run("train", "--resume", "--out", begun, "-q") == (0, "", "")
    assert_same_tensors(tensors_of(begun), tensors_of(ended))
    assert metrics_of(begun) == metrics_of(ended)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1500k", "none", str(disk)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("may not mount a small disk here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_real_disk_that_fills_up(small_disk: Path, tmp_path: Path, run: Run) -> None:
    """Two checkpoints of half a megabyte fit, and not the third."""
    words = ("--env", "CartPole-v1", "--algo", "dqn", "--steps", 1024, "--checkpoint-every", 256, "--dense", "-q")
    folder = small_disk / "run"
    result = run("train", *words, "--out", folder)
    good = folder / "checkpoint" / "000000000512.pt"
    one_line(result, 2, "the disk is full", "make room", "at step 768", f"the last good checkpoint is {good}")
    read_checkpoint(good)
    subprocess.run(["mount", "-o", "remount,size=30m", str(small_disk)], check=True)
    assert run("train", "--resume", "--out", folder, "-q") == (0, "", "")
    assert run("train", *words, "--out", tmp_path / "whole") == (0, "", "")
    assert_same_tensors(tensors_of(folder), tensors_of(tmp_path / "whole"))


class Breaking(gym.Env[Any, Any]):
    """From the ``after``-th step on, ``what`` is ``value``."""

    observation_space = gym.spaces.Box(-9.0, 9.0, (3,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, what: str, value: float, after: int) -> None:
        self.what, self.value, self.left = what, value, after

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.step_number = 0
        return self.np_random.normal(size=3).astype(np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.step_number, self.left = self.step_number + 1, self.left - 1
        observation, reward = self.np_random.normal(size=3).astype(np.float32), 1.0
        if self.left <= 0 and self.what == "reward":
            reward = self.value
        elif self.left <= 0:
            observation[1] = self.value
        return observation, reward, self.step_number == 20, False, {}


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize(
    ("algorithm", "what", "value", "step"),
    [
        ("dqn", "reward", np.nan, 1280),
        ("dqn", "observation", np.inf, 1280),
        ("ppo", "reward", np.nan, 8192),
        ("ppo", "reward", np.inf, 8192),
        ("ppo", "observation", np.nan, 8192),
    ],
)
def test_what_is_not_finite_stops_the_run_at_once(
    run: Run, tmp_path: Path, algorithm: str, what: str, value: float, step: int
) -> None:
    n_envs = 8 if algorithm == "ppo" else 1
    keywords = {"what": what, "value": value, "after": step // n_envs}
    gym.register("prunekit-test/Breaking-v0", Breaking, kwargs=keywords, disable_env_checker=True)
    folder = tmp_path / "run"
    words = (
        "--env",
        "prunekit-test/Breaking-v0",
        "--algo",
        algorithm,
        "--checkpoint-every",
        step // 2,
        "--hidden",
        "8",
    )
    try:
        result = run("train", *words, "--steps", 2 * step, "--sparsity", 0.5, "--out", folder, "-q")
    finally:
        gym.registry.pop("prunekit-test/Breaking-v0")
    good = checkpoints_in(folder)[-1]
    one_line(result, 1, what, "not finite", f"at step {step}", f"the last good checkpoint is {good}")
    assert int(good.stem) < step
    for value in read_checkpoint(good)["learner"]["parameters"]["policy"].values():
        assert value.isfinite().all()
    assert not (folder / "model.pt").exists()


@pytest.mark.parametrize("step", [740, 980])
def test_weights_that_are_not_finite_are_never_written(
    run: Run, begun: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DQN goes on with them without a word: the next checkpoint, or else the end of the run, must see them."""
    update = DQN.train

    def diverging(self: DQN, *arguments: Any, **keywords: Any) -> None:
        update(self, *arguments, **keywords)
        if self.num_timesteps >= step:
            next(self.q_net.parameters()).data.fill_(torch.nan)

    monkeypatch.setattr(DQN, "train", diverging)
    result = run("train", "--resume", "--out", begun, "-q")
    good = checkpoints_in(begun)[-1]
    one_line(result, 1, "weights are not finite", "stopped at step", f"the last good checkpoint is {good}")
    for value in read_checkpoint(good)["learner"]["parameters"]["policy"].values():
        assert value.isfinite().all()
    assert not (begun / "model.pt").exists()
