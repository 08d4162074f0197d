"""Sound files of every kind that prunekit reads, small, and the same bytes every time that they are made."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from onnx import TensorProto, helper, numpy_helper
from sb3_contrib import ARS, QRDQN, CrossQ
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import Tensor, nn

from fuzzing.sbx_zips import dense, write_zip
from fuzzing.weights import sound_weights
from fuzzing.zips import archive_of, entries_of
from prunekit.environments import Spaces, make_environment
from prunekit.export.onnx import to_onnx
from prunekit.policy.actor import Actor, Normalizer
from prunekit.policy.artifact import make_artifact, save
from prunekit.policy.graphs import graph_of
from prunekit.policy.heads import ArgmaxHead, Head, head_of
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.schedules import Phases, Sparsity
from prunekit.spaces.box import BoxActions
from prunekit.spaces.discrete import DiscreteActions
from prunekit.training.presets import preset_for
from prunekit.training.request import TrainingRequest
from prunekit.training.run import train
from prunekit.training.status import Status

DISCRETE = Spaces(observation=4, actions=DiscreteActions(count=2))
CONTINUOUS = Spaces(observation=3, actions=BoxActions(low=(-2.0,), high=(2.0,)))
_TWO = Spaces(observation=4, actions=BoxActions(low=(-1.0, -1.0), high=(1.0, 1.0)))
_NAMES = {True: "CartPole-v1", False: "Pendulum-v1"}


@dataclass(frozen=True, kw_only=True)
class Sound:
    """A sound file: its kind, the files around it by relative path, the one among them to damage, and its spaces.

    ``form`` says of which container it is, where its kind does not.
    """

    kind: str
    name: str
    files: dict[str, bytes]
    subject: str
    spaces: Spaces
    form: str = ""

    @property
    def container(self) -> str:
        """What its mutations know of it."""
        return self.form or self.kind

    @property
    def content(self) -> bytes:
        """What is damaged."""
        return self.files[self.subject]


def make_sound_files(path: Path) -> list[Sound]:
    """Return the sound files, made once and kept in ``path``, which only this program writes."""
    if path.is_file():
        return list(pickle.loads(path.read_bytes()))
    found = list(_all())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(found))
    return found


def _all() -> Iterator[Sound]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TorchScript and of torch's older exporter, as a whole
        yield from _prunekit()
        yield from _torchscript()
        yield from _foreign_onnx()
        yield from _stable_baselines()
        yield from _sbx()
        yield from _runs()
        for kind, form, name, content in sound_weights():
            yield Sound(kind=kind, name=name, files={"file.bin": content}, subject="file.bin", spaces=_TWO, form=form)


def _network(spaces: Spaces, activation: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    torch.manual_seed(spaces.outputs)
    return nn.Sequential(
        nn.Linear(spaces.observation, 8), activation(), nn.Linear(8, 6), activation(), nn.Linear(6, spaces.outputs)
    )


def _prunekit() -> Iterator[Sound]:
    heads: dict[str, tuple[Spaces, Head]] = {
        "argmax": (DISCRETE, ArgmaxHead()),
        "clip": (CONTINUOUS, head_of(CONTINUOUS.actions)),
        "tanh": (CONTINUOUS, head_of(CONTINUOUS.actions.squashed())),
    }
    for name, (spaces, head) in heads.items():
        normalizer = Normalizer([0.5] * spaces.observation, [2.0] * spaces.observation, 5.0) if name != "tanh" else None
        actor = Actor(_network(spaces, nn.ELU if name == "clip" else nn.Tanh), head, normalizer)
        masks = {"0": torch.arange(8) < 6, "2": torch.ones(6, dtype=torch.bool)} if name == "argmax" else None
        provenance = {
            "env": {"id": _NAMES[spaces is DISCRETE], "kwargs": {}},
            "algorithm": "ppo",
            "seed": 3,
            "returns": {"training_mean": 12.5, "random_mean": None},
            "versions": {"torch": "2"},
        }
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.pt"
            save(make_artifact(actor, masks, provenance), path)
            yield Sound(
                kind="model", name=name, files={"model.pt": path.read_bytes()}, subject="model.pt", spaces=spaces
            )
        yield Sound(
            kind="onnx",
            name=name,
            files={"model.onnx": to_onnx(graph_of(actor), provenance)},
            subject="model.onnx",
            spaces=spaces,
        )


class _Normalizing(nn.Module):
    def __init__(self, spaces: Spaces) -> None:
        super().__init__()
        self.actor = _network(spaces)
        self.mean = nn.Buffer(torch.full((spaces.observation,), 0.5))
        self.discrete = spaces is DISCRETE

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.actor(torch.clamp((x - self.mean) / 2.0, -5.0, 5.0))
        if self.discrete:
            return scores.argmax(1)
        return scores


class _Branching(nn.Module):
    def __init__(self, spaces: Spaces) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(spaces.observation, 8), nn.Linear(8, spaces.outputs)])
        self.norm = nn.LayerNorm(8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.dim() == 1:
            x = x.unsqueeze(0)
        hidden = torch.relu(self.norm(self.layers[0](x)))
        scores = self.layers[1](hidden)
        return scores, torch.softmax(scores, -1)


class _Remembering(nn.Module):
    """Keeps its state in buffers, as recurrent policies of robots do."""

    def __init__(self, spaces: Spaces) -> None:
        super().__init__()
        self.memory = nn.LSTM(spaces.observation, 5)
        self.last = nn.Linear(5, spaces.outputs)
        self.hidden_state = nn.Buffer(torch.zeros(1, 1, 5))
        self.cell_state = nn.Buffer(torch.zeros(1, 1, 5))

    def forward(self, x: Tensor) -> Tensor:
        out, (h, c) = self.memory(x.unsqueeze(0), (self.hidden_state, self.cell_state))
        self.hidden_state[:] = h
        self.cell_state[:] = c
        result: Tensor = self.last(out.squeeze(0))
        return result


def _torchscript() -> Iterator[Sound]:
    plain, normalizing, branching = _network(DISCRETE), _Normalizing(DISCRETE), _Branching(CONTINUOUS)
    made: dict[str, tuple[Any, Spaces]] = {
        "traced": (torch.jit.trace(plain, torch.zeros(2, 4)), DISCRETE),  # type: ignore[no-untyped-call]
        "scripted": (torch.jit.script(normalizing), DISCRETE),
        "frozen": (torch.jit.freeze(torch.jit.script(normalizing.eval())), DISCRETE),
        "branching": (torch.jit.script(branching), CONTINUOUS),
        "recurrent": (torch.jit.script(_Remembering(CONTINUOUS).eval()), CONTINUOUS),
    }
    for name, (module, spaces) in made.items():
        buffer = io.BytesIO()
        torch.jit.save(module, buffer)
        subject = "model.ts" if name == "traced" else "model.pt"
        yield Sound(
            kind="torchscript",
            name=name,
            files={subject: archive_of(entries_of(buffer.getvalue()))},
            subject=subject,
            spaces=spaces,
        )


def _foreign_onnx() -> Iterator[Sound]:
    buffer: Any = io.BytesIO()
    torch.onnx.export(
        _network(CONTINUOUS), (torch.zeros(1, 3),), buffer, dynamo=False, input_names=["obs"], output_names=["action"],
        dynamic_axes={"obs": {0: "batch"}},
    )  # fmt: skip
    yield Sound(
        kind="onnx", name="torch", files={"model.onnx": buffer.getvalue()}, subject="model.onnx", spaces=CONTINUOUS
    )
    for name, model in (("lstm", _lstm()), ("several outputs", _several()), ("conditional", _conditional())):
        yield Sound(
            kind="onnx",
            name=name,
            files={"model.onnx": model.SerializeToString()},
            subject="model.onnx",
            spaces=DISCRETE,
        )
    model = _several()
    weights = b""
    for tensor in model.graph.initializer:
        tensor.data_location = TensorProto.EXTERNAL
        for key, entry in (("location", "weights.bin"), ("offset", len(weights)), ("length", len(tensor.raw_data))):
            tensor.external_data.add(key=key, value=str(entry))
        weights += tensor.raw_data
        tensor.ClearField("raw_data")
    files = {"model.onnx": model.SerializeToString(), "weights.bin": weights}
    yield Sound(kind="onnx", name="external data", files=files, subject="model.onnx", spaces=DISCRETE)


def _constants(shapes: dict[str, tuple[int, ...]]) -> list[Any]:
    generator = np.random.default_rng(0)
    return [
        numpy_helper.from_array(generator.normal(size=shape).astype(np.float32), name) for name, shape in shapes.items()
    ]


def _model(nodes: list[Any], outputs: list[Any], constants: list[Any]) -> Any:
    source = helper.make_tensor_value_info("obs", TensorProto.FLOAT, ["batch", 4])
    graph = helper.make_graph(nodes, "policy", [source], outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _output(name: str, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, None)


def _lstm() -> Any:
    node = helper.make_node
    constants = _constants({"w": (1, 20, 4), "r": (1, 20, 5), "b": (1, 40), "out": (5, 2)})
    constants.append(numpy_helper.from_array(np.array([0], np.int64), "axis"))
    nodes = [
        node("Unsqueeze", ["obs", "axis"], ["sequence"]),
        node("LSTM", ["sequence", "w", "r", "b"], ["y", "h", "c"], hidden_size=5),
        node("Squeeze", ["h", "axis"], ["last"]),
        node("MatMul", ["last", "out"], ["action"]),
    ]
    return _model(nodes, [_output("action")], constants)


def _several() -> Any:
    node = helper.make_node
    constants = _constants({"w0": (8, 4), "b0": (8,), "w1": (8, 2), "value": (8, 1)})
    nodes = [
        node("Gemm", ["obs", "w0", "b0"], ["h"], transB=1),
        node("Relu", ["h"], ["r"]),
        node("MatMul", ["r", "w1"], ["scores"]),
        node("MatMul", ["r", "value"], ["value_out"]),
        node("ArgMax", ["scores"], ["action"], axis=1, keepdims=0),
    ]
    return _model(nodes, [_output("action", TensorProto.INT64), _output("scores"), _output("value_out")], constants)


def _conditional() -> Any:
    node = helper.make_node
    constants = _constants({"w": (4, 2)})
    constants.append(numpy_helper.from_array(np.array(True), "yes"))
    branches = [
        helper.make_graph([node(name, ["obs", "w"], [name])], name, [], [_output(name)]) for name in ("MatMul", "Gemm")
    ]
    nodes = [node("If", ["yes"], ["action"], then_branch=branches[0], else_branch=branches[1])]
    return _model(nodes, [_output("action")], constants)


def _stable_baselines() -> Iterator[Sound]:
    kinds: dict[str, tuple[Any, bool, dict[str, Any]]] = {
        "ppo": (PPO, True, {"n_steps": 16, "batch_size": 16}),
        "ppo continuous": (PPO, False, {"n_steps": 16, "batch_size": 16, "policy_kwargs": {"net_arch": [6]}}),
        "a2c": (A2C, True, {}),
        "dqn": (DQN, True, {"buffer_size": 10}),
        "sac": (SAC, False, {"buffer_size": 10}),
        "td3": (TD3, False, {"buffer_size": 10}),
        "sac gsde": (SAC, False, {"buffer_size": 10, "use_sde": True}),
        "crossq": (CrossQ, False, {"buffer_size": 10}),
        "qrdqn": (QRDQN, True, {"buffer_size": 10, "policy_kwargs": {"net_arch": [8], "n_quantiles": 3}}),
        "ars": (ARS, False, {}),
    }
    for name, (kind, discrete, options) in kinds.items():
        model = kind(
            "MlpPolicy", _environment(discrete), device="cpu", seed=1, **{"policy_kwargs": {"net_arch": [8]}, **options}
        )
        model.start_time = 0
        buffer = io.BytesIO()
        model.save(buffer)
        spaces = DISCRETE if discrete else CONTINUOUS
        files = {"agent.zip": archive_of(entries_of(buffer.getvalue()))}
        yield Sound(kind="sb3", name=name, files=files, subject="agent.zip", spaces=spaces)
        if name in ("ppo", "sac"):
            yield Sound(
                kind="sb3",
                name=f"{name} of old",
                files={"agent.zip": _aged(buffer.getvalue(), model)},
                subject="agent.zip",
                spaces=spaces,
            )
    for discrete in (True, False):
        environment = VecNormalize(_environment(discrete))
        environment.seed(1)
        environment.reset()
        with tempfile.TemporaryDirectory() as folder:
            environment.save(f"{folder}/statistics")
            content = (Path(folder) / "statistics").read_bytes()
        spaces = DISCRETE if discrete else CONTINUOUS
        name = "vec_normalize.pkl"
        yield Sound(kind="statistics", name=_NAMES[discrete], files={name: content}, subject=name, spaces=spaces)


def _sbx() -> Iterator[Sound]:
    """Zips as SBX writes them, with one layer each and the spread's."""
    seen, bounds = Box(-9.0, 9.0, (3,)), Box(-2.0, 2.0, (1,))
    for name in ("sac", "td3", "crossq"):
        generator = np.random.default_rng(1)
        layers = {"Dense_0": dense(generator, 3, 5), "Dense_1": dense(generator, 5, 1)}
        layers |= {} if name == "td3" else {"Dense_2": dense(generator, 5, 1)}
        norms = {f"BatchRenorm_{at}": {"scale": np.ones(n), "bias": np.zeros(n)} for at, n in ((0, 3), (1, 5))}
        running = {f"BatchRenorm_{at}": {"mean": np.zeros(n), "var": np.ones(n)} for at, n in ((0, 3), (1, 5))}
        more: dict[str, Any] = {"statistics": running, "use_batch_norm": True} if name == "crossq" else {}
        with tempfile.TemporaryDirectory() as folder:
            params = {**layers, **norms} if more else layers
            path = write_zip(Path(folder) / "agent.zip", name, params, seen, bounds, **more)
            content = archive_of(entries_of(path.read_bytes()))
        yield Sound(kind="sbx", name=name, files={"agent.zip": content}, subject="agent.zip", spaces=CONTINUOUS)


