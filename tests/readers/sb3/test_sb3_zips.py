"""Zips and statistics that stock Stable-Baselines3 wrote: read as its own ``predict`` acts, or refused in one line."""

from __future__ import annotations

import io
import itertools
import math
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_zips import (
    Odd,
    acted,
    assert_acts_alike,
    assert_refused,
    edited,
    flat,
    head,
    odd_ppo,
    saved,
    spread_out_,
    torch_saved,
    with_data,
    with_state,
)
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

from prunekit.activations import KINDS
from prunekit.environments import Spaces
from prunekit.errors import ArtifactError, InputError
from prunekit.ops.argmax import Argmax
from prunekit.ops.clip_to_bounds import ClipToBounds
from prunekit.ops.tanh_to_bounds import TanhToBounds
from prunekit.policy.description import activations_of, is_normalized
from prunekit.readers.sb3 import contents
from prunekit.readers.sb3.graph import read_zip
from prunekit.readers.sb3.spaces import action_spaces
from prunekit.spaces.box import BoxActions
from prunekit.spaces.discrete import DiscreteActions
from prunekit.spaces.kind import ActionKind, kind_of_space
from prunekit.spaces.multi_discrete import MultiDiscreteActions

OTHERS: dict[str, Any] = {"learning_starts": 10, "buffer_size": 200, "batch_size": 8}
MODELS: dict[str, tuple[type[BaseAlgorithm], str, dict[str, Any], dict[str, Any]]] = {
    "ppo, discrete": (PPO, "CartPole-v1", {"net_arch": [6, 5]}, {"n_steps": 16, "batch_size": 16}),
    "ppo, box": (PPO, "Pendulum-v1", {"net_arch": {"pi": [7], "vf": [4, 4]}}, {"n_steps": 16, "batch_size": 16}),
    "ppo, no hidden layer": (PPO, "CartPole-v1", {"net_arch": []}, {"n_steps": 16, "batch_size": 16}),
    "ppo, default": (PPO, "CartPole-v1", {}, {"n_steps": 16, "batch_size": 16}),
    "ppo, elu": (PPO, "Pendulum-v1", {"activation_fn": nn.ELU, "net_arch": [5]}, {"n_steps": 16, "batch_size": 16}),
    "ppo, gSDE": (PPO, "Pendulum-v1", {"net_arch": [7]}, {"use_sde": True, "n_steps": 16, "batch_size": 16}),
    "ppo, gSDE, squashed": (
        *(PPO, "Pendulum-v1", {"net_arch": [7], "squash_output": True}),
        {"use_sde": True, "n_steps": 16, "batch_size": 16},
    ),
    "a2c, gSDE, one deviation a unit": (A2C, "Pendulum-v1", {"net_arch": [6], "full_std": False}, {"use_sde": True}),
    "a2c": (A2C, "CartPole-v1", {"net_arch": [6]}, {}),
    "dqn": (DQN, "CartPole-v1", {"net_arch": [8, 4]}, OTHERS),
    "dqn, gelu": (DQN, "CartPole-v1", {"activation_fn": nn.GELU, "net_arch": [6]}, OTHERS),
    "sac": (SAC, "Pendulum-v1", {"net_arch": [8, 4]}, OTHERS),
    "sac, silu": (SAC, "Pendulum-v1", {"activation_fn": nn.SiLU, "net_arch": {"pi": [3], "qf": [4]}}, OTHERS),
    "sac, gSDE": (SAC, "Pendulum-v1", {"net_arch": [8, 4]}, {**OTHERS, "use_sde": True}),
    "sac, gSDE, never clipped": (SAC, "Pendulum-v1", {"net_arch": [8], "clip_mean": 0.0}, {**OTHERS, "use_sde": True}),
    "sac, no hidden layer": (SAC, "Pendulum-v1", {"net_arch": {"pi": [], "qf": [4]}}, OTHERS),
    "td3": (TD3, "Pendulum-v1", {"net_arch": [8, 4]}, OTHERS),
    "ddpg": (DDPG, "Pendulum-v1", {"net_arch": [6]}, OTHERS),
}


