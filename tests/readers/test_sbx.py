"""Zips of SBX, made here by hand; ``benchmarks/library_checkpoints.py`` compares with those of SBX itself."""

from __future__ import annotations

import base64
import itertools
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing.sbx_zips import SIMBA, Array, dense, write_zip
from gymnasium import spaces

from prunekit.environments import Spaces
from prunekit.errors import ArtifactError, InputError
from prunekit.graph.reference import run_step
from prunekit.readers.policy_file import PolicyFile, PolicyOptions
from prunekit.readers.read import policy_kind, read_policy
from prunekit.readers.sbx.activation import activation_of
from prunekit.spaces.box import BoxActions

SEEN = spaces.Box(-9.0, 9.0, (4,))
BOX = spaces.Box(np.float32([-2.0, -1.0]), np.float32([2.0, 0.5]))
NONE = PolicyOptions(without_normalizer=True)
ROWS = np.random.default_rng(1).normal(0.0, 2.0, (50, 4)).astype(np.float32)


def chain(*widths: int, spread: bool = False) -> dict[str, Any]:
    generator = np.random.default_rng(3)
    sizes = [*itertools.pairwise(widths), *([(widths[-2], widths[-1])] if spread else [])]
    return {f"Dense_{index}": dense(generator, *size) for index, size in enumerate(sizes)}


def hidden(params: dict[str, Any], rows: Array, act: Any = lambda x: np.maximum(x, 0.0)) -> Array:
    """Return what all but the last layer, and the spread's where there is one, make of ``rows``."""
    *layers, last = params.values()
    for index, layer in enumerate((*layers, last)):
        rows = rows.astype(np.float64) @ layer["kernel"] + layer["bias"]
        rows = act(rows) if index < len(layers) else rows
    return rows


def squashed(x: Array) -> Array:
    return BOX.low + (np.tanh(x) + 1.0) / 2.0 * (BOX.high - BOX.low)


def action(file: PolicyFile, rows: Array = ROWS) -> Array:
    return np.asarray(run_step(file.graph, {"obs": rows}, {})[0]["action"])


@pytest.mark.parametrize("algorithm", ["sac", "tqc"])
def test_the_mean_is_squashed_and_the_spread_left_out(algorithm: str, tmp_path: Path) -> None:
    params = chain(4, 6, 5, 2, spread=True)
    path = write_zip(tmp_path / "a.zip", algorithm, params, SEEN, BOX)
    file = read_policy(path, NONE)
    assert policy_kind(path) == "sbx"
    assert file.recognised == f"zip of SBX with Stable-Baselines3 2.9.2, {algorithm.upper()}, 4-6-5-2, relu"
    wanted = {name: layer for name, layer in params.items() if name != "Dense_3"}
    np.testing.assert_allclose(action(file), squashed(hidden(wanted, ROWS)), rtol=1e-5, atol=1e-6)


def test_means_are_clipped_and_choices_are_taken(tmp_path: Path) -> None:
    params = chain(4, 6, 2)
    path = write_zip(tmp_path / "a.zip", "ppo", {**params, "log_std": np.zeros(2, np.float32)}, SEEN, BOX, act="tanh")
    outputs = hidden(params, ROWS, np.tanh)
    np.testing.assert_allclose(action(read_policy(path, NONE)), np.clip(outputs, BOX.low, BOX.high), rtol=1e-5)
    path = write_zip(tmp_path / "b.zip", "ppo", params, SEEN, spaces.Discrete(2), act="tanh")
    np.testing.assert_array_equal(action(read_policy(path, NONE)), outputs.argmax(1))
    params = chain(4, 6, 3)
    path = write_zip(tmp_path / "c.zip", "dqn", params, SEEN, spaces.Discrete(3), network=None)
    np.testing.assert_array_equal(action(read_policy(path, NONE)), hidden(params, ROWS).argmax(1))
    params = chain(4, 6, 6)
    path = write_zip(tmp_path / "d.zip", "ppo", params, SEEN, spaces.MultiBinary(3), act="tanh")
    pairs = hidden(params, ROWS, np.tanh).reshape(-1, 3, 2)
    np.testing.assert_array_equal(action(read_policy(path, NONE)), pairs.argmax(2))


