"""``prunekit compress`` on the command line: files, exit codes, and one line for bad input."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import points
import pytest
import torch
from stable_baselines3 import PPO
from torch import nn

from prunekit.compression import command, picture
from prunekit.compression import run as compress_run
from prunekit.compression.settings import SearchSettings
from prunekit.environments import make_environment
from prunekit.files import held, unwritable
from prunekit.policy.actor import Actor
from prunekit.policy.artifact import make_artifact, save
from prunekit.policy.heads import ArgmaxHead, ClipHead

Run = Callable[..., tuple[int, str, str]]
FILES = {"policy.onnx", "policy.pt", "README.md", "certificate.json", "frontier.svg", "frontier.png"}


@pytest.fixture
def small_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def smaller(**keywords: Any) -> SearchSettings:
        return SearchSettings(
            starts=((), (6,)),
            first_steps=400,
            steps=200,
            lesson_steps=200,
            selection_episodes=15,
            **keywords,
        )

    monkeypatch.setattr(command, "SearchSettings", smaller)
    monkeypatch.setattr(command, "workers_here", lambda: 1)


def controller(folder: Path, gain: float = 1.0) -> Path:
    """Write a good controller of the continuous environment, or with a negative gain a bad one."""
    network = nn.Sequential(nn.Linear(2, 1))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[-1.5, -1.8]]) * gain)
        network[0].bias.zero_()
    path = folder / "model.pt"
    provenance = {"env": {"id": points.CONTINUOUS, "kwargs": {}}}
    save(make_artifact(Actor(network, ClipHead(low=(-1.0,), high=(1.0,))), None, provenance), path)
    return path


def one_line(result: tuple[int, str, str], code: int, *words: str) -> None:
    found, _, err = result
    assert found == code, err
    assert err.count("\n") == 1, err
    assert "internal error" not in err
    for word in words:
        assert word in err


def test_a_policy_is_compressed_and_certified(run: Run, small_search: None, tmp_path: Path) -> None:
    teacher = controller(tmp_path)
    code, out, err = run("compress", teacher, "--json", tmp_path / "result.json")
    assert (code, err) == (0, "")
    assert {path.name for path in (tmp_path / "model-compressed").iterdir()} == FILES
    data = json.loads((tmp_path / "result.json").read_text())
    assert data == json.loads((tmp_path / "model-compressed" / "certificate.json").read_text())
    assert data["certified"] is True
    assert "teacher " in out
    assert "fresh episodes" in out
    assert "with 95% confidence" in out
    code, out, err = run("bench", teacher, tmp_path / "model-compressed" / "policy.onnx", "--episodes", 30, "-q")
    assert (code, err) == (0, "")


@pytest.mark.parametrize(("option", "tuning"), [([], True), (["--no-tuning"], False)], ids=["default", "without"])
def test_rewards_are_not_learned_from_where_that_is_not_wanted(
    run: Run, monkeypatch: pytest.MonkeyPatch, option: list[str], tuning: bool, tmp_path: Path
) -> None:
    asked: list[bool] = []

    def poor_search(keep: float, **keywords: Any) -> SearchSettings:
        asked.append(keywords["tuning"])
        poor = {
            "first_steps": 60,
            "steps": 20,
            "refinements": 0,
            "recoveries": 0,
            "tuning_steps": 2048,
            "tuning_warmup": 0,
        }
        return SearchSettings(keep=keep, starts=((6,),), teacher_episodes=5, tuning_patience=1, **poor, **keywords)

    monkeypatch.setattr(command, "SearchSettings", poor_search)
    monkeypatch.setattr(command, "workers_here", lambda: 1)
    run("compress", controller(tmp_path), "--steps", 20_000, "--json", tmp_path / "result.json", *option)
    assert asked == [tuning]
    frontier = json.loads((tmp_path / "result.json").read_text())["frontier"]
    assert any(point["tuned"] for point in frontier) is tuning
    assert any(point["tuning_steps"] > 0 for point in frontier) is tuning


def test_where_nothing_is_certified_the_best_is_written(run: Run, small_search: None, tmp_path: Path) -> None:
    teacher = controller(tmp_path)
    result = run("compress", teacher, "--minutes", 1e-4, "--out", tmp_path / "out", "-q")
    one_line(result, 1, str(teacher), "certified at 0.95", "--minutes")
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    assert json.loads((tmp_path / "out" / "certificate.json").read_text())["certified"] is False


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--keep", 0], ["--keep"]),
        (["--keep", 1.5], ["--keep"]),
        (["--minutes", 0], ["--minutes"]),
        (["--episodes", 3], ["--episodes", "20"]),
        (["--seed", -1], ["--seed"]),
        (["--env", "CartPole-v1"], ["model.pt", "observations of 4", "--env"]),
        (["--env", "NoSuchThing-v0"], ["NoSuchThing-v0"]),
        (["--output", "action"], ["model.pt", "--output"]),
        (["--no-normalizer"], ["model.pt", "--no-normalizer"]),
    ],
    ids=str,
)
def test_options_that_do_not_fit(run: Run, options: list[Any], words: list[str], tmp_path: Path) -> None:
    teacher = controller(tmp_path)
    one_line(run("compress", teacher, *options), 2, *words)
    assert {path.name for path in tmp_path.iterdir()} == {"model.pt"}


def test_a_teacher_no_better_than_random(run: Run, small_search: None, tmp_path: Path) -> None:
    one_line(run("compress", controller(tmp_path, -1.0)), 2, "model.pt", "earns", "the random policy's")
    assert not (tmp_path / "model-compressed").exists()


def test_a_file_that_names_no_environment(run: Run, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(4, 2))
    save(make_artifact(Actor(network, ArgmaxHead()), None, {}), tmp_path / "model.pt")
    one_line(run("compress", tmp_path / "model.pt"), 2, "model.pt", "names no environment", "--env")
    one_line(run("compress", tmp_path / "nothing.pt"), 2, "nothing.pt", "no such file")


def test_a_zip_whose_normalizer_is_not_known(run: Run, tmp_path: Path) -> None:
    PPO("MlpPolicy", make_environment("CartPole-v1"), n_steps=16, batch_size=16).save(tmp_path / "agent.zip")
    one_line(run("compress", tmp_path / "agent.zip"), 2, "agent.zip", "names no environment", "--env")
    result = run("compress", tmp_path / "agent.zip", "--env", "CartPole-v1")
    one_line(result, 2, "agent.zip", "--normalizer", "--no-normalizer")


def test_what_is_read_is_never_overwritten(run: Run, small_search: None, tmp_path: Path) -> None:
    teacher = controller(tmp_path).rename(tmp_path / "policy.pt")
    before = teacher.read_bytes()
    one_line(run("compress", teacher, "--out", tmp_path), 2, "policy.pt", "is read here", "--out")
    one_line(run("compress", teacher, "--json", teacher), 2, "policy.pt", "is read here", "--json")
    assert teacher.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"policy.pt"}


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_folder_where_a_file_should_be(run: Run, name: str, tmp_path: Path) -> None:
    (tmp_path / "out" / name).mkdir(parents=True)
    one_line(run("compress", controller(tmp_path), "--out", tmp_path / "out"), 2, name, "is a folder")


def test_what_was_certified_is_not_lost_to_what_was_not(run: Run, small_search: None, tmp_path: Path) -> None:
    teacher, out = controller(tmp_path), tmp_path / "out"
    assert run("compress", teacher, "--out", out)[0] == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    code, told, _ = run("compress", teacher, "--out", out, "--minutes", 1e-4)
    assert code == 1
    assert "holds a certified policy, which was not replaced" in told
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    assert {path.name for path in (out / "not-certified").iterdir()} == FILES
    refused = run("compress", teacher, "--out", out, "--json", out / "certificate.json")
    one_line(refused, 2, "certificate.json", "is already written", "--json")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    one_line(run("compress", teacher, "--out", tmp_path / "link"), 2, "link", "is a link to a folder", "--out")
    assert run("compress", teacher, "--out", out, "--seed", 3)[0] == 0
    assert (out / "policy.onnx").read_bytes() != before["policy.onnx"]


def test_a_picture_that_cannot_be_written_costs_nothing_else(
    run: Run, small_search: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(files: Mapping[Path, bytes]) -> None:
        raise unwritable(next(iter(files)), OSError(28, "No space left on device"))

    out = tmp_path / "model-compressed"
    out.mkdir()
    (out / "frontier.png").write_bytes(b"of another policy")
    (out / "certificate.json").write_text('{"certified": false}')
    monkeypatch.setattr(picture, "write_together", full)
    code, told, err = run("compress", controller(tmp_path), "--json", tmp_path / "result.json")
    assert (code, err) == (0, "")
    assert "note: " in told
    assert "No space left" in told
    assert {path.name for path in out.iterdir()} == FILES - {"frontier.svg", "frontier.png"}
    assert json.loads((tmp_path / "result.json").read_text())["certified"] is True


def test_half_of_a_policy_is_never_written(
    run: Run, small_search: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    teacher, out = controller(tmp_path), tmp_path / "out"
    run("compress", teacher, "--out", out, "--minutes", 1e-4)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    written: list[int] = []

    def full(descriptor: int) -> None:
        written.append(descriptor)
        if len(written) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    one_line(run("compress", teacher, "--out", out), 2, str(out / "policy.pt"), "No space left", "make room")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_foreign_card_is_kept_with_a_note(run: Run, small_search: None, tmp_path: Path) -> None:
    teacher, out = controller(tmp_path), tmp_path / "out"
    out.mkdir()
    (out / "README.md").write_text("# my project")
    code, told, _ = run("compress", teacher, "--out", out, "--minutes", 1e-4)
    assert code == 1
    assert f"note: {out / 'README.md'} is not a card of prunekit: it was kept, and no card was written" in told
    assert (out / "README.md").read_text() == "# my project"
    assert {path.name for path in out.iterdir()} == FILES


def test_two_compressions_into_one_folder_are_refused(run: Run, small_search: None, tmp_path: Path) -> None:
    teacher, out = controller(tmp_path), tmp_path / "out"
    with held(out, traceless=True):
        one_line(run("compress", teacher, "--out", out), 2, str(out), "another process is working in it")
    assert not out.exists()


def test_a_picture_is_drawn_whatever_the_caller_s_style_and_backend_are(
    small_search: None, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    teacher, pictures = controller(tmp_path), []
    for name, changed in (("a", {}), ("b", {"text.usetex": True, "font.size": 40.0, "savefig.bbox": "tight"})):
        out = tmp_path / name
        with matplotlib.rc_context(changed):
            monkeypatch.setenv("MPLBACKEND", "module://there.is.no_such")
            before = dict(matplotlib.rcParams)
            monkeypatch.setattr(compress_run, "write_together", lambda files: None)
            assert run("compress", teacher, "--out", out, "--minutes", 1e-4, "-q")[0] == 1
            assert dict(matplotlib.rcParams) == before
            assert os.environ["MPLBACKEND"] == "module://there.is.no_such"
        pictures.append((out / "frontier.png").stat().st_size)
    assert 0.8 < pictures[0] / pictures[1] < 1.25


@pytest.mark.parametrize("name", ["cost_$x^{$.pt", "a$b$.pt"])
def test_any_name_can_stand_over_a_picture(run: Run, small_search: None, name: str, tmp_path: Path) -> None:
    teacher = controller(tmp_path).rename(tmp_path / name)
    assert run("compress", teacher, "--out", tmp_path / "out", "--minutes", 1e-4, "-q")[0] == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--engine", "cloud"], ["--engine cloud", "serial, processes, ray"]),
        (["--address", "10.0.0.1:6379"], ["--address needs --engine ray"]),
        (["--steps", 0], ["--steps must be at least 1"]),
        (["--steps", 10**30], ["--steps must be at most 1,000,000,000,000"]),
        (["--noise", "obs=-1"], ["--noise: observation noise must be a number from 0"]),
        (["--noise", "obs=0.1,action=2"], ["--noise: action noise must be a number from 0 to 1, not 2"]),
        (["--noise", "wind=1"], ["--noise 'wind=1' is not a noise level"]),
        (["--delay", 1_001], ["--delay: a delay must be an integer number of steps from 0 to 1,000, not 1001"]),
        (["--drop", 1], ["--drop: the share of lost observations must be"]),
        (["--randomize", "nowhere.toml"], ["nowhere.toml", "no such file"]),
    ],
)
def test_engines_and_budgets_that_there_are_not(run: Run, options: list[Any], words: list[str], tmp_path: Path) -> None:
    one_line(run("compress", controller(tmp_path), *options), 2, *words)


@pytest.mark.parametrize("noise", [[], ["--noise", "obs=0.1"]])
def test_a_parameter_that_the_environment_does_not_have(run: Run, noise: list[str], tmp_path: Path) -> None:
    drawn = tmp_path / "drawn.toml"
    drawn.write_text("[rewrad]\nrange = [0.9, 1.1]\n")
    result = run("compress", controller(tmp_path), "--randomize", drawn, *noise)
    one_line(result, 2, "rewrad: Point has no rewrad; did you mean reward?")
    drawn.write_text("[reward]\nrange = [1.1, 0.9]\n")
    one_line(run("compress", controller(tmp_path), "--randomize", drawn), 2, str(drawn), "reward: range must be")
    assert {path.name for path in tmp_path.iterdir()} == {"model.pt", "drawn.toml"}
    drawn.write_text("[reward]\nrange = [0.9, 1.1]\n")
    result = run("compress", controller(tmp_path), "--randomize", drawn, "--json", drawn)
    one_line(result, 2, str(drawn), "is read here", "--json")
    assert drawn.read_text() == "[reward]\nrange = [0.9, 1.1]\n"


def test_without_ray_one_line_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    result = run("compress", controller(tmp_path), "--engine", "ray")
    one_line(
        result, 2, "the ray engine needs the package ray, which is not installed; run: pip install 'prunekit[ray]'"
    )
    assert {path.name for path in tmp_path.iterdir()} == {"model.pt"}


@pytest.mark.xdist_group("ray")
def test_a_cluster_that_is_not_there_is_named(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs Ray, an extra")
    for address in ("nowhere", "127.0.0.1:1"):
        result = run("compress", controller(tmp_path), "--engine", "ray", "--address", address)
        one_line(result, 2, f"no Ray cluster at '{address}': ")
    assert {path.name for path in tmp_path.iterdir()} == {"model.pt"}


def test_a_policy_is_certified_under_what_the_options_say(run: Run, small_search: None, tmp_path: Path) -> None:
    (tmp_path / "drawn.toml").write_text("[reward]\nrange = [0.9, 1.1]\n")
    words = ["--noise", "obs=0.02,action=0.01", "--delay", 1, "--drop", 0.05, "--randomize", tmp_path / "drawn.toml"]
    code, out, err = run("compress", controller(tmp_path), "--out", tmp_path / "out", "--steps", 40_000, *words)
    assert (code, err) == (0, "")
    under = "Under observation noise 0.02, action noise 0.01, delay 1, drop 0.05, reward randomized, alike for all"
    assert under in " ".join(out.split())
    found = json.loads((tmp_path / "out" / "certificate.json").read_text())
    assert found["disturbance"]["randomization"][0]["path"] == "reward"
    assert len(found["observation_deviation"]) == 2


def test_a_serial_engine_with_steps_writes_the_same_files_twice(run: Run, small_search: None, tmp_path: Path) -> None:
    teacher = controller(tmp_path)
    folders = [tmp_path / name / "out" for name in ("a", "b")]
    for folder in folders:
        assert run("compress", teacher, "--engine", "serial", "--steps", 30_000, "--out", folder)[0] == 0
    first, second = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert first == second
    assert {"policy.pt", "policy.onnx", "certificate.json"} <= first.keys()