def _aged(content: bytes, model: Any) -> bytes:
    """Return the zip with its weights as torch wrote them before 1.6, and no version."""
    old = io.BytesIO()
    torch.save(model.policy.state_dict(), old, _use_new_zipfile_serialization=False)
    entries = [entry for entry in entries_of(content) if entry.name != b"_stable_baselines3_version"]
    return archive_of([replace(e, content=old.getvalue()) if e.name == b"policy.pth" else e for e in entries])


def _environment(discrete: bool) -> DummyVecEnv:
    return DummyVecEnv([lambda: make_environment(_NAMES[discrete])])


class _StopError(Exception):
    """The run has a checkpoint."""


class _StopAt:
    def __init__(self, step: int) -> None:
        self.step = step

    def update(self, status: Status) -> None:
        if status.steps >= self.step:
            raise _StopError


def _runs() -> Iterator[Sound]:
    off_policy = {"learning_starts": 32, "batch_size": 8, "train_freq": 4, "gradient_steps": 1, "buffer_size": 40}
    settings: dict[str, tuple[str, dict[str, Any]]] = {
        "ppo": ("CartPole-v1", {"n_steps": 16, "batch_size": 16, "n_epochs": 1}),
        "dqn": ("CartPole-v1", {**off_policy, "target_update_interval": 16, "exploration_fraction": 1.0}),
    }
    plan = PruningPlan(threshold=Sparsity(0.5), phases=Phases(start=0.2, end=0.7), checks=4, patience=1, states=64)
    for name, (env_id, changes) in settings.items():
        preset = preset_for(env_id, name)
        preset = replace(preset, n_envs=1, hidden=(6, 5), model={**preset.model, **changes})
        request = TrainingRequest(
            env_id=env_id, algorithm=name, preset=preset, seed=3, steps=256, plan=plan, checkpoint_steps=32
        )
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent) / "run"
            with contextlib.suppress(_StopError):
                train(request, folder, [_StopAt(200)])
            config = json.loads((folder / "config.json").read_text())
            config["started"] = "2026-01-01T00:00:00Z"
            path = max((folder / "checkpoint").glob("*.pt"))
            checkpoint = torch.load(path, weights_only=True)
            checkpoint["records"]["seconds"] = 1.0
            buffer = io.BytesIO()
            torch.save(checkpoint, buffer)
            saved = f"run/checkpoint/{path.name}"
        files = {"run/config.json": json.dumps(config).encode(), saved: buffer.getvalue()}
        yield Sound(kind="checkpoint", name=name, files=files, subject=saved, spaces=DISCRETE)
        yield Sound(kind="config", name=name, files=files, subject="run/config.json", spaces=DISCRETE)
        yield Sound(
            kind="config",
            name=f"{name}, no checkpoint",
            files={"run/config.json": files["run/config.json"]},
            subject="run/config.json",
            spaces=DISCRETE,
        )