@pytest.mark.parametrize("normed", [True, False])
def test_norms_of_crossq_are_in_the_layers(normed: bool, tmp_path: Path) -> None:
    generator, params = np.random.default_rng(5), chain(4, 6, 2, spread=True)
    norms = {
        name: {"scale": generator.uniform(0.5, 2.0, width), "bias": generator.normal(size=width)}
        for name, width in (("BatchRenorm_0", 4), ("BatchRenorm_1", 6))
    }
    running = {
        name: {"mean": generator.normal(size=norm["bias"].shape), "var": generator.uniform(0.2, 3, norm["bias"].shape)}
        for name, norm in norms.items()
    }
    kept = norms if normed else {"BatchRenorm_0": norms["BatchRenorm_0"]}
    path = write_zip(
        tmp_path / "a.zip", "crossq", {**params, **kept}, SEEN, BOX, statistics=running, use_batch_norm=normed
    )

    def normed_by(x: Array, name: str) -> Array:
        if not normed:
            return x
        scale, bias, mean, variance = *norms[name].values(), *running[name].values()
        return (x - mean) / np.sqrt(variance + 1e-3) * scale + bias

    first, last = params["Dense_0"], params["Dense_1"]
    between = np.maximum(normed_by(ROWS, "BatchRenorm_0") @ first["kernel"] + first["bias"], 0.0)
    outputs = normed_by(between, "BatchRenorm_1") @ last["kernel"] + last["bias"]
    file = read_policy(path, NONE)
    assert "4-6-2, relu" in file.recognised
    np.testing.assert_allclose(action(file), squashed(outputs), rtol=1e-4, atol=1e-5)


def test_blocks_of_simba(tmp_path: Path) -> None:
    generator = np.random.default_rng(6)
    norm = {"scale": generator.uniform(0.5, 2.0, 6).astype(np.float32), "bias": np.ones(6, np.float32)}
    block = {"LayerNorm_0": norm, "Dense_0": dense(generator, 6, 24), "Dense_1": dense(generator, 24, 6)}
    params = {
        "Dense_0": dense(generator, 4, 6),
        "SimbaResidualBlock_0": block,
        "LayerNorm_0": norm,
        "Dense_1": dense(generator, 6, 2),
        "Dense_2": dense(generator, 6, 2),
    }
    path = write_zip(tmp_path / "a.zip", "sac", params, SEEN, BOX, network=SIMBA)

    def normed(x: Array) -> Array:
        spread = np.sqrt(x.var(axis=1, keepdims=True) + 1e-6)
        return np.asarray((x - x.mean(axis=1, keepdims=True)) / spread * norm["scale"] + norm["bias"])

    x = ROWS @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"]
    inner = np.maximum(normed(x) @ block["Dense_0"]["kernel"] + block["Dense_0"]["bias"], 0.0)
    x = x + inner @ block["Dense_1"]["kernel"] + block["Dense_1"]["bias"]
    outputs = normed(x) @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"]
    np.testing.assert_allclose(action(read_policy(path, NONE)), squashed(outputs), rtol=1e-4, atol=1e-5)