CHOICES: list[Any] = [
    spaces.MultiDiscrete([3, 2, 4]),
    spaces.MultiDiscrete([3] * 40),  # whose text has several lines
    spaces.MultiBinary(4),
]


@pytest.mark.parametrize("actions", CHOICES, ids=lambda space: str(space)[:30])
@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_several_choices_are_those_of_the_library(algorithm: Any, actions: Any, tmp_path: Path) -> None:
    model = algorithm("MlpPolicy", Odd(flat(), actions), n_steps=64, device="cpu", seed=0)
    with torch.no_grad():
        model.policy.action_net.weight.mul_(100.0)
    graph = read_zip(saved(model, tmp_path)).graph
    assert head(graph) == kind_of_space(actions).head()
    assert_acts_alike(graph, model)


def test_choices_from_a_start_are_counted_from_it(tmp_path: Path) -> None:
    """The library counts from 0 whatever the space says."""
    graph = read_zip(odd_ppo(tmp_path, flat(), spaces.MultiDiscrete([3, 2], start=[1, -2]))).graph
    assert head(graph) == MultiDiscreteActions(counts=(3, 2), starts=(1, -2)).head()


def test_choices_of_another_environment_are_refused(tmp_path: Path) -> None:
    path = odd_ppo(tmp_path, flat(), spaces.MultiDiscrete([3, 2]))
    read_zip(path, spaces=Spaces(observation=4, actions=MultiDiscreteActions(counts=(3, 2), starts=(5, 5))))
    others: list[tuple[ActionKind, str]] = [
        (MultiDiscreteActions(counts=(2, 3), starts=(0, 0)), "3 from 0, 2 from 0, but .* needs .*2 from 0, 3 from 0"),
        (DiscreteActions(count=5), "chooses multi-discrete actions, but the environment has discrete"),
    ]
    for wrong, words in others:
        with pytest.raises(InputError, match=rf"policy\.zip: .*{words}"):
            read_zip(path, spaces=Spaces(observation=4, actions=wrong))


@pytest.mark.parametrize("text", ["", "[3 2 ... 4]", "[3.0 2.0]", "[3 3]", "[-1 6]"])
def test_choices_that_the_text_does_not_say_are_refused(text: str) -> None:
    said = {":type:": str(spaces.MultiDiscrete), "nvec": text, "start": "[0 0]", "_shape": [2], "dtype": "int64"}
    with pytest.raises(InputError):
        action_spaces(4, 5, said)


def as_saved(bound: float, dtype: type[Any] = np.float32) -> dict[str, Any]:
    """Return what SB3 writes beside a pickled Box of one action component."""
    box = spaces.Box(-bound, bound, (1,), dtype)
    return {
        ":type:": str(spaces.Box),
        "_shape": [1],
        "dtype": str(box.dtype),
        "low": str(box.low),
        "high": str(box.high),
    }


@pytest.mark.parametrize("normalized", [False, True], ids=["raw", "normalized"])
@pytest.mark.parametrize("name", MODELS)
def test_the_actor_acts_as_predict_does(name: str, normalized: bool, tmp_path: Path) -> None:
    kind, env_id, policy, options = MODELS[name]
    env: Any = DummyVecEnv([lambda: gym.make(env_id)])
    statistics = VecNormalize(env, clip_obs=2.0) if normalized else None
    model = kind("MlpPolicy", statistics or env, policy_kwargs=dict(policy), device="cpu", seed=3, **options)
    model.learn(48)
    spread_out_(model)
    file = None
    if statistics is not None:
        file = tmp_path / "statistics.pkl"
        statistics.save(str(file))
    graph = read_zip(saved(model, tmp_path), file).graph
    clipped = kind in (PPO, A2C) and "squash_output" not in policy
    wanted = Argmax if env_id == "CartPole-v1" else ClipToBounds if clipped else TanhToBounds
    assert type(head(graph)) is wanted
    assert is_normalized(graph) == normalized
    assert_acts_alike(graph, model, statistics)


