"""Zips as Stable-Baselines3 1.x and 0.x wrote them, made by hand from those of today: gym spaces, old torch files."""

from __future__ import annotations

import base64
import io
import json
import pickle
import pickletools
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_zips import (
    Odd,
    acted,
    assert_acts_alike,
    assert_refused,
    entry,
    flat,
    odd_ppo,
    saved,
    spread_out_,
    torch_saved,
)
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn

from prunekit.formats.torch_file import read_torch
from prunekit.ops.argmax import Argmax
from prunekit.readers.sb3.graph import read_zip

BOX = spaces.Box(np.float32([-2.0, 0.05]), np.float32([2.0, 0.5]))
SMALL: dict[str, Any] = {"net_arch": [8, 5]}
BUFFER: dict[str, Any] = {"buffer_size": 20}
ROLLOUT: dict[str, Any] = {"n_steps": 8}
MODELS: dict[str, tuple[type[BaseAlgorithm], spaces.Space[Any], dict[str, Any], dict[str, Any]]] = {
    "PPO": (PPO, BOX, SMALL, {**ROLLOUT, "batch_size": 8}),
    "PPO, switches": (PPO, spaces.MultiBinary(3), SMALL, {**ROLLOUT, "batch_size": 8}),
    "PPO, several": (PPO, spaces.MultiDiscrete([3, 2]), SMALL, {**ROLLOUT, "batch_size": 8}),
    "A2C, gSDE, squashed": (A2C, BOX, {**SMALL, "squash_output": True}, {**ROLLOUT, "use_sde": True}),
    "DQN": (DQN, spaces.Discrete(3), SMALL, BUFFER),
    "SAC": (SAC, BOX, SMALL, BUFFER),
    "SAC, gSDE": (SAC, BOX, SMALL, {**BUFFER, "use_sde": True}),
    "TD3": (TD3, BOX, SMALL, BUFFER),
    "DDPG": (DDPG, BOX, SMALL, BUFFER),
}


def model_of(name: str) -> BaseAlgorithm:
    algorithm, actions, options, others = MODELS[name]
    model = algorithm("MlpPolicy", Odd(flat(), actions), policy_kwargs=dict(options), device="cpu", **others)
    spread_out_(model, 0.5)
    return model


def old_space(space: spaces.Space[Any], said: dict[str, Any]) -> dict[str, Any]:
    """Return what SB3 1.x wrote of a space of gym 0.21."""
    names = {"_shape": "shape"}
    kept = {names.get(name, name): value for name, value in said.items() if not name.endswith(("_repr", "start"))}
    kept[":type:"] = said[":type:"].replace("gymnasium", "gym")
    content = pickle.dumps(space, 2).replace(b"cgymnasium.spaces", b"cgym.spaces")
    assert b"gymnasium" not in content
    kept[":serialized:"] = base64.b64encode(content).decode()
    if "n" in kept:
        kept["n"] = int(kept["n"])
    return kept


def aged(path: Path, model: Any, version: bytes | None, *, legacy: bool = True) -> Path:
    """Return a copy of the zip as an older library wrote it."""
    data = json.loads(entry(path, "data"))
    for name in ("observation_space", "action_space"):
        data[name] = old_space(getattr(model, name), data[name])
    state = torch.load(io.BytesIO(entry(path, "policy.pth")), weights_only=True)
    old = path.with_name("old.zip")
    with zipfile.ZipFile(old, "w") as archive:
        archive.writestr("data", json.dumps(data))
        archive.writestr("tensors.pth" if version is None else "pytorch_variables.pth", torch_saved({}))
        archive.writestr("policy.pth", torch_saved(state, _use_new_zipfile_serialization=not legacy))
        if version is not None:
            archive.writestr("_stable_baselines3_version", version)
    return old


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("version", [b"1.0rc0", b"1.8.0", None])
def test_old_zips_act_as_their_models_do(name: str, version: bytes | None, tmp_path: Path) -> None:
    model = model_of(name)
    found = read_zip(aged(saved(model, tmp_path), model, version, legacy=version != b"1.8.0"))
    assert_acts_alike(found.graph, model)
    told = "" if version is None else f" {version.decode()}"
    assert found.recognised.startswith(f"zip of Stable-Baselines3{told}, {name.split(',')[0]}, 4-8-5-")
    assert any("version is not in the file" in note for note in found.notes) == (version is None)
    assert any("gSDE: the mean action" in note for note in found.notes) == ("gSDE" in name)


@pytest.mark.parametrize("name", ["PPO", "PPO, several", "DQN", "SAC, gSDE"])
def test_the_text_of_old_spaces_is_enough(name: str, tmp_path: Path) -> None:
    """Bounds with few digits, as here but one, are exact in it."""
    model = model_of(name)
    if name in ("PPO", "SAC, gSDE"):
        model.action_space = spaces.Box(np.float32([-2.0, 0.25]), np.float32([2.0, 0.5]))
        model.policy.action_space = model.action_space
    path = aged(saved(model, tmp_path), model, b"1.3.0")
    data = json.loads(entry(path, "data"))
    for space in ("observation_space", "action_space"):
        del data[space][":serialized:"]
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "text.zip", "w") as new:
        for entry_name in old.namelist():
            new.writestr(entry_name, json.dumps(data) if entry_name == "data" else old.read(entry_name))
    assert_acts_alike(read_zip(tmp_path / "text.zip").graph, model)


