"""``VecNormalize.save`` pickles and the pickles in a zip: read to the number or refused in one line, never obeyed."""

from __future__ import annotations

import base64
import contextlib
import copyreg
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from prunekit.adapters.sb3 import normalizer_of
from prunekit.errors import ArtifactError
from prunekit.readers.sb3.graph import read_zip
from prunekit.readers.sb3.statistics import read_vec_normalize

ENVIRONMENTS = ["CartPole-v1", "Pendulum-v1", "Hopper-v5"]


class Mkdir:
    """Unpickled freely, makes the folder ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


class Called:
    """Pickled as a call of any function with any arguments, then a state for its result."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def statistics(env_id: str = "Pendulum-v1", steps: int = 5, **options: Any) -> VecNormalize:
    normalized = VecNormalize(DummyVecEnv([lambda: gym.make(env_id)] * 2), **options)
    normalized.seed(1)
    normalized.action_space.seed(2)
    normalized.reset()
    for _ in range(steps):
        normalized.step(np.array([normalized.action_space.sample()] * 2))
    return normalized


def file_of(content: bytes, folder: Path) -> Path:
    path = folder / "statistics.pkl"
    path.write_bytes(content)
    return path


def assert_refused(content: bytes, folder: Path, reason: str) -> None:
    path = file_of(content, folder)
    with pytest.raises(ArtifactError, match=reason) as refused:
        read_vec_normalize(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)


def assert_same(path: Path, wanted: VecNormalize) -> None:
    found, expected = read_vec_normalize(path), normalizer_of(wanted)
    assert found is not None
    assert expected is not None
    assert torch.equal(torch.from_numpy(found.mean), expected.mean)
    assert torch.equal(torch.from_numpy(found.scale), expected.scale)
    assert found.clip == expected.clip


@pytest.mark.parametrize("protocol", [4, 5])
@pytest.mark.parametrize("env_id", ENVIRONMENTS)
def test_statistics_are_read_to_the_last_bit(env_id: str, protocol: int, tmp_path: Path) -> None:
    wanted = statistics(env_id, clip_obs=3, epsilon=1e-3)
    wanted.save(str(tmp_path / "saved.pkl"))
    assert_same(tmp_path / "saved.pkl", wanted)
    assert_same(file_of(pickle.dumps(wanted, protocol), tmp_path), wanted)


@pytest.mark.parametrize("dtype", [">f8", "<f4", ">f4"])
def test_statistics_of_other_floats_are_read(dtype: str, tmp_path: Path) -> None:
    wanted = statistics()
    wanted.obs_rms.mean, wanted.obs_rms.var = (v.astype(dtype) for v in (wanted.obs_rms.mean, wanted.obs_rms.var))
    found = read_vec_normalize(file_of(pickle.dumps(wanted), tmp_path))
    assert found is not None
    assert found.mean.tolist() == wanted.obs_rms.mean.astype(np.float32).tolist()


def test_statistics_that_numpy_1_pickled_are_read(tmp_path: Path) -> None:
    wanted = statistics()
    content = pickle.dumps(wanted, 4)
    new, old = b"numpy._core.multiarray", b"numpy.core.multiarray"
    renamed = content.replace(bytes([len(new)]) + new, bytes([len(old)]) + old)
    assert renamed != content
    assert_same(file_of(renamed[:2] + renamed[11:], tmp_path), wanted)  # without the frame, whose length is another


def renamed(content: bytes, changes: dict[str, str]) -> bytes:
    """Return a pickle of protocol 2, whose names have no length, with other names in it."""
    for new, old in changes.items():
        assert new.encode() in content
        content = content.replace(new.encode(), old.encode())
    return content