@pytest.mark.parametrize("activation", KINDS)
def test_every_known_activation_is_read(activation: str, tmp_path: Path) -> None:
    module = KINDS[activation].module
    path = odd_ppo(tmp_path, flat(), spaces.Discrete(3), policy_kwargs={"activation_fn": module, "net_arch": [4]})
    assert activations_of(read_zip(path).graph) == ([] if activation == "identity" else [activation])


def test_the_first_action_is_read(tmp_path: Path) -> None:
    assert head(read_zip(odd_ppo(tmp_path, flat(), spaces.Discrete(3, start=-2))).graph) == Argmax(start=-2)


BOUNDS: dict[str, list[float]] = {
    "ordinary": [1.0, 0.4, 2.0, 100.0],
    "small": [0.1, 0.2, 0.3, 0.7],
    "wide": [1e-3, 7.654321, 12345.678, 3e20],
    "largest": [float(np.finfo(np.float32).max)] * 4,
}


@pytest.mark.parametrize("name", BOUNDS)
def test_bounds_are_read_exactly(name: str, tmp_path: Path) -> None:
    high = np.array(BOUNDS[name], np.float32)
    low = -high
    low[1] = 0.0
    graph = read_zip(odd_ppo(tmp_path, flat(), spaces.Box(low, high))).graph
    assert head(graph) == ClipToBounds(low=tuple(low.tolist()), high=tuple(high.tolist()))


@pytest.mark.parametrize(
    ("exponent", "share"), [(-7, 1.0), (-4, 0.0), (-2, 0.0), (-1, 0.8), (0, 1.0), (3, 1.0), (9, 1.0)]
)
def test_every_bound_that_is_read_is_the_right_one(exponent: int, share: float) -> None:
    """Between 0.0001 and 0.25 several float32 numbers share a text of eight decimals."""
    generator, read = np.random.default_rng(5), 0
    for bound in (generator.uniform(1.0, 10.0, 120) * 10.0**exponent).astype(np.float32).tolist():
        try:
            found = action_spaces(4, 1, as_saved(bound))
        except InputError:
            continue
        read += 1
        assert found == Spaces(observation=4, actions=BoxActions(low=(-bound,), high=(bound,)))
    assert share * 120 <= read <= (120 if share else 24)


@pytest.mark.parametrize(
    ("bound", "dtype"), [(0.012345678, np.float32), (0.05, np.float32), (0.09999999, np.float64), (2.0, np.int32)]
)
def test_bounds_that_text_does_not_say_are_asked_for(bound: float, dtype: Any) -> None:
    with pytest.raises(InputError, match=r"cannot be read exactly .* `env`"):
        action_spaces(4, 1, as_saved(bound, dtype))


def test_a_lone_number_says_a_bound_exactly() -> None:
    bound = float(np.float32(0.012345678))
    said = {**as_saved(bound), "low_repr": str(np.float32(-bound)), "high_repr": str(np.float32(bound))}
    assert action_spaces(4, 1, said) == Spaces(observation=4, actions=BoxActions(low=(-bound,), high=(bound,)))


def test_float64_bounds_are_read_where_float32_tells_them_apart() -> None:
    assert action_spaces(4, 1, as_saved(0.4, np.float64)) == Spaces(
        observation=4, actions=BoxActions(low=(-0.4,), high=(0.4,))
    )


def given(*bounds: tuple[float, float]) -> Spaces:
    low, high = zip(*bounds, strict=True)
    return Spaces(observation=4, actions=BoxActions(low=low, high=high))


def clipped(spaces_given: Spaces) -> ClipToBounds:
    assert isinstance(spaces_given.actions, BoxActions)
    return ClipToBounds(low=spaces_given.actions.low, high=spaces_given.actions.high)