@pytest.mark.parametrize("apart", [0, 1, 2])
@pytest.mark.parametrize("shared", [1, 2])
def test_layers_that_actor_and_critic_share_come_first(shared: int, apart: int, tmp_path: Path) -> None:
    """As ``net_arch=[8, dict(pi=[6], vf=[6])]`` of 1.x makes them, and ``[8, 8]``, where all are shared."""
    path = odd_ppo(tmp_path, flat(), spaces.Discrete(3))
    generator = torch.Generator().manual_seed(0)
    widths = [4, *[8] * shared, *[6] * apart, 3]
    layers = [nn.Linear(*pair) for pair in pairwise(widths)]
    names = [
        *(f"mlp_extractor.shared_net.{2 * index}" for index in range(shared)),
        *(f"mlp_extractor.policy_net.{2 * index}" for index in range(apart)),
        "action_net",
    ]
    state: dict[str, Any] = {"mlp_extractor.value_net.0.weight": torch.ones(6, 8), "value_net.bias": torch.ones(1)}
    with torch.no_grad():
        for name, layer in zip(names, layers, strict=True):
            for part, values in layer.named_parameters():
                state[f"{name}.{part}"] = values.normal_(generator=generator)
        network = nn.Sequential(*(module for layer in layers[:-1] for module in (layer, nn.Tanh())), layers[-1])
        raw = torch.randn(1000, 4, generator=generator)
        scores = network(raw).numpy()
    old = tmp_path / "shared.zip"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(old, "w") as archive:
        archive.writestr("data", source.read("data"))
        archive.writestr("policy.pth", torch_saved(state))
        archive.writestr("_stable_baselines3_version", b"1.5.0")
    found = read_zip(old)
    assert isinstance(found.graph.nodes[-1].op, Argmax)
    assert f"PPO, {'-'.join(map(str, widths))}, tanh" in found.recognised
    assert len(found.graph.nodes) == 2 * len(layers)
    best = np.sort(scores, axis=1)
    clear = best[:, -1] - best[:, -2] > 1e-4
    np.testing.assert_array_equal(acted(found.graph, raw.numpy())[clear], scores.argmax(axis=1)[clear])
    assert len(set(scores.argmax(axis=1).tolist())) > 1


TENSORS = {
    "float32": lambda: {"a": torch.randn(3, 4), "b": torch.zeros(0, 2), "c": torch.tensor(2.0)},
    "others": lambda: {"a": torch.arange(5), "b": torch.ones(2, dtype=torch.float64), "c": torch.tensor([True, False])},
    "views": lambda: (lambda x: {"a": x, "b": x[1:], "c": x.T, "d": [x[0, 0], (3, 0.5, None)]})(torch.randn(4, 3)),
    "parameters": lambda: dict(nn.Linear(3, 2).named_parameters()),
    "nothing": dict,
}


@pytest.mark.parametrize("name", TENSORS)
def test_files_of_old_torch_are_read_as_torch_reads_them(name: str) -> None:
    content = torch_saved(TENSORS[name](), _use_new_zipfile_serialization=False)
    found, wanted = read_torch(content), torch.load(io.BytesIO(content), weights_only=True)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def pickled(content: bytes, index: int, value: object) -> bytes:
    """Return an old torch file with its pickle ``index`` replaced: magic, protocol, system, objects, storages."""
    stream, parts = io.BytesIO(content), []
    for _ in range(5):
        begin = stream.tell()
        list(pickletools.genops(stream))
        parts.append(content[begin : stream.tell()])
    parts[index] = value if isinstance(value, bytes) else pickle.dumps(value, 2)
    return b"".join(parts) + content[stream.tell() :]


class Mkdir:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.mkdir, (self.path,)


@pytest.mark.parametrize("index", range(1, 5))
def test_no_pickle_of_an_old_torch_file_is_obeyed(index: int, tmp_path: Path) -> None:
    model = model_of("PPO")
    path = aged(saved(model, tmp_path), model, b"1.0")
    content = pickled(entry(path, "policy.pth"), index, Mkdir(tmp_path / "sprung"))
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "trap.zip", "w") as new:
        for name in old.namelist():
            new.writestr(name, content if name == "policy.pth" else old.read(name))
    assert_refused(tmp_path / "trap.zip", "could run code")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("index", "value"),
    [
        (1, 1002),
        (1, "1001"),
        (2, {"little_endian": False}),
        (2, {"little_endian": 1}),
        (2, []),
        (4, []),
        (4, ["0"]),
        (4, [["a"]]),
        (4, "0"),
        (3, b"\x80\x02."),
        (3, b"\x80\x02K\x01Q."),
        (2, b"."),
    ],
)
def test_damaged_files_of_old_torch_are_refused(index: int, value: object, tmp_path: Path) -> None:
    content = torch_saved({"a": torch.ones(100), "b": torch.ones(3)}, _use_new_zipfile_serialization=False)
    model = model_of("PPO")
    path = aged(saved(model, tmp_path), model, b"1.0")
    for broken in (pickled(content, index, value), content[:-1], content[:-500], content[:60]):
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "broken.zip", "w") as new:
            for name in old.namelist():
                new.writestr(name, broken if name == "policy.pth" else old.read(name))
        assert_refused(tmp_path / "broken.zip", "policy.pth")
