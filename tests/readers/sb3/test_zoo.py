"""What RL Baselines3 Zoo's files say of an environment, and that no text in them does more than be shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gymnasium import spaces
from sb3_zips import flat, odd_ppo
from stable_baselines3 import PPO

from prunekit import compress, load
from prunekit.api.certifying import certify
from prunekit.benching.inspection import inspect_model, render
from prunekit.errors import ArtifactError, InputError
from prunekit.readers.normalizers import UNUSED, normalizer_of, other_normalizer
from prunekit.readers.policy_file import PolicyOptions
from prunekit.readers.read import read_policy
from prunekit.readers.runs import run_normalizes
from prunekit.readers.zoo import env_advice, zoo_normalizes, zoo_notes

Run = Callable[..., tuple[int, str, str]]


def dumped(**values: Any) -> str:
    """Return text as the zoo writes it."""
    lines = [f"- - {key}\n    - {value}\n" for key, value in values.items()]
    return "!!python/object/apply:collections.OrderedDict\n- " + "  ".join(lines)


@pytest.mark.parametrize("folder", ["policy", "."])
def test_environment_wrappers_and_frames_are_said(folder: str, tmp_path: Path) -> None:
    path = odd_ppo(tmp_path, flat(), spaces.Discrete(2))
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "args.yml").write_text(dumped(algo="ppo", env="Odd-v3", env_kwargs="null", n_jobs=1))
    settings = dumped(env_wrapper="sb3_contrib.common.wrappers.TimeFeatureWrapper", frame_stack=4, normalize="true")
    (tmp_path / folder / "config.yml").write_text(settings)
    notes = read_policy(path, PolicyOptions(without_normalizer=True)).notes
    assert [note.split(" (")[0] for note in notes] == [
        "RL Baselines3 Zoo trained it in Odd-v3",
        "its environment was made with env_wrapper sb3_contrib.common.wrappers.TimeFeatureWrapper",
        "its environment was made with frame_stack 4",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "noise",
        dumped(env="!!python/object/apply:os.mkdir [SPRUNG]"),
        dumped(env="\x1b[31mred"),
        dumped(env="&a [*a, *a]"),
        dumped(env="x" * 300),
        dumped(algo="ppo", frame_stack="1", env_wrapper="null"),
        "- - - env\n" * 1000,
    ],
)
def test_other_text_says_nothing(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("args.yml", "config.yml"):
        (tmp_path / name).write_text(text)
    assert zoo_notes(tmp_path / "policy.zip") == ()
    assert not (tmp_path / "SPRUNG").exists()


def test_a_policy_that_names_no_environment_is_told_what_the_zoo_trained_it_in(tmp_path: Path) -> None:
    path = odd_ppo(tmp_path, flat(), spaces.Discrete(2))
    assert env_advice(path) == "give one with `env`"
    (tmp_path / "args.yml").write_text(dumped(env="CartPole-v1"))
    (tmp_path / "config.yml").write_text(dumped(n_envs=8, policy="MlpPolicy"))
    told = "give one with `env` (RL Baselines3 Zoo trained it in CartPole-v1)"
    assert env_advice(path) == env_advice(tmp_path) == told
    assert env_advice(tmp_path / "model.onnx") == "give one with `env`"  # another file beside the zip
    with pytest.raises(InputError, match=r"names no environment; give one with `env` \(RL Baselines3 Zoo"):
        certify(path, path)


def test_the_size_that_inspect_tells_of_a_folder_is_that_of_the_zip_in_it(tmp_path: Path) -> None:
    path = odd_ppo(tmp_path, flat(), spaces.Discrete(2))
    (tmp_path / "config.yml").write_text(dumped(n_envs=8, policy="MlpPolicy"))
    facts = inspect_model(tmp_path)
    assert facts["file"] == str(path)
    assert facts["size_bytes"] == path.stat().st_size


def test_inspect_shows_a_zip_of_which_nothing_says_whether_it_was_normalized(tmp_path: Path) -> None:
    path = odd_ppo(tmp_path, flat(), spaces.Discrete(2))
    facts = inspect_model(path)
    assert facts["normalizer"] is None
    assert facts["notes"][-1].startswith("shown without a normalizer: does not say whether its observations were norm")
    assert "not known" in [str(cell) for cell in render(facts).columns[1].cells]
    known = inspect_model(path, PolicyOptions(without_normalizer=True))
    assert known["normalizer"] is False
    assert {key: value for key, value in facts.items() if key not in ("normalizer", "notes")} == {
        key: value for key, value in known.items() if key not in ("normalizer", "notes")
    }
    (tmp_path / "config.yml").write_text(dumped(normalize="true", policy="MlpPolicy"))
    assert "whose file is missing" in inspect_model(path)["notes"][-1]


def test_values_of_several_lines_are_named_alone(tmp_path: Path) -> None:
    wrapper = "- gymnasium.wrappers.FrameStackObservation:\n          stack_size: 4"
    (tmp_path / "config.yml").write_text(dumped(env_wrapper=wrapper))
    assert zoo_notes(tmp_path / "policy.zip") == (
        "its environment was made with env_wrapper of several values (config.yml), which the policy needs: write a "
        "function that makes it this way, and give it as `env` MODULE:FUNCTION",
    )


def test_binary_and_large_files_say_nothing(tmp_path: Path) -> None:
    (tmp_path / "args.yml").write_bytes(b"\xff\xfe" * 100)
    (tmp_path / "config.yml").write_text(dumped(frame_stack=4) + " " * 2**20)
    assert zoo_notes(tmp_path / "policy.zip") == ()


def test_settings_without_a_normalizer_are_believed(tmp_path: Path) -> None:
    path = odd_ppo(tmp_path, flat(), spaces.Discrete(2))
    with pytest.raises(InputError, match="no normalizer is next to it"):
        read_policy(path)
    (tmp_path / "config.yml").write_text(dumped(n_envs=8, policy="MlpPolicy"))
    assert read_policy(path).notes[-1] == "RL Baselines3 Zoo trained it without a normalizer (config.yml)"
    (tmp_path / "config.yml").write_text(dumped(normalize="true", policy="MlpPolicy"))
    with pytest.raises(InputError, match="whose file is missing"):
        read_policy(path)
    (tmp_path / "config.yml").write_text(dumped(normalize="dict(norm_obs=True)", policy="MlpPolicy"))
    with pytest.raises(InputError, match="no normalizer is next to it"):
        read_policy(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (dumped(policy="MlpPolicy"), False),
        (dumped(normalize="false", policy="MlpPolicy"), False),
        (dumped(normalize="true", policy="MlpPolicy"), True),
        (dumped(normalize="{'norm_obs': False}", policy="MlpPolicy"), None),
        (dumped(normalize="false"), None),
        ("noise", None),
    ],
)
def test_what_settings_say_of_a_normalizer(text: str, told: bool | None, tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text(text)
    assert zoo_normalizes(tmp_path / "policy.zip") is told


def test_a_run_s_folder_stands_for_its_zip(tmp_path: Path) -> None:
    path = odd_ppo(tmp_path, flat(), spaces.Discrete(2))
    with pytest.raises(ArtifactError, match="is a folder"):
        read_policy(tmp_path)
    (tmp_path / "policy").mkdir(exist_ok=True)
    (tmp_path / path.stem).mkdir(exist_ok=True)
    (tmp_path / path.stem / "config.yml").write_text(dumped(policy="MlpPolicy"))
    assert read_policy(tmp_path).path == path
    path.with_name("best_model.zip").write_bytes(path.read_bytes())
    assert read_policy(tmp_path).path == path
    path.with_name("other.zip").write_bytes(path.read_bytes())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.yml").write_text(dumped(policy="MlpPolicy"))
    with pytest.raises(ArtifactError, match=r"is a folder; name the model file in it: best_model.zip, other.zip, poli"):
        read_policy(tmp_path)
    with pytest.raises(ArtifactError, match=r"name the model file in it \(none in it ends in \.zip, \.pt, "):
        read_policy(tmp_path / "other")


def test_the_best_model_takes_the_normalizer_of_the_only_run_beside_it(tmp_path: Path) -> None:
    best, run, nothing = tmp_path / "best_model.zip", tmp_path / "Odd-v3", PolicyOptions()
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "config.yml").write_text("theme: dark\n")
    run.mkdir()
    (run / "args.yml").write_text(dumped(env="Odd-v3"))
    (run / "config.yml").write_text(dumped(normalize="true", policy="MlpPolicy"))
    assert env_advice(best) == "give one with `env` (RL Baselines3 Zoo trained it in Odd-v3)"
    with pytest.raises(InputError, match=r"config\.yml next to it says that it was trained with a normalizer"):
        normalizer_of(best, nothing)
    (run / "vecnormalize.pkl").write_bytes(b"")
    assert normalizer_of(best, nothing) == run / "vecnormalize.pkl"
    note = "its normalizer is that of the run next to it, Odd-v3/vecnormalize.pkl"
    assert other_normalizer(best, run / "vecnormalize.pkl") == note
    own = tmp_path / "Odd-v3.zip"
    assert normalizer_of(own, nothing) == run / "vecnormalize.pkl"
    assert other_normalizer(own, run / "vecnormalize.pkl") is None
    with pytest.raises(InputError, match="no normalizer is next to it"):
        normalizer_of(tmp_path / "mine.zip", nothing)  # of no run that is known
    (tmp_path / "Odd-v4").mkdir()
    (tmp_path / "Odd-v4" / "config.yml").write_text(dumped(policy="MlpPolicy"))
    with pytest.raises(InputError, match="no normalizer is next to it"):
        normalizer_of(best, nothing)


def test_a_normalizer_that_is_left_out_is_told_and_stays_on_record(tmp_path: Path, run: Run) -> None:
    path = odd_ppo(tmp_path, flat(), spaces.Discrete(2))
    without = PolicyOptions(without_normalizer=True)
    assert read_policy(path, without).notes == ()
    (tmp_path / "config.yml").write_text(dumped(normalize="true", policy="MlpPolicy"))
    said = "its observations are not normalized, but config.yml next to it says that they were in training"
    assert read_policy(path, without).notes == (said,)
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "vecnormalize.pkl").write_bytes(b"")
    note = "policy/vecnormalize.pkl next to it is not used, so its observations are not normalized"
    assert inspect_model(path, without)["notes"] == [note]
    assert UNUSED not in inspect_model(path, without)
    assert inspect_model(tmp_path, without)["notes"] == [note]
    policy = load(path, normalizer=False)
    assert policy.notes == (note,)
    assert policy.shrink().notes == (note,)
    assert inspect_model(policy.export_onnx(tmp_path / "python.onnx"))[UNUSED] == note
    assert note in run("export", path, "--no-normalizer", "--out", tmp_path / "small.onnx")[1]
    assert inspect_model(tmp_path / "small.onnx")[UNUSED] == note
    assert note in run("shrink", path, "--no-normalizer")[1]
    assert inspect_model(tmp_path / "policy.compact.pt")[UNUSED] == note


def test_commands_that_play_tell_of_a_normalizer_that_is_left_out(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "policy.zip"
    PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8, device="cpu").save(path)
    (tmp_path / "vec_normalize.pkl").write_bytes(b"")
    note = "vec_normalize.pkl next to it is not used, so its observations are not normalized"
    found = tmp_path / "found.json"
    options = ("--no-normalizer", "--env", "CartPole-v1", "--json", found)
    code, out, _ = run("bench", path, "--episodes", "1", *options)
    assert (code, out.splitlines()[-1]) == (0, f"note: {path}: {note}")
    assert json.loads(found.read_text())["models"][0]["notes"] == [note]
    teacher = Path(__file__).parents[3] / "models" / "CartPole-v1-ppo" / "compact.pt"
    words = ("--against", teacher, "--episodes", "20", "--range", "0,500", "--out", tmp_path / "found.md")
    code, out, _ = run("certify", path, *words, *options)
    assert (code, out.splitlines()[0]) == (1, f"note: {path}: {note}")
    assert json.loads(found.read_text())["notes"] == [f"{path}: {note}"]
    assert f"\n\nNote: {path}: {note}.\n\n" in (tmp_path / "found.md").read_text()
    code, _, err = run("inspect", path, "--no-normalizer", "--json", tmp_path / "vec_normalize.pkl")
    assert (code, "is read here and would be overwritten" in err) == (2, True)


def test_a_compression_holds_what_its_teacher_was_read_without(tmp_path: Path) -> None:
    kept = load(Path(__file__).parents[3] / "models" / "CartPole-v1-ppo" / "compact.pt")
    noted = replace(kept, notes=("vec_normalize.pkl next to it is not used",))
    found = compress(noted, env="CartPole-v1", steps=30_000, workers=1, tuning=False)
    assert found.notes[0] == "vec_normalize.pkl next to it is not used"
    assert found.policy.metadata["teacher"]["notes"] == ["vec_normalize.pkl next to it is not used"]


@pytest.mark.parametrize(
    ("name", "config", "told"),
    [
        ("agent.zip", '{"preset": {"normalize": false}}', False),
        ("agent.zip", '{"preset": {"normalize": true}}', True),
        ("agent.zip", '{"preset": {"normalize": "false"}}', None),
        ("agent.zip", '{"preset": []}', None),
        ("agent.zip", "[" * 100_000, None),
        ("agent.zip", "{", None),
        ("other.zip", '{"preset": {"normalize": false}}', None),
    ],
)
def test_a_run_of_prunekit_says_whether_it_normalized(
    name: str, config: str, told: bool | None, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(config)
    assert run_normalizes(tmp_path / name) is told


def test_the_agent_of_a_run_needs_no_option(tmp_path: Path) -> None:
    model = PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8)
    path = tmp_path / "agent.zip"
    model.save(path)
    with pytest.raises(InputError, match="does not say whether its observations were normalized"):
        read_policy(path)
    (tmp_path / "config.json").write_text('{"preset": {"normalize": false}}')
    assert read_policy(path).notes[-1] == "prunekit trained it without a normalizer (config.json)"
    (tmp_path / "config.json").write_text('{"preset": {"normalize": true}}')
    with pytest.raises(InputError, match=r"config\.json next to it says that it was trained with a normalizer"):
        read_policy(path)