def textual(path: Path, at: Path) -> Path:
    """Return a copy whose action space is text alone."""
    return with_data(path, at, lambda data: data["action_space"].pop(":serialized:"))


def test_given_spaces_win_over_text(tmp_path: Path) -> None:
    path = textual(odd_ppo(tmp_path, flat(), spaces.Box(-0.05, 0.05, (2,))), tmp_path)
    with pytest.raises(ArtifactError, match="cannot be read exactly"):
        read_zip(path)
    wanted = given((-0.05, 0.05), (-1.0, 1.0))
    assert head(read_zip(path, spaces=wanted).graph) == clipped(wanted)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_bytes_of_a_space_say_bounds_that_its_text_does_not(dtype: Any, tmp_path: Path) -> None:
    high = np.array([0.012345678, 0.05, 1 / 3], dtype)
    with np.printoptions(precision=3):
        path = odd_ppo(tmp_path, flat(), spaces.Box(-high, high, dtype=dtype))
    wanted = given(*((-bound, bound) for bound in high.astype(np.float64).tolist()))
    assert head(read_zip(path).graph) == clipped(wanted)


@pytest.mark.parametrize(
    "wrong",
    [
        Spaces(observation=4, actions=DiscreteActions(count=2)),
        Spaces(observation=3, actions=BoxActions(low=(-1.0,) * 2, high=(1.0,) * 2)),
        Spaces(observation=4, actions=BoxActions(low=(-1.0,), high=(1.0,))),
    ],
)
def test_given_spaces_must_fit(wrong: Spaces, tmp_path: Path) -> None:
    path = odd_ppo(tmp_path, flat(), spaces.Box(-1.0, 1.0, (2,)))
    with pytest.raises(InputError, match=r"but the environment has .*own environment with `env`") as refused:
        read_zip(path, spaces=wrong)
    assert type(refused.value) is InputError
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("kind", [PPO, SAC])
def test_actions_are_rescaled_to_the_bounds_of_the_environment(kind: type[BaseAlgorithm], tmp_path: Path) -> None:
    """As RescaleAction does, which the file was trained behind."""
    model = kind("MlpPolicy", Odd(flat(), spaces.Box(-1.0, np.float32([1.0, 2.0, 0.4]))), device="cpu")
    spread_out_(model, 0.3)
    path, wanted = saved(model, tmp_path), given((-5.0, 3.0), (0.0, 1.0), (-1.0, 0.4))
    found = read_zip(path, spaces=wanted)
    assert [note.split(";")[0] for note in found.notes] == [
        "component 0 of its actions is within [-1, 1], but that of the given environment within [-5, 3]: rescaled, as "
        "a wrapper in training must have done"
    ]
    raw = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    own, _ = model.predict(raw, deterministic=True)
    assert (np.ptp(own, axis=0) > 0.1).all()
    expected = np.array([-5.0, 0.0, -1.0]) + (own + 1.0) * np.array([4.0, 1 / 3, 1.0])
    np.testing.assert_allclose(acted(found.graph, raw), expected, rtol=1e-5, atol=1e-5)
    assert read_zip(path, spaces=given((-1.0, 1.0), (-1.0, 2.0), (-1.0, 0.4))).notes == ()


@pytest.mark.parametrize("kind", [PPO, SAC])
def test_bounds_that_no_rescaling_reaches_are_refused(kind: type[BaseAlgorithm], tmp_path: Path) -> None:
    path = saved(kind("MlpPolicy", Odd(flat(), spaces.Box(-5.0, np.float32([5.0, 0.4]))), device="cpu"), tmp_path)
    with pytest.raises(InputError, match=r"component 0 .* within \[-5, 5\], but .* \[-5, inf\]; give") as refused:
        read_zip(path, spaces=given((-5.0, math.inf), (-5.0, 0.4)))
    assert type(refused.value) is InputError
    assert str(refused.value).startswith(f"{path}: ")


