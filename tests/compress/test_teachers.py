"""Teachers: answers of policies from every kind of file, and what is refused."""

from __future__ import annotations

import contextlib
import shutil
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.wrappers import RescaleAction
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import Tensor, nn

from prunekit.compression.read import read_teacher
from prunekit.compression.teacher import Teacher, teacher_of_actor
from prunekit.environments import Spaces, make_environment, spaces_of
from prunekit.errors import ArtifactError, InputError
from prunekit.export.onnx import export_onnx
from prunekit.policy.actor import Actor, Normalizer
from prunekit.policy.artifact import make_artifact, save
from prunekit.policy.heads import ArgmaxHead, ClipHead, Head, TanhHead
from prunekit.readers.policy_file import PolicyOptions
from prunekit.spaces.box import BoxActions
from prunekit.spaces.discrete import DiscreteActions

DISCRETE = Spaces(observation=4, actions=DiscreteActions(count=3, start=2))
CONTINUOUS = Spaces(observation=4, actions=BoxActions(low=(-1.0, -0.5), high=(1.0, 0.5)))
HEADS: dict[str, Head] = {
    "argmax": ArgmaxHead(2),
    "clip": ClipHead(low=(-1.0, -0.5), high=(1.0, 0.5)),
    "tanh": TanhHead(low=(-1.0, -0.5), high=(1.0, 0.5)),
}


def observations(count: int = 50) -> Any:
    return np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32) * 3.0


def mlp(outputs: int) -> nn.Sequential:
    torch.manual_seed(outputs)
    return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, outputs))


def actor_of(head: str) -> tuple[Actor, Spaces]:
    spaces = DISCRETE if head == "argmax" else CONTINUOUS
    return Actor(mlp(spaces.outputs), HEADS[head], Normalizer([0.5] * 4, [2.0] * 4, 3.0)), spaces


