"""``config.json`` of a run to resume: it imports nothing, and what is wrong in it is one line that names the key."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_runs import FITTED, LIMITED, assert_same_tensors, run_until, small_request, tensors_of

from prunekit.errors import ArtifactError, InputError
from prunekit.training.command import TrainOptions, prepare
from prunekit.training.config import check_config, read_config
from prunekit.training.presets import preset_for
from prunekit.training.request import TrainingRequest, request_of
from prunekit.training.run import train

pytestmark = pytest.mark.xdist_group("training_config")

Run = Callable[..., tuple[int, str, str]]

MODULE = """
import pathlib
pathlib.Path(__file__).with_name("IMPORTED").touch()
import gymnasium as gym
if "TrapCart-v0" not in gym.registry:
    gym.register("TrapCart-v0", "gymnasium.envs.classic_control:CartPoleEnv", max_episode_steps=50)
"""


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("config") / "run"
    run_until(small_request("dqn"), folder, 300)
    return folder


@pytest.fixture
def begun(interrupted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(interrupted, tmp_path / "begun"))


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return what a module named ``trapmodule`` writes when it is imported."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "trapmodule.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    monkeypatch.delitem(sys.modules, "trapmodule", raising=False)
    return tmp_path / "modules" / "IMPORTED"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(run: Run, folder: Path, *words: str, options: tuple[object, ...] = ()) -> None:
    before = contents(folder)
    code, out, err = run("train", "--resume", "--out", folder, "-q", *options)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert "internal error" not in err
    assert len(err) < 700
    for word in words:
        assert word in err
    assert contents(folder) == before


def put(folder: Path, key: str, value: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    *path, last = key.split(".")
    place = config
    for name in path:
        place = place[name]
    place[last] = value
    (folder / "config.json").write_text(json.dumps(config))


WRONG: list[tuple[str, Any]] = [
    ("env", "CartPole-v1"),
    ("env.id", 7),
    ("env.id", ""),
    ("env.id", "a" * 201),
    ("env.id", "a\x1b[31m"),
    ("env.id", "\ud800"),
    ("env.kwargs", []),
    ("env.kwargs.entry_point", "trapmodule:Trap"),
    ("env.kwargs.render_mode", ["human"]),
    ("env.kwargs.frame_skip", 10**9),
    ("env.more", 1),
    ("algorithm", "a2c"),
    ("algorithm", ["dqn"]),
    ("algorithm", None),
    ("seed", -1),
    ("seed", "x"),
    ("seed", True),
    ("seed", 1.0),
    ("seed", 2**32),
    ("steps", 0),
    ("steps", 10**30),
    ("steps", 1e3),
    ("hidden", []),
    ("hidden", [10**9, 10**9]),
    ("hidden", [4096] * 100),
    ("hidden", [True]),
    ("hidden", "24,20"),
    ("guard_share", "x"),
    ("guard_share", -1),
    ("live_shrink", 1),
    ("prune_critics", "no"),
    ("checkpoint_every", 0),
    ("preset", None),
    ("preset.steps", -1),
    ("preset.n_envs", 0),
    ("preset.n_envs", 10**6),
    ("preset.normalize", 0),
    ("preset.activation", "eval"),
    ("preset.activation", "torch.nn.Tanh"),
    ("preset.hidden", [0]),
    ("preset.learning_rate_schedule", "lambda x: x"),
    ("preset.model", []),
    ("preset.model.learning_rate", None),
    ("preset.model.learning_rate", "1e-3"),
    ("preset.model.batch_size", -1),
    ("preset.model.buffer_size", 10**12),
    ("preset.model.foo", 1),
    ("preset.model.policy", "trapmodule.Policy"),
    ("preset.model.policy_kwargs", {"activation_fn": "trapmodule.Trap"}),
    ("preset.model.replay_buffer_class", "trapmodule.Trap"),
    ("preset.model.tensorboard_log", "/tmp"),
    ("preset.model.device", "meta"),
    ("preset.model.verbose", 2),
    ("preset.model.gamma", 2),
    ("preset.model.train_freq", [1, "episode"]),
    ("preset.policy.optimizer_class", "trapmodule.Trap"),
    ("preset.policy.features_extractor_class", "trapmodule.Trap"),
    ("preset.policy.net_arch", [10**9]),
    ("preset.more", 1),
    ("plan", "none"),
    ("plan.threshold", 3),
    ("plan.threshold", {}),
    ("plan.threshold", {"sparsity": 0.5, "budget": 0.5}),
    ("plan.threshold.sparsity", 2),
    ("plan.threshold", {"magic": 0.5}),
    ("plan.importance", "trapmodule:importance"),
    ("plan.penalty", "os.system"),
    ("plan.phases", {"start": 0.1}),
    ("plan.phases.start", "x"),
    ("plan.states", 10**12),
    ("plan.memory", None),
    ("plan.max_divergence", 0),
    ("plan.max_divergence", "0.03"),
    ("plan.max_divergence", 1e7),
    ("plan.reconstruction", 0),
    ("plan.reconstruction", 1.5),
    ("plan.reconstruction", 10**9),
    ("plan.more", 1),
    ("versions", 7),
    ("versions.torch", {"a": 1}),
    ("started", 7),
    ("more", {"a": 1}),
]


@pytest.mark.parametrize(("key", "value"), WRONG, ids=[f"{key}={str(value)[:20]!a}" for key, value in WRONG])
def test_a_wrong_value_is_named(key: str, value: Any, run: Run, begun: Path, trap: Path) -> None:
    put(begun, key, value)
    refused(run, begun, str(begun / "config.json"), key, "restore it, or remove the run's folder")
    assert not trap.exists()


@pytest.mark.parametrize("key", ["env", "env.id", "algorithm", "seed", "preset.model.learning_rate", "plan.phases.end"])
def test_a_missing_value_is_named(key: str, run: Run, begun: Path) -> None:
    config = json.loads((begun / "config.json").read_text())
    *path, last = key.split(".")
    place = config
    for name in path:
        place = place[name]
    del place[last]
    (begun / "config.json").write_text(json.dumps(config))
    refused(run, begun, "config.json", f"{key} is missing")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"[" * 100_000, "nests too deeply"),
        (b'{"a":' * 100_000, "nests too deeply"),
        (b'{"seed": 1, "seed": 2}', "the key 'seed' appears twice"),
        (b'{"%s": 1, "%s": 2}' % (b"a" * 5000, b"a" * 5000), f"the key '{'a' * 57}...' appears twice"),
        (b'{"seed": NaN}', "NaN is not a JSON number"),
        (b'{"seed": -Infinity}', "-Infinity is not a JSON number"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "cannot be read"),
        (b" " * 2_000_000, "more than"),
        (b"\xff\xfe", "cannot be read"),
        (b"null", "is not the config of a run"),
        (b"{}", "algorithm is missing"),
    ],
    ids=lambda value: str(value)[:16],
)
def test_json_that_is_not_sound(content: bytes, word: str, run: Run, begun: Path) -> None:
    (begun / "config.json").write_bytes(content)
    refused(run, begun, str(begun / "config.json"), word)


def test_a_number_that_overflows(run: Run, begun: Path) -> None:
    path = begun / "config.json"
    path.write_text(path.read_text().replace('"gamma": 0.99', '"gamma": 1e999'))
    refused(run, begun, "preset.model.gamma must be a number from 0 to 1, not inf")


@pytest.mark.parametrize("name", ["trapmodule:CartPole-v1", "trapmodule:TrapCart-v0", "trapmodule.sub:X-v0", ":X-v0"])
def test_a_config_makes_nothing_import_a_module(name: str, run: Run, begun: Path, trap: Path) -> None:
    put(begun, "env.id", name)
    refused(run, begun, f"env.id is '{name}'", "would import a module", "--env")
    assert not trap.exists()
    refused(run, begun, "env.id differs", options=("--env", "Acrobot-v1"))
    assert not trap.exists()


def test_a_run_in_an_environment_of_a_module_goes_on_with_env(run: Run, tmp_path: Path, trap: Path) -> None:
    words = ("--env", "trapmodule:TrapCart-v0", "--algo", "dqn", "--steps", 700, "--hidden", "8,8", "--dense", "-q")
    assert run("train", *words, "--out", tmp_path / "whole") == (0, "", "")
    assert trap.exists()
    request, _ = prepare(
        TrainOptions(
            env="trapmodule:TrapCart-v0", algo="dqn", steps=700, unpruned=True, hidden="8,8", out=tmp_path / "run"
        )
    )
    run_until(request, tmp_path / "run", 300)
    assert read_config(tmp_path / "run")["env"]["id"] == "TrapCart-v0"
    for stored in ("TrapCart-v0", "trapmodule:TrapCart-v0"):
        folder = shutil.copytree(tmp_path / "run", tmp_path / stored.replace(":", "-"))
        put(folder, "env.id", stored)
        again = ("--env", "trapmodule:TrapCart-v0", "-q")
        assert run("train", "--resume", "--out", folder, *again) == (0, "", "")
        assert_same_tensors(tensors_of(folder), tensors_of(tmp_path / "whole"))


@pytest.mark.parametrize("name", ["ppo", "dqn", "sac", "td3", "guarded"])
@pytest.mark.parametrize(
    "changes",
    [{}, {"plan": None, "guard_share": None}, {"env_kwargs": {"a": 1, "b": None}}, {"plan": LIMITED}, {"plan": FITTED}],
)
def test_what_runs_write_is_taken(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    written = small_request(name, **changes)
    config = {**written.to_dict(), "versions": {"torch": "2"}, "started": "2026-01-01T00:00:00Z"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = request_of(tmp_path)
    assert found.to_dict() == written.to_dict()


def test_a_plan_without_an_option_is_written_as_it_was_before_there_was_one() -> None:
    """Results of sweeps are known by what was asked, and must not be lost."""
    assert "max_divergence" not in small_request("ppo").to_dict()["plan"]
    assert "reconstruction" not in small_request("ppo").to_dict()["plan"]
    assert small_request("ppo", plan=LIMITED).to_dict()["plan"]["max_divergence"] == 1e-7
    assert small_request("ppo", plan=FITTED).to_dict()["plan"]["reconstruction"] == 2


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1", "Hopper-v5", "HalfCheetah-v5", "Walker2d-v5"])
@pytest.mark.parametrize("algorithm", ["ppo", "dqn", "sac", "td3"])
def test_every_preset_is_taken(env_id: str, algorithm: str, tmp_path: Path) -> None:
    config = TrainingRequest(env_id=env_id, algorithm=algorithm, preset=preset_for(env_id, algorithm)).to_dict()
    check_config(json.loads(json.dumps({**config, "versions": {}, "started": "now"})), tmp_path)


def test_names_of_arguments_are_short_enough_to_be_told() -> None:
    config = small_request("dqn", env_kwargs={"a" * 5000: 1}).to_dict()
    with pytest.raises(ArtifactError, match=r"a name in env\.kwargs must be a text of 1 to 200 characters") as refusal:
        check_config({**config, "started": "now", "versions": {}}, Path("config.json"))
    assert len(str(refusal.value)) < 500


def test_text_among_arguments_is_for_python_alone(tmp_path: Path) -> None:
    config = small_request("dqn", env_kwargs={"xml_file": "mine.xml"}).to_dict()
    (tmp_path / "config.json").write_text(json.dumps({**config, "versions": {}, "started": "now"}))
    with pytest.raises(ArtifactError, match=r"env.kwargs.xml_file is text, .* resume such a run from Python"):
        request_of(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 2**32}, "the seed must be"),
        ({"steps": 10**13}, "steps must be at most"),
        ({"hidden": (10**6,)}, "hidden widths must be at most"),
        ({"hidden": (16384, 16384)}, "weights between them"),
        ({"hidden": (8,) * 65}, "65 hidden layers"),
    ],
)
def test_requests_beyond_all_bounds(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        small_request("dqn", **changes)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--seed", 2**32), "--seed"),
        (("--steps", 10**30), "--steps"),
        (("--checkpoint-every", 10**30), "--checkpoint-every"),
        (("--hidden", "1000000000,1000000000"), "--hidden"),
        (("--hidden", "9" * 5000), "--hidden"),
        (("--env", ""), "--env"),
        (("--max-divergence", 0), "--max-divergence must be above 0"),
        (("--max-divergence", "inf"), "--max-divergence"),
        (("--max-divergence", 0.1, "--dense"), "--dense and --max-divergence exclude each other"),
        (("--reconstruction", -1), "--reconstruction must be from 0 to 1000, got -1"),
        (("--reconstruction", 10**9), "--reconstruction must be from 0 to 1000"),
        (("--reconstruction", 5, "--dense"), "--dense and --reconstruction exclude each other"),
    ],
)
def test_options_beyond_all_bounds(options: tuple[object, ...], word: str, run: Run, tmp_path: Path) -> None:
    code, _, err = run("train", *options, "--out", tmp_path / "run", "-q")
    assert (code, err.count("\n")) == (2, 1), err
    assert word in err
    assert len(err) < 700
    assert not (tmp_path / "run").exists()


def test_settings_that_the_library_does_not_take(tmp_path: Path) -> None:
    request = small_request("dqn")
    request.preset.model["foo"] = 1
    with pytest.raises(InputError, match="Stable-Baselines3 does not take the settings"):
        train(request, tmp_path / "run")
    assert not (tmp_path / "run").exists()