def test_the_largest_bounds_stand_for_none(tmp_path: Path) -> None:
    """prunekit trains behind them where an environment has no bounds."""
    largest = np.finfo(np.float32).max
    path = odd_ppo(tmp_path, flat(), spaces.Box(np.float32([-largest, 0.0]), np.float32([largest, largest])))
    wanted = given((-math.inf, math.inf), (0.0, 1e300))
    assert head(read_zip(path, spaces=wanted).graph) == clipped(wanted)
    with pytest.raises(InputError, match="component 1 of its actions"):
        read_zip(path, spaces=given((-math.inf, math.inf), (0.0, 1.0)))


def test_bounds_that_were_printed_coarsely_are_the_given_ones(tmp_path: Path) -> None:
    bound = float(np.float32(0.43218))
    with np.printoptions(precision=3):
        path = odd_ppo(tmp_path, flat(), spaces.Box(np.float32([-bound, -1.0]), np.float32([bound, 1.0])))
    wanted = given((-bound, bound), (-1.0, 1.0))
    for one in (path, textual(path, tmp_path)):
        found = read_zip(one, spaces=wanted)
        assert head(found.graph) == clipped(wanted)
        assert found.notes == ()


class OwnPolicy(PPO.policy_aliases["MlpPolicy"]):  # type: ignore[misc]
    pass


class OwnActivation(nn.Tanh):
    pass


class OwnExtractor(nn.Module):
    """Doubles the observations and has no parameter that would show in the state dict."""

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__()
        self.features_dim = observation_space.shape[0]

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return 2.0 * observations


IMAGE = spaces.Box(0, 255, (36, 36, 3), np.uint8)
IMAGES = spaces.Box(0, 255, (3, 36, 36), np.uint8)
UNSUPPORTED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "CNN": (lambda at: odd_ppo(at, IMAGE, spaces.Discrete(2), policy="CnnPolicy"), r"images of shape \[3, 36, 36\]"),
    "images of a Dict": (
        lambda at: odd_ppo(at, spaces.Dict(a=IMAGES, b=flat()), spaces.Discrete(2), policy="MultiInputPolicy"),
        "images of shape",
    ),
    "own policy": (lambda at: odd_ppo(at, flat(), spaces.Discrete(2), policy=OwnPolicy), "test_sb3_zips"),
    "own activation": (
        lambda at: odd_ppo(at, flat(), spaces.Discrete(2), policy_kwargs={"activation_fn": OwnActivation}),
        "OwnActivation",
    ),
    "own extractor": (
        lambda at: odd_ppo(at, flat(), spaces.Discrete(2), policy_kwargs={"features_extractor_class": OwnExtractor}),
        "OwnExtractor",
    ),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_is_not_supported_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    save, reason = UNSUPPORTED[name]
    assert_refused(save(tmp_path), reason)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = odd_ppo(tmp_path_factory.mktemp("sound"), flat(), spaces.Discrete(3), policy_kwargs={"net_arch": [5]})
    read_zip(path)
    return path


@pytest.mark.parametrize("name", ["policy", "version", "data"])
@pytest.mark.parametrize("content", [None, b"", b"noise", b"[]", b"null", b"\xff" * 40, b"1.8.0", b"[" * 100_000])
def test_missing_and_foreign_entries_are_refused(name: str, content: bytes | None, sound: Path, tmp_path: Path) -> None:
    path = edited(sound, tmp_path, **{name: content})
    if name == "version" and content in (None, b"1.8.0"):
        assert read_zip(path).graph is not None
    else:
        assert_refused(path)