@pytest.mark.parametrize("name", ["RandomState", "Generator of gym", "Philox", "MT19937", "SFC64", "PCG64DXSM"])
def test_statistics_with_gym_spaces_and_other_generators_are_read(name: str, tmp_path: Path) -> None:
    wanted = statistics()
    changes = {"cgymnasium.spaces.box\nBox": "cgym.spaces.box\nBox", "numpy._core.multiarray": "numpy.core.multiarray"}
    if name == "RandomState":
        wanted.observation_space._np_random = np.random.RandomState(3)
    elif name == "Generator of gym":
        wanted.observation_space._np_random = np.random.default_rng(3)
        changes["numpy.random._pickle\n__generator_ctor"] = "gym.utils.seeding\nRandomNumberGenerator._generator_ctor"
    else:
        wanted.observation_space._np_random = np.random.Generator(getattr(np.random, name)(3))
    assert_same(file_of(renamed(pickle.dumps(wanted, 2), changes), tmp_path), wanted)


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    wanted = statistics()
    wanted.clip_obs, wanted.epsilon = np.float64(3.5), np.float32(0.25)
    found = read_vec_normalize(file_of(pickle.dumps(wanted), tmp_path))
    assert found is not None
    assert found.clip == 3.5
    np.testing.assert_allclose(found.scale, 1 / np.sqrt(wanted.obs_rms.var + 0.25), rtol=1e-6)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("order", ["C", "F"])
def test_matrices_are_read_row_by_row(order: Any, protocol: int, tmp_path: Path) -> None:
    wanted = statistics()
    wanted.obs_rms.mean = np.asarray(np.arange(6.0).reshape(2, 3), order=order)
    wanted.obs_rms.var = np.ones((2, 3))
    found = read_vec_normalize(file_of(pickle.dumps(wanted, protocol), tmp_path))
    assert found is not None
    assert found.mean.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_observations_left_alone_need_no_normalizer(tmp_path: Path) -> None:
    wanted = statistics(norm_obs=False)
    assert read_vec_normalize(file_of(pickle.dumps(wanted), tmp_path)) is None
    wanted = statistics()
    wanted.norm_obs = False
    assert read_vec_normalize(file_of(pickle.dumps(wanted), tmp_path)) is None


def broken(**changes: Any) -> bytes:
    normalized = statistics(steps=1)
    for name, value in changes.items():
        setattr(normalized.obs_rms if name in ("mean", "var") else normalized, name, value)
    return pickle.dumps(normalized)


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "NaN": ({"mean": np.array([0.0, np.nan, 0.0])}, "NaN"),
    "beyond float32": ({"mean": np.array([0.0, 1e300, 0.0])}, "NaN, infinite"),
    "negative variance": ({"var": np.array([1.0, -1.0, 1.0])}, "negative"),
    "no variance": ({"var": np.zeros(3), "epsilon": 0.0}, "NaN, infinite"),
    "widths": ({"var": np.ones(4)}, "differ"),
    "matrix": ({"mean": np.zeros((2, 2)), "var": np.ones((4, 1))}, "differ"),
    "whole numbers": ({"mean": np.zeros(3, np.int64)}, "neither float32 nor float64"),
    "no values": ({"mean": np.zeros(0), "var": np.zeros(0)}, "ordinary sizes"),
    "lists": ({"mean": [0.0] * 3}, "not an array"),
    "clip of zero": ({"clip_obs": 0.0}, "clip"),
    "clip that is text": ({"clip_obs": "10"}, "clip_obs"),
    "epsilon that is none": ({"epsilon": None}, "epsilon"),
    "a broken entry of a Dict": ({"obs_rms": {"a": RunningMeanStd(shape=(3,)), "b": None}}, "not an array"),
    "no statistics": ({"obs_rms": None}, "not an array"),
    "norm_obs that is a number": ({"norm_obs": 1}, "not of a VecNormalize"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_statistics_are_refused(name: str, tmp_path: Path) -> None:
    changes, reason = BROKEN[name]
    assert_refused(broken(**changes), tmp_path, reason)


def test_other_pickles_are_refused(tmp_path: Path) -> None:
    for content in (b"", b"noise", b"\x80\x04", pickle.dumps({"norm_obs": True})[:-3]):
        assert_refused(content, tmp_path, "damaged or not a pickle")
    for value in (None, 3, {"norm_obs": True}, RunningMeanStd(shape=(3,)), spaces.Discrete(2)):
        assert_refused(pickle.dumps(value), tmp_path, "not of a VecNormalize")


def test_damaged_statistics_are_read_or_refused(tmp_path: Path) -> None:
    content, generator = pickle.dumps(statistics()), np.random.default_rng(3)
    for end in range(0, len(content), 7):
        assert_refused(content[:end], tmp_path, "damaged")
    for _ in range(600):
        flipped = bytearray(content)
        for place in generator.integers(0, len(content), 2):
            flipped[place] = generator.integers(0, 256)
        with contextlib.suppress(ArtifactError):
            read_vec_normalize(file_of(bytes(flipped), tmp_path))


def test_a_width_that_does_not_fit_the_policy_is_refused(tmp_path: Path) -> None:
    PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8, device="cpu").save(tmp_path / "policy.zip")
    path = file_of(pickle.dumps(statistics("Pendulum-v1")), tmp_path)
    with pytest.raises(ArtifactError, match=r"statistics\.pkl: is for 3 values, but .*policy\.zip reads 4"):
        read_zip(tmp_path / "policy.zip", path)