def assert_answers(teacher: Teacher, actor: Actor, spaces: Spaces) -> None:
    seen = torch.from_numpy(observations())
    with torch.no_grad():
        expected = (actor.outputs(seen) if spaces is DISCRETE else actor(seen)).double().numpy()
    np.testing.assert_allclose(teacher.responses(observations()), expected, atol=1e-5)
    with torch.no_grad():
        actions = actor(seen).numpy()
    for row, action in zip(observations(), actions, strict=True):
        np.testing.assert_allclose(teacher.act(row), action, atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("form", ["pt", "onnx"])
def test_prunekit_s_own_files(form: str, head: str, tmp_path: Path) -> None:
    actor, spaces = actor_of(head)
    path = tmp_path / f"model.{form}"
    save(make_artifact(actor, None, {}), path) if form == "pt" else export_onnx(actor, path, {})
    teacher = read_teacher(path, spaces)
    assert_answers(teacher, actor, spaces)
    assert teacher.size is not None
    assert teacher.size.hidden == (16, 16)
    assert teacher.size.parameters == sum(parameter.numel() for parameter in actor.network.parameters())


def test_dead_units_of_a_masked_model_do_not_count(tmp_path: Path) -> None:
    actor, spaces = actor_of("argmax")
    keep = torch.arange(16) < 5
    with torch.no_grad():
        for tensor in (actor.network[0].weight, actor.network[0].bias):  # type: ignore[index]
            tensor[~keep] = 0.0
        actor.network[2].weight[:, ~keep] = 0.0  # type: ignore[index]
    save(make_artifact(actor, {"0": keep, "2": torch.ones(16, dtype=torch.bool)}, {}), tmp_path / "model.pt")
    teacher = read_teacher(tmp_path / "model.pt", spaces)
    assert_answers(teacher, actor, spaces)
    assert teacher.size is not None
    assert teacher.size.hidden == (5, 16)


def test_any_callable() -> None:
    teacher = Teacher(name="mine", spaces=CONTINUOUS, respond=lambda seen: seen[:, :2] * 10.0)
    answers = teacher.responses(observations())
    np.testing.assert_allclose(answers, np.clip(observations()[:, :2] * 10.0, [-1.0, -0.5], [1.0, 0.5]))


def test_a_callable_that_tells_only_its_choice() -> None:
    teacher = Teacher(name="mine", spaces=DISCRETE, respond=lambda seen: 2 + np.arange(len(seen)) % 3)
    assert teacher.responses(observations(4)).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert teacher.act(np.zeros(4)) == 2


@pytest.mark.parametrize(
    ("spaces", "answer", "words"),
    [
        (CONTINUOUS, np.array([[0.0, np.nan]]), "mine: the answer to observation .* is not finite"),
        (
            CONTINUOUS,
            np.zeros((1, 3)),
            r"mine: answers 1 observations with float64 of shape \[1, 3\], .* needs .* \[1, 2\]",
        ),
        (CONTINUOUS, np.zeros((1, 2), np.int64), "mine: answers 1 observations with int64"),
        (DISCRETE, np.array([1]), "mine: chooses action 1, not one of 3 from 2"),
        (DISCRETE, np.array([5]), "mine: chooses action 5, not one of 3 from 2"),
    ],
)
def test_answers_that_cannot_be_used(spaces: Spaces, answer: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Teacher(name="mine", spaces=spaces, respond=lambda _: answer).responses(observations(1))


@pytest.mark.parametrize("head", HEADS)
def test_a_policy_of_another_environment(head: str, tmp_path: Path) -> None:
    actor, spaces = actor_of(head)
    save(make_artifact(actor, None, {}), tmp_path / "model.pt")
    export_onnx(actor, tmp_path / "model.onnx", {})
    wider = replace(spaces, observation=7)
    for name in ("model.pt", "model.onnx"):
        with pytest.raises(InputError, match=rf"{name}: .*the environment .*`env`"):
            read_teacher(tmp_path / name, wider)


ALGORITHMS = {
    "ppo": (PPO, "CartPole-v1", {"n_steps": 16, "batch_size": 16}),
    "ppo-continuous": (PPO, "Pendulum-v1", {"n_steps": 16, "batch_size": 16}),
    "a2c": (A2C, "CartPole-v1", {}),
    "dqn": (DQN, "CartPole-v1", {}),
    "sac": (SAC, "Pendulum-v1", {}),
    "td3": (TD3, "Pendulum-v1", {}),
}


@pytest.mark.parametrize("normalized", [False, True], ids=["raw", "normalized"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_stock_zips(name: str, normalized: bool, tmp_path: Path) -> None:
    kind, env_id, options = ALGORITHMS[name]
    env: Any = DummyVecEnv([lambda: make_environment(env_id)])
    env = VecNormalize(env) if normalized else env
    model: Any = kind("MlpPolicy", env, device="cpu", policy_kwargs={"net_arch": [8, 8]}, **options)
    model.learn(64)
    model.save(tmp_path / "agent.zip")
    spaces = spaces_of(make_environment(env_id))
    refusal = r"agent.zip: .*no normalizer is next to it.*`normalizer`.*`normalizer=False`"
    with pytest.raises(InputError, match=refusal):
        read_teacher(tmp_path / "agent.zip", spaces)
    if normalized:
        env.save(str(tmp_path / "vecnormalize.pkl"))
    reading = PolicyOptions() if normalized else PolicyOptions(without_normalizer=True)
    teacher = read_teacher(tmp_path / "agent.zip", spaces, reading)
    raw = np.random.default_rng(1).normal(size=(50, spaces.observation)).astype(np.float32)
    expected, _ = model.predict(env.normalize_obs(raw) if normalized else raw, deterministic=True)
    np.testing.assert_allclose([teacher.act(row) for row in raw], expected, atol=1e-5)


def test_which_normalizer_belongs_to_a_zip(tmp_path: Path) -> None:
    env = VecNormalize(DummyVecEnv([lambda: make_environment("Pendulum-v1")]))
    PPO("MlpPolicy", env, n_steps=16, batch_size=16, device="cpu").save(tmp_path / "agent.zip")
    spaces = spaces_of(make_environment("Pendulum-v1"))
    env.save(str(tmp_path / "mine.pkl"))
    read_teacher(tmp_path / "agent.zip", spaces, PolicyOptions(normalizer=tmp_path / "mine.pkl"))
    with pytest.raises(InputError, match="no such file"):
        read_teacher(tmp_path / "agent.zip", spaces, PolicyOptions(normalizer=tmp_path / "other.pkl"))
    for name in ("vec_normalize.pkl", "agent_vecnormalize.pkl"):
        shutil.copy(tmp_path / "mine.pkl", tmp_path / name)
    with pytest.raises(InputError, match="several files next to it"):
        read_teacher(tmp_path / "agent.zip", spaces)
    other = VecNormalize(DummyVecEnv([lambda: make_environment("CartPole-v1")]))
    other.save(str(tmp_path / "mine.pkl"))
    with pytest.raises(
        InputError, match=r"mine\.pkl: is for 4 values.* reads 3; .*`normalizer`, or `normalizer=False`"
    ):
        read_teacher(tmp_path / "agent.zip", spaces, PolicyOptions(normalizer=tmp_path / "mine.pkl"))
    with pytest.raises(InputError, match="exclude each other"):
        PolicyOptions(normalizer=tmp_path / "mine.pkl", without_normalizer=True)


class CleanRL(nn.Module):
    """An actor in the style of single-file implementations: normalizer inside, mean action out."""

    def __init__(self, spaces: Spaces) -> None:
        super().__init__()
        self.actor_mean = mlp(spaces.outputs)
        self.register_buffer("mean", torch.full((4,), 0.5))
        self.register_buffer("variance", torch.full((4,), 0.25))
        self.discrete = spaces is DISCRETE

    def forward(self, seen: Tensor) -> Tensor:
        assert isinstance(self.mean, Tensor)
        assert isinstance(self.variance, Tensor)
        normalized = torch.clamp((seen - self.mean) / torch.sqrt(self.variance), -3.0, 3.0)
        scores: Tensor = self.actor_mean(normalized)
        return scores.argmax(1) + 2 if self.discrete else scores


def scripted(module: nn.Module, path: Path, traced: bool = False) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        compiled: Any = torch.jit.trace(module, torch.zeros(2, 4)) if traced else torch.jit.script(module)
        compiled.save(str(path))
    return path


@pytest.mark.parametrize("traced", [False, True], ids=["scripted", "traced"])
@pytest.mark.parametrize("spaces", [DISCRETE, CONTINUOUS], ids=["discrete", "continuous"])
@pytest.mark.parametrize("suffix", [".pt", ".ts"])
def test_torchscript(suffix: str, spaces: Spaces, traced: bool, tmp_path: Path) -> None:
    module = CleanRL(spaces)
    teacher = read_teacher(scripted(module, tmp_path / f"policy{suffix}", traced), spaces)
    with torch.no_grad():
        expected = module(torch.from_numpy(observations())).numpy()
    if spaces is CONTINUOUS:
        np.testing.assert_allclose(teacher.responses(observations()), np.clip(expected, [-1.0, -0.5], [1.0, 0.5]))
    else:
        assert (teacher.responses(observations()).argmax(1) + 2).tolist() == expected.tolist()
    assert teacher.size is not None
    assert teacher.size.parameters == sum(parameter.numel() for parameter in module.parameters())


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, seen: Tensor) -> Tensor:
        result: Tensor = self.layer(seen)
        return result


class Reader(nn.Module):
    def forward(self, seen: Tensor) -> Tensor:
        return torch.from_file("/etc/hostname", False, 2, dtype=torch.float32) + seen[:, :2]


class Saver(nn.Module):
    @torch.jit.export
    def __getstate__(self) -> int:
        return 1

    @torch.jit.export
    def __setstate__(self, state: int) -> None:
        self.training = state > 0

    def forward(self, seen: Tensor) -> Tensor:
        return seen[:, :2]


@pytest.mark.parametrize(
    ("kind", "words"),
    [(Reader, "calls 'torch.from_file'"), (Saver, "defines '__setstate__'")],
    ids=["file", "loading"],
)
def test_torchscript_that_is_no_arithmetic_is_not_loaded(
    kind: type[nn.Module], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = scripted(kind(), tmp_path / "policy.pt")
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(ArtifactError, match=words):
        read_teacher(path, CONTINUOUS)


def rewritten(path: Path, target: Path, code: str, name: str = "{}", first: bool = False) -> Path:
    """Write the archive at ``path`` anew: its main code says ``code``, under a name made of the old one."""
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(target, "w") as other:
        for entry in archive.infolist():
            if entry.filename == code_name(archive):
                other.writestr(name.format(entry.filename), code)
                if first:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        other.writestr(entry.filename, archive.read(entry))
            else:
                other.writestr(entry.filename, archive.read(entry))
    return target


def code_name(archive: zipfile.ZipFile) -> str:
    """Return the entry that says what ``Plain`` does."""
    return next(name for name in archive.namelist() if name.endswith(".py") and b"class Plain" in archive.read(name))


def code_of(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        return archive.read(code_name(archive)).decode()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ("    _9 = ops.aten.save(seen, '{}')\n", "names 'ops'|calls 'ops"),
        ("    annotate = ops.aten.save\n    _9 = annotate(seen, '{}')\n", "redefines 'annotate'|names 'ops'"),
        ("    torch = ops.aten\n    _9 = torch.save(seen, '{}')\n", "redefines 'torch'|names 'ops'|calls"),
        ("    _9 = __torch__.torch.save(seen, '{}')\n", "calls"),
        ("    _9 = torch.from_file('{}', True, 2)\n", "calls 'torch.from_file'"),
    ],
    ids=["own name", "conversion", "torch", "qualified", "plain"],
)
def test_torchscript_that_gives_names_another_meaning(changed: str, words: str, tmp_path: Path) -> None:
    path = scripted(Plain(), tmp_path / "policy.pt")
    victim = tmp_path / "victim"
    own = "  def save(self, seen: Tensor) -> Tensor:\n    return seen\n"
    lines = code_of(path).splitlines(keepends=True)
    at = next(index for index, line in enumerate(lines) if line.strip().startswith("return"))
    code = "".join([*lines[:at], changed.format(victim), *lines[at:], own])
    with pytest.raises(ArtifactError, match=words):
        read_teacher(rewritten(path, tmp_path / "other.pt", code), CONTINUOUS)
    assert not victim.exists()


@pytest.mark.parametrize("trick", ["capital name", "two entries", "encoding"])
def test_torchscript_whose_code_is_not_what_is_read(trick: str, tmp_path: Path) -> None:
    path = scripted(Plain(), tmp_path / "policy.pt")
    victim = tmp_path / "victim"
    lines = code_of(path).splitlines(keepends=True)
    at = next(index for index, line in enumerate(lines) if line.strip().startswith("return"))
    call = f"torch.from_file('{victim}', True, 2)"
    bad = "".join([*lines[:at], f"    _9 = {call}\n", *lines[at:]])
    if trick == "capital name":
        other = rewritten(path, tmp_path / "other.pt", bad, name="{}X")
        with zipfile.ZipFile(other) as archive, zipfile.ZipFile(tmp_path / "last.pt", "w") as last:
            for entry in archive.infolist():
                last.writestr(entry.filename.replace(".pyX", ".PY"), archive.read(entry))
        other = tmp_path / "last.pt"
    elif trick == "two entries":
        other = rewritten(path, tmp_path / "other.pt", bad, first=True)
    else:
        hidden = f"    _9 = 1 +ACM- {call}\n"
        other = rewritten(
            path, tmp_path / "other.pt", "# coding: utf-7\n" + "".join([*lines[:at], hidden, *lines[at:]])
        )
    with pytest.raises(ArtifactError, match=r"\.pt: .*(not loaded|cannot be read|its TorchScript has)"):
        read_teacher(other, CONTINUOUS)
    assert not victim.exists()


@pytest.mark.parametrize("place", range(0, 40, 4))
def test_damaged_archives_are_refused_in_one_line(place: int, tmp_path: Path) -> None:
    path = scripted(Plain(), tmp_path / "policy.pt")
    content = bytearray(path.read_bytes())
    content[-200 + 5 * place] ^= 0xFF
    path.write_bytes(bytes(content))
    with contextlib.suppress(ArtifactError):  # any other error is a fault; a byte that nobody reads is none
        read_teacher(path, CONTINUOUS)


def test_a_half_precision_policy(tmp_path: Path) -> None:
    teacher = read_teacher(scripted(Plain().bfloat16(), tmp_path / "policy.pt"), CONTINUOUS)
    assert teacher.responses(observations()).shape == (50, 2)


def test_damaged_torchscript(tmp_path: Path) -> None:
    path = scripted(CleanRL(CONTINUOUS), tmp_path / "policy.pt")
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / "other.pt", "w") as other:
        for entry in archive.infolist():
            if not entry.filename.endswith("data.pkl"):
                other.writestr(entry, archive.read(entry))
    with pytest.raises(ArtifactError, match=r"other\.pt: is damaged"):
        read_teacher(tmp_path / "other.pt", CONTINUOUS)


def test_torchscript_of_another_environment(tmp_path: Path) -> None:
    path = scripted(CleanRL(CONTINUOUS), tmp_path / "policy.pt")
    maps = "policy.pt: maps 4 values to 2, but the environment has observations of"
    with pytest.raises(InputError, match=f"{maps} 7 values and actions of 2; give the teacher's own .* with `env`"):
        read_teacher(path, Spaces(observation=7, actions=BoxActions(low=(-1.0, -0.5), high=(1.0, 0.5))))
    with pytest.raises(InputError, match=f"{maps} 4 values and actions of 3"):
        read_teacher(path, Spaces(observation=4, actions=BoxActions(low=(-1.0,) * 3, high=(1.0,) * 3)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("spaces", [DISCRETE, CONTINUOUS], ids=["discrete", "continuous"])
@pytest.mark.parametrize("batched", [True, False])
def test_onnx_by_torch_s_own_exporter(spaces: Spaces, batched: bool, tmp_path: Path) -> None:
    module, path = CleanRL(spaces).eval(), tmp_path / "policy.onnx"
    shapes = {"seen": {0: torch.export.Dim("batch")}} if batched else None
    rows = 2 if batched else 1
    torch.onnx.export(module, (torch.zeros(rows, 4),), path, dynamo=True, dynamic_shapes=shapes, verbose=False)
    teacher = read_teacher(path, spaces)
    with torch.no_grad():
        expected = module(torch.from_numpy(observations())).numpy()
    if spaces is CONTINUOUS:
        bounded = np.clip(expected, [-1.0, -0.5], [1.0, 0.5])
        np.testing.assert_allclose(teacher.responses(observations()), bounded, atol=1e-5)
    else:
        assert (teacher.responses(observations()).argmax(1) + 2).tolist() == expected.tolist()


class Several(nn.Module):
    """What SB3's documentation exports: action, value and log-probability."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.deviation = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean(seen), self.deviation(seen)


@pytest.mark.filterwarnings("ignore")
def test_the_decision_among_several_outputs_is_asked_for(tmp_path: Path) -> None:
    module, path = Several().eval(), tmp_path / "policy.onnx"
    names = {"input_names": ["obs"], "output_names": ["mean", "deviation"]}
    torch.onnx.export(module, (torch.zeros(1, 4),), path, dynamo=True, verbose=False, **names)
    with pytest.raises(
        InputError, match=r"several outputs could be .* \(mean \[1, 2\], deviation \[1, 2\]\).*`output`"
    ):
        read_teacher(path, CONTINUOUS)
    with pytest.raises(InputError, match="has no output 'action'; `output` names one of mean, deviation"):
        read_teacher(path, CONTINUOUS, PolicyOptions(output="action"))
    teacher = read_teacher(path, CONTINUOUS, PolicyOptions(output="mean"))
    with torch.no_grad():
        expected = module(torch.from_numpy(observations()))[0].numpy()
    np.testing.assert_allclose(teacher.responses(observations()), np.clip(expected, [-1, -0.5], [1, 0.5]), atol=1e-5)


def test_options_of_other_files_are_refused(tmp_path: Path) -> None:
    actor, spaces = actor_of("clip")
    save(make_artifact(actor, None, {}), tmp_path / "model.pt")
    with pytest.raises(InputError, match="`normalizer=False` is for zips"):
        read_teacher(tmp_path / "model.pt", spaces, PolicyOptions(without_normalizer=True))
    with pytest.raises(InputError, match="`output` is for ONNX"):
        read_teacher(tmp_path / "model.pt", spaces, PolicyOptions(output="action"))
    with zipfile.ZipFile(tmp_path / "agent.zip", "w") as archive:
        archive.writestr("policy.pth", b"")
    with pytest.raises(InputError, match=r"agent\.zip: `output` is for ONNX"):
        read_teacher(tmp_path / "agent.zip", spaces, PolicyOptions(without_normalizer=True, output="action"))


@pytest.mark.parametrize("name", ["model.txt", "model.pt", "model.onnx", "model.zip"])
def test_files_that_are_no_policy(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("nothing")
    with pytest.raises(ArtifactError, match=name):
        read_teacher(tmp_path / name, CONTINUOUS, PolicyOptions(without_normalizer=name == "model.zip"))
    with pytest.raises(ArtifactError, match="no such file"):
        read_teacher(tmp_path / f"no-{name}", CONTINUOUS)


def test_an_actor_of_its_own() -> None:
    actor, spaces = actor_of("tanh")
    assert_answers(teacher_of_actor(actor, "mine", spaces), actor, spaces)


def test_a_zip_in_other_bounds_is_rescaled_and_says_so(tmp_path: Path) -> None:
    env = RescaleAction(make_environment("Pendulum-v1"), np.float32([-1.0]), np.float32([1.0]))
    model = SAC("MlpPolicy", env, device="cpu", policy_kwargs={"net_arch": [4]}, buffer_size=10)
    model.save(tmp_path / "agent.zip")
    teacher = read_teacher(tmp_path / "agent.zip", spaces_of(env.unwrapped), PolicyOptions(without_normalizer=True))
    (note,) = teacher.notes
    assert "[-1, 1], but that of the given environment within [-2, 2]: rescaled" in note
    seen = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    np.testing.assert_allclose(teacher.responses(seen), 2.0 * model.predict(seen, deterministic=True)[0], atol=1e-5)