WEIGHT, ACTIONS = "mlp_extractor.policy_net.0.weight", "action_net.weight"
STATES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "strange name": (lambda s: s.update({"features_extractor.cnn.0.weight": torch.ones(2)}), "features_extractor"),
    "strange index": (lambda s: s.update({"mlp_extractor.policy_net.1.weight": s.pop(WEIGHT)}), "lacks .*policy_net.0"),
    "batch norm": (lambda s: s.update({"mlp_extractor.policy_net.1.running_mean": torch.ones(5)}), "running_mean"),
    "missing output": (lambda s: s.pop(ACTIONS), "action_net"),
    "missing bias": (lambda s: s.pop("action_net.bias"), r"lacks 'action_net\.bias'"),
    "NaN": (lambda s: s[ACTIONS].fill_(math.nan), "NaN"),
    "infinite": (lambda s: s[WEIGHT][0].fill_(math.inf), "NaN or infinite"),
    "wide layer": (lambda s: s.update({ACTIONS: torch.ones(3, 9)}), "reads 5 values"),
    "long bias": (lambda s: s.update({"action_net.bias": torch.ones(4)}), "action_net"),
    "other observations": (lambda s: s.update({WEIGHT: torch.ones(5, 7)}), "observations have 4"),
    "other actions": (lambda s: s.update({ACTIONS: torch.ones(2, 5), "action_net.bias": torch.ones(2)}), "2 outputs"),
    "no units": (lambda s: s.update({WEIGHT: torch.ones(0, 4)}), "layer"),
    "vector": (lambda s: s.update({WEIGHT: torch.ones(20)}), "holds .*policy_net.0"),
    "float64": (lambda s: s.update({WEIGHT: s[WEIGHT].double()}), "float32"),
    "half": (lambda s: s.update({WEIGHT: s[WEIGHT].half()}), "float32"),
    "continuous": (lambda s: s.update({"log_std": torch.ones(3)}), "do not fit together"),
    "no tensor": (lambda s: s.update({WEIGHT: [1.0]}), "named tensors"),
    "sparse": (lambda s: s.update({WEIGHT: s[WEIGHT].to_sparse()}), "named tensors"),
    "meta": (lambda s: s.update({WEIGHT: torch.empty(5, 4, device="meta")}), "named tensors"),
    "repeated number": (lambda s: s.update({WEIGHT: torch.ones(1).expand(10**6, 10**6)}), "larger than itself"),
    "empty": (lambda s: s.clear(), "lacks"),
}


@pytest.mark.parametrize("name", STATES)
def test_tensors_of_another_network_are_refused(name: str, sound: Path, tmp_path: Path) -> None:
    change, reason = STATES[name]
    assert_refused(with_state(sound, tmp_path, change), reason)


DATA: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    **{
        f"no {name}": (lambda d, name=name: d.pop(name), name)
        for name in ("policy_class", "policy_kwargs", "observation_space", "action_space")
    },
    "recurrent": (
        lambda d: d["policy_class"].update(__module__="sb3_contrib.common.recurrent.policies"),
        "recurrent",
    ),
    "module that is no text": (lambda d: d["policy_class"].update(__module__=["a"]), "stock"),
    "gSDE in text": (lambda d: d["policy_kwargs"].update(use_sde="yes"), "gSDE"),
    "squashed": (lambda d: d["policy_kwargs"].update(squash_output=True), "gSDE"),
    "activation of many lines": (lambda d: d["policy_kwargs"].update(activation_fn="a\nb" * 999), "activation"),
    "activation that is no text": (lambda d: d["policy_kwargs"].update(activation_fn={"a": 1}), "activation"),
    "actions of another kind": (lambda d: d["action_space"].update({":type:": str(spaces.Box)}), "do not fit"),
    "many actions": (lambda d: d["action_space"].update(n="9" * 400), "do not fit"),
    "start that is no number": (lambda d: d["action_space"].update(start="first"), "'first'"),
    "start beyond 32 bits": (lambda d: d["action_space"].update(start="9999999999"), "32-bit"),
    "another width": (lambda d: d["observation_space"].update(_shape=[5]), "observations have 5"),
    "shape that is no list": (lambda d: d["observation_space"].update(_shape="(4,)"), r"\(4,\)"),
}