def test_numbers_as_observations_stay_numbers(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", "ppo", chain(1, 5, 2), spaces.Discrete(7), spaces.Discrete(2))
    file = read_policy(path, NONE)
    assert any("read as it is" in note for note in file.notes)
    rows = np.arange(7, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(action(file, rows), hidden(chain(1, 5, 2), rows).argmax(1))


def test_bounds_of_an_environment_rescale(tmp_path: Path) -> None:
    params = chain(4, 6, 2)
    path = write_zip(tmp_path / "a.zip", "td3", params, SEEN, BOX)
    given = Spaces(observation=4, actions=BoxActions(low=(-1.0, 0.0), high=(1.0, 8.0)))
    file = read_policy(path, NONE, spaces=given)
    assert any("rescaled" in note for note in file.notes)
    wanted = np.float32([-1.0, 0.0]) + (np.tanh(hidden(params, ROWS)) + 1.0) / 2.0 * np.float32([2.0, 8.0])
    np.testing.assert_allclose(action(file), wanted, rtol=1e-5, atol=1e-6)


NUMBERS: dict[str, tuple[Any, str]] = {
    "silu": ("silu", "silu"),
    "elu": ("elu", "elu"),
    "gelu": ("gelu", "gelu_tanh"),
    "hard_tanh": ("hard_tanh", "linear"),
    "identity": ("identity", "linear"),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_activations_by_the_names_of_jax(name: str, tmp_path: Path) -> None:
    act, word = NUMBERS[name]
    path = write_zip(tmp_path / "a.zip", "td3", chain(4, 6, 2), SEEN, BOX, act=act)
    assert read_policy(path, NONE).recognised.endswith(f", {word}")


def test_a_partial_gives_its_numbers_and_other_functions_are_asked_for(tmp_path: Path) -> None:
    params = chain(4, 6, 2)
    path = write_zip(tmp_path / "a.zip", "td3", params, SEEN, BOX, act={"negative_slope": 0.3})
    outputs = hidden(params, ROWS, lambda x: np.where(x > 0, x, 0.3 * x))
    np.testing.assert_allclose(action(read_policy(path, NONE)), squashed(outputs), rtol=1e-5, atol=1e-6)
    path = write_zip(tmp_path / "b.zip", "td3", params, SEEN, BOX, act=("swirl", "mine"))
    with pytest.raises(
        ArtifactError, match=r"'mine\.swirl', which is not known; name what it computes with `activation`"
    ):
        read_policy(path, NONE)
    said = read_policy(path, PolicyOptions(without_normalizer=True, activation="elu"))
    assert said.recognised.endswith(", elu")


@pytest.mark.parametrize("given", [10**400, -(10**31), float("inf"), True, "x", np.ones(2)])
def test_a_partial_may_give_anything(given: Any) -> None:
    for name, word in (("elu", "alpha"), ("gelu", "approximate")):
        if name == "elu" or given is not True:
            with pytest.raises(InputError, match=rf"its activation '{name}' is given .* which is not read"):
                activation_of((f"jax.nn.{name}", {word: given}))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another network": ({"network": "mine.Actor"}, "its network is a mine.Actor"),
    "a layer more": ({"params": {**chain(4, 6, 2), "Extra": {"scale": np.ones(2, np.float32)}}}, "holds 'Extra.scale'"),
    "no layers": ({"params": {"log": np.ones(2, np.float32)}}, "no layers"),
    "images": ({"observation": spaces.Box(0, 255, (36, 36, 3), np.uint8)}, "images of shape"),
    "other width": ({"observation": spaces.Box(-1.0, 1.0, (3,))}, "reads 4 values, but its observations have 3"),
    "discrete": ({"action": spaces.Discrete(2)}, "with actions of type Discrete"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name: str, tmp_path: Path) -> None:
    change, words = REFUSED[name]
    params, observation = change.get("params", chain(4, 6, 2)), change.get("observation", SEEN)
    path = write_zip(
        tmp_path / "a.zip", "td3", params, observation, change.get("action", BOX), network=change.get("network")
    )
    with pytest.raises(ArtifactError, match=words) as refused:
        read_policy(path, NONE)
    assert str(refused.value).startswith(f"{path}: ")


class Bomb:
    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return (open, ("ran", "w"))


class Loop:
    def __init__(self) -> None:
        self.actor = self.actor_state = self.params = self


HOSTILE: dict[str, Any] = {
    "a call": Bomb(),
    "cycles": Loop(),
    "no pickle": b"\x80\x04nothing",
    "an extension": b"\x80\x04\x82\x01.",
    "endless": b"\x80\x04]",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_policies_run_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = write_zip(tmp_path / "a.zip", "td3", chain(4, 6, 2), SEEN, BOX)
    hostile = HOSTILE[name]
    packed = hostile if isinstance(hostile, bytes) else pickle.dumps(hostile)
    with zipfile.ZipFile(source) as archive:
        data = json.loads(archive.read("data"))
    data["policy"][":serialized:"] = base64.b64encode(packed).decode()
    path = tmp_path / "hostile.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps(data))
        archive.writestr("pytorch_variables.pth", b"")
    with pytest.raises(InputError):
        read_policy(path, NONE)
    assert not Path("ran").exists()