def protocol_0(call: bytes, at: Path) -> bytes:
    """Return a hand-written pickle that calls a function of ``posix`` or ``builtins`` with a path."""
    return b"c" + call + b"\n(V" + str(at).encode() + b"\ntR."


def instanced(at: Path) -> bytes:
    return b"(V" + str(at).encode() + b"\nios\nmkdir\n."


TRAPS: dict[str, Callable[[Path], bytes]] = {
    **{
        f"bare, protocol {protocol}": lambda at, protocol=protocol: pickle.dumps(Mkdir(at), protocol)
        for protocol in range(6)
    },
    "by hand": lambda at: protocol_0(b"os\nmkdir", at),
    "instance": instanced,
    "beside the statistics": lambda at: broken(metadata={"a": Mkdir(at)}),
    "as the statistics": lambda at: broken(obs_rms=Mkdir(at)),
    "as the mean": lambda at: broken(mean=Mkdir(at)),
    "in a space": lambda at: broken(observation_space=spaces.Dict(a=spaces.Discrete(2)), reset_infos=[Mkdir(at)]),
    "in an array of objects": lambda at: broken(old_obs=np.array([Mkdir(at)], dtype=object)),
    "as a state": lambda at: broken(old_obs=Called(RunningMeanStd, (), {"mean": Mkdir(at)})),
    "eval": lambda at: broken(old_obs=Called(eval, (f"__import__('os').mkdir({str(at)!r})",))),
}


@pytest.mark.parametrize("name", TRAPS)
def test_the_trap_works_where_a_pickle_is_read_freely(name: str, tmp_path: Path) -> None:
    with contextlib.suppress(Exception):
        pickle.loads(TRAPS[name](tmp_path / "sprung"))
    assert (tmp_path / "sprung").is_dir()


@pytest.mark.parametrize("name", TRAPS)
def test_no_statistics_spring_the_trap(name: str, tmp_path: Path) -> None:
    reason = "names 'builtins.eval'" if name == "eval" else r"names '(os|posix|nt)\.mkdir'"
    assert_refused(TRAPS[name](tmp_path / "sprung"), tmp_path, reason)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "name",
    [
        *("builtins.getattr", "numpy.load", "numpy.ndarray.tofile", "numpy.core.multiarray.fromfile", "copyreg.mro"),
        *("numpy.dtype.__class__", "stable_baselines3.common.vec_env.vec_normalize.VecNormalize.load", "a.b\nc"),
    ],
)
def test_no_other_name_is_known(name: str, tmp_path: Path) -> None:
    module, _, attribute = name.rpartition(".")
    encoded = [b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, attribute)]
    assert_refused(b"\x80\x04" + b"".join(encoded) + b"\x93.", tmp_path, "could run code")