@pytest.mark.parametrize("name", DATA)
def test_data_that_does_not_fit_is_refused(name: str, sound: Path, tmp_path: Path) -> None:
    change, reason = DATA[name]
    assert_refused(with_data(sound, tmp_path, change), reason)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-math.inf, math.inf, (2, 3)),
        spaces.Box(-math.inf, math.inf, (2, 3, 2), np.float64),
        spaces.Box(-100, 100, (3, 2), np.int64),
        spaces.Box(0, 255, (2, 3), np.uint8),
    ],
    ids=str,
)
def test_matrices_are_flattened_row_by_row(space: spaces.Box, tmp_path: Path) -> None:
    model = PPO("MlpPolicy", Odd(space, spaces.Discrete(3)), n_steps=8, batch_size=8, device="cpu")
    spread_out_(model)
    found = read_zip(saved(model, tmp_path))
    assert found.notes == (f"observations of shape {list(space.shape)} are flattened, row by row",)
    assert_acts_alike(found.graph, model)


def test_a_normalizer_of_matrices_is_flattened_too(tmp_path: Path) -> None:
    env = DummyVecEnv([lambda: Odd(spaces.Box(-math.inf, math.inf, (2, 3)), spaces.Box(-9, 9, (2,)))])
    statistics = VecNormalize(env, clip_obs=3.0)
    generator = np.random.default_rng(0)
    statistics.obs_rms.mean, statistics.obs_rms.var = generator.normal(size=(2, 3)), generator.uniform(1, 9, (2, 3))
    statistics.save(str(tmp_path / "statistics.pkl"))
    model = PPO("MlpPolicy", statistics, n_steps=8, batch_size=8, device="cpu")
    spread_out_(model)
    assert_acts_alike(read_zip(saved(model, tmp_path), tmp_path / "statistics.pkl").graph, model, statistics)


def test_switches_are_observed_as_numbers(tmp_path: Path) -> None:
    model = PPO("MlpPolicy", Odd(spaces.MultiBinary(5), spaces.Discrete(3)), n_steps=8, batch_size=8, device="cpu")
    spread_out_(model)
    found = read_zip(saved(model, tmp_path))
    assert found.notes == ()
    raw = np.array(list(itertools.product([0, 1], repeat=5)), np.float32)
    np.testing.assert_array_equal(acted(found.graph, raw), model.predict(raw, deterministic=True)[0])
    assert len(set(acted(found.graph, raw).tolist())) > 1


@pytest.mark.parametrize(
    "activation",
    [
        partial(nn.LeakyReLU, negative_slope=0.2),
        partial(nn.ELU, alpha=0.5),
        partial(nn.LeakyReLU, negative_slope=1e-05),
        partial(nn.LeakyReLU, 0.3, inplace=True),
        partial(nn.Softplus, beta=2),
        partial(nn.GELU, approximate="tanh"),
        partial(nn.Hardtanh, min_val=-0.5, max_val=2.0),
        partial(nn.PReLU, 8, init=0.4),
        nn.PReLU,
        nn.ReLU6,
        nn.Identity,
    ],
)
def test_activations_with_a_number_are_read(activation: Any, tmp_path: Path) -> None:
    options = {"activation_fn": activation, "net_arch": [8]}
    model = PPO("MlpPolicy", Odd(flat(), spaces.Box(-50, 50, (2,))), n_steps=8, batch_size=8, policy_kwargs=options)
    spread_out_(model)
    assert_acts_alike(read_zip(saved(model, tmp_path)).graph, model)


@pytest.mark.parametrize(
    "text",
    [
        "functools.partial(<class 'torch.nn.modules.activation.Softplus'>, threshold=3)",
        "functools.partial(<class 'torch.nn.modules.activation.LeakyReLU'>, negative_slope=1e999)",
        "functools.partial(<class 'torch.nn.modules.activation.LeakyReLU'>, negative_slope=self)",
        "functools.partial(<class 'torch.nn.modules.activation.Tanh'>, 9)",
        "functools.partial(<class 'torch.nn.modules.linear.Linear'>, 9, 9)",
        "functools.partial(<class 'torch.nn.modules.activation.ELU'>, alpha=0.5, alpha=0.5, alpha=1, alpha=2, alpha=3)",
        "functools.partial(functools.partial(<class 'torch.nn.modules.activation.ELU'>, alpha=0.5), alpha=0.5)",
        "<class 'torch.nn.modules.activation.MultiheadAttention'>",
        "<class 'torch.nn.modules.activation.Tanh'>\n",
        "<function <lambda> at 0x7f0>",
    ],
)
def test_other_activations_are_refused(text: str, sound: Path, tmp_path: Path) -> None:
    path = with_data(sound, tmp_path, lambda data: data["policy_kwargs"].update(activation_fn=text))
    assert_refused(path, r"its activation .* is not known \(known: CELU, ELU")


def test_crossed_or_endless_bounds_are_refused(tmp_path: Path) -> None:
    path = textual(odd_ppo(tmp_path, flat(), spaces.Box(-1, 1, (2,))), tmp_path)
    path = path.rename(tmp_path / "textual.zip")
    for text in ("[-3. -3.]", "[nan nan]", "[1. 1. 1.]", "[1. ...]", "[1e999 1.0e+999]", "", None, ["1."]):
        assert_refused(with_data(path, tmp_path, lambda data, text=text: data["action_space"].update(high=text)))


def test_truncated_zips_and_other_files_are_refused(sound: Path, tmp_path: Path) -> None:
    content, path = sound.read_bytes(), tmp_path / "broken.zip"
    for end in (0, 1, 30, len(content) // 2, len(content) - 30, len(content) - 1):
        path.write_bytes(content[:end])
        assert_refused(path)
    path.write_bytes(torch_saved({"a": torch.ones(2)}))
    assert_refused(path, "holds no 'data'")
    assert_refused(tmp_path, "is a folder")
    assert_refused(tmp_path / "none.zip", "no such file")


@pytest.mark.filterwarnings("ignore")
def test_flipped_bytes_are_read_or_refused(sound: Path, tmp_path: Path) -> None:
    content, path, generator = sound.read_bytes(), tmp_path / "flipped.zip", np.random.default_rng(2)
    for _ in range(150):
        flipped = bytearray(content)
        for place in generator.integers(0, len(content), 3):
            flipped[place] = generator.integers(0, 256)
        path.write_bytes(bytes(flipped))
        try:
            read_zip(path)
        except ArtifactError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017


def test_zip_bombs_are_not_unpacked(sound: Path, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as inner:
        inner.writestr("archive/data.pkl", bytes(10**7))
    assert_refused(edited(sound, tmp_path, policy=packed.getvalue()), "packed")
    for name in ("policy", "data", "version"):
        with pytest.raises(InputError, match="unpacks to more than 1000000 bytes"):
            contents.read_contents(edited(sound, tmp_path, **{name: bytes(2 * 10**6)}), max_bytes=10**6)


@pytest.mark.parametrize("name", ["policy.pth", "data", "_stable_baselines3_version"])
def test_entries_unpack_to_a_multiple_of_the_file_at_most(name: str, sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(sound) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.namelist():
            new.writestr(entry, old.read(entry) if entry != name else b"[" + b"{}," * 10**6 + b"{}]")
    assert_refused(path, "unpacks to more than")


def test_reading_draws_no_random_numbers(sound: Path) -> None:
    before = torch.random.get_rng_state()
    read_zip(sound)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("version", [b"3.0.0", b"1", b"latest", b"2.0 or so"])
def test_the_zip_is_of_a_version_that_is_known(version: bytes, sound: Path, tmp_path: Path) -> None:
    assert_refused(edited(sound, tmp_path, version=version), "only 1.x and 2.x are read")