def test_allowed_names_are_never_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names stand for records: what their owners do when called, or given a state, does not happen."""
    content = pickle.dumps(statistics())

    def sprung(*_: object) -> None:
        raise AssertionError("called")

    monkeypatch.setattr(VecNormalize, "__setstate__", sprung)
    monkeypatch.setattr(RunningMeanStd, "__setstate__", sprung, raising=False)
    monkeypatch.setattr(spaces.Box, "__setstate__", sprung)
    for module in ("numpy._core.multiarray", "numpy._core.numeric", "numpy.random._pickle"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    assert read_vec_normalize(file_of(content, tmp_path)) is not None


def test_a_state_does_not_reach_the_class_of_records(tmp_path: Path) -> None:
    """The class itself is given a state, which would change every record that follows."""
    names = b"\x8c\x05numpy\x8c\x05dtype\x93"
    assert_refused(b"\x80\x04" + names + b"}\x8c\x05state}sb.", tmp_path, "damaged")
    assert_same(file_of(pickle.dumps(wanted := statistics()), tmp_path), wanted)


def test_objects_outside_the_file_are_refused(tmp_path: Path) -> None:
    assert_refused(b"Pname\n.", tmp_path, "outside the file")
    copyreg.add_extension("os", "mkdir", 240)
    try:
        assert_refused(b"\x80\x02\x82\xf0.", tmp_path, "could run code")
    finally:
        copyreg.remove_extension("os", "mkdir", 240)


def test_sizes_beyond_reason_are_refused(tmp_path: Path) -> None:
    assert_refused(b"\x80\x02Nr\xff\xff\xff\x7f.", tmp_path, "numbers its objects")
    assert_refused(b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.", tmp_path, "damaged")
    with pytest.raises(ArtifactError, match="larger than 100 bytes"):
        read_vec_normalize(file_of(bytes(101), tmp_path), max_bytes=100)


def test_pickles_in_a_zip_are_not_opened(tmp_path: Path) -> None:
    """Every entry of ``data`` becomes a pickle that SB3 would open, beside the text that was there."""
    path, trap = tmp_path / "policy.zip", tmp_path / "sprung"
    PPO("MlpPolicy", "Pendulum-v1", n_steps=8, batch_size=8, device="cpu").save(path)
    serialized = base64.b64encode(pickle.dumps(Mkdir(trap))).decode()
    data = json.loads(content_of(path)["data"])
    for name, value in data.items():
        if isinstance(value, dict):
            data[name] = {":type:": "<class 'dict'>", **value, ":serialized:": serialized}
    rewrite(path, {"data": json.dumps(data).encode()})
    assert read_zip(path).graph is not None
    assert not trap.exists()
    with contextlib.suppress(Exception):
        PPO.load(path)
    assert trap.is_dir()


@pytest.mark.parametrize("name", ["policy.pth", "pytorch_variables.pth", "policy.optimizer.pth"])
@pytest.mark.parametrize("form", ["torch", "legacy", "bare"])
def test_pickles_among_the_tensors_are_not_obeyed(name: str, form: str, tmp_path: Path) -> None:
    path, trap = tmp_path / "policy.zip", tmp_path / "sprung"
    PPO("MlpPolicy", "Pendulum-v1", n_steps=8, batch_size=8, device="cpu").save(path)
    buffer = io.BytesIO()
    if form == "bare":
        pickle.dump(Mkdir(trap), buffer, 2)
    else:
        torch.save({"a": Mkdir(trap)}, buffer, _use_new_zipfile_serialization=form == "torch")
    rewrite(path, {name: buffer.getvalue()})
    if name == "policy.pth":
        with pytest.raises(ArtifactError, match=r"policy\.zip"):
            read_zip(path)
    else:
        read_zip(path)
    assert not trap.exists()


def content_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(path: Path, changes: dict[str, bytes]) -> None:
    content = {**content_of(path), **changes}
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in content.items():
            archive.writestr(name, value)
