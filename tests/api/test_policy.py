"""``import prunekit``: policies from files and networks act, shrink, are saved and exported."""

from __future__ import annotations

import doctest
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import onnx
import pytest
import torch
from stable_baselines3 import PPO
from torch import Tensor, nn

import prunekit
from prunekit.api import policy as policy_module
from prunekit.environments import make_environment
from prunekit.graph.graph import Graph, Node, Port, State
from prunekit.graph.op import Array, Op
from prunekit.graph.reference import initial_states, run_step
from prunekit.ops.affine import Affine
from prunekit.ops.concat import Concat
from prunekit.ops.gru import GRU
from prunekit.ops.identity import Identity
from prunekit.spaces.multi_discrete import MultiDiscreteActions

OBSERVATIONS = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
DISCRETE = gym.spaces.Discrete(2, start=5)
BOX = gym.spaces.Box(-1.0, np.array([0.5, 2.0], np.float32))
NORMALIZER = ([1.0, -1.0, 0.5], [0.5, 2.0, 1.0], 3.0)


def network(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.ELU(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 2)).to(dtype)


@torch.no_grad()
def answers(module: nn.Module, observations: Array = OBSERVATIONS) -> Array:
    found: Array = module(torch.from_numpy(observations)).numpy()
    return found


def values(*shape: int) -> Array:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def graph_with(
    inputs: dict[str, int], nodes: list[tuple[Op, tuple[str, ...], str]], states: tuple[State, ...] = ()
) -> Graph:
    made = [Node(op=op, inputs=read, outputs=(name,)) for op, read, name in nodes]
    return Graph(
        inputs=tuple(Port(name=name, shape=(width,)) for name, width in inputs.items()),
        nodes=(*made, Node(op=Identity(), inputs=("outputs",), outputs=("action",))),
        outputs=("action", "outputs"),
        states=states,
    )


REMEMBERS = graph_with(
    {"obs": 3},
    [
        (GRU(w_x=values(12, 3), w_h=values(12, 4), b_x=values(12), b_h=values(12)), ("obs", "memory"), "after"),
        (Affine(weight=values(2, 4), bias=values(2)), ("after",), "outputs"),
    ],
    (State(before="memory", after="after", initial=np.full(4, 0.5, np.float32)),),
)
SEVERAL = graph_with(
    {"position": 2, "goal": 3},
    [
        (Concat(parts=2), ("position", "goal"), "both"),
        (Affine(weight=values(4, 5), bias=values(4)), ("both",), "hidden"),
        (Affine(weight=values(2, 4), bias=values(2)), ("hidden",), "outputs"),
    ],
)


def assert_same(one: prunekit.Policy, other: prunekit.Policy) -> None:
    assert (one.graph.inputs, one.graph.outputs) == (other.graph.inputs, other.graph.outputs)
    for mine, theirs in zip(one.graph.nodes, other.graph.nodes, strict=True):
        assert (type(mine.op), mine.inputs, mine.outputs) == (type(theirs.op), theirs.inputs, theirs.outputs)
        for name, value in vars(mine.op).items():
            if isinstance(value, np.ndarray):
                assert (value.dtype, value.tobytes()) == (vars(theirs.op)[name].dtype, vars(theirs.op)[name].tobytes())
            else:
                assert value == vars(theirs.op)[name]
    for state, kept in zip(one.graph.states, other.graph.states, strict=True):
        assert (state.before, state.after, state.initial.tobytes()) == (kept.before, kept.after, kept.initial.tobytes())
    assert one.metadata == other.metadata
    assert one.actions == other.actions


def test_a_network_without_an_action_space_acts_by_its_outputs() -> None:
    policy = prunekit.Policy.from_network(network())
    np.testing.assert_allclose(policy.act(OBSERVATIONS), answers(network()), atol=1e-6)
    assert policy.sizes.hidden == (8, 6)
    assert repr(policy) == "Policy(3-8-6-2, elu tanh)"


def test_an_action_space_and_a_normalizer_are_around_it() -> None:
    mean, scale, clip = NORMALIZER
    seen = np.clip((OBSERVATIONS - np.float32(mean)) * np.float32(scale), -clip, clip).astype(np.float32)
    outputs = answers(network(), seen)
    policy = prunekit.Policy.from_network(network(), actions=BOX, normalizer=NORMALIZER)
    np.testing.assert_allclose(policy.act(OBSERVATIONS), np.clip(outputs, BOX.low, BOX.high), atol=1e-6)
    assert len(np.unique(policy.act(OBSERVATIONS)[:, 1])) > 2
    numbers = prunekit.Policy.from_network(network(), actions=DISCRETE, normalizer=NORMALIZER).act(OBSERVATIONS)
    assert numbers.tolist() == (5 + outputs.argmax(axis=1)).tolist()


def test_one_observation_and_many() -> None:
    policy = prunekit.Policy.from_network(network(), actions=DISCRETE)
    many = policy.act(OBSERVATIONS)
    assert [int(policy.act(one)) for one in OBSERVATIONS] == many.tolist()
    assert int(policy.act(OBSERVATIONS[0].astype(np.float64))) == int(many[0])
    assert policy.act(list(map(float, OBSERVATIONS[0]))) == many[0]  # type: ignore[arg-type]
    with pytest.raises(prunekit.InputError, match=r"observations of obs \[4\] do not fit a policy of obs \[3\]"):
        policy.act(np.zeros(4))
    with pytest.raises(prunekit.InputError, match="has the inputs obs, but was given seen"):
        policy.act({"seen": OBSERVATIONS})


def test_a_state_is_kept_until_it_is_reset() -> None:
    policy = prunekit.Policy(graph=REMEMBERS)
    states, expected = initial_states(REMEMBERS, 1), []
    for row in OBSERVATIONS[:5]:
        outputs, states = run_step(REMEMBERS, {"obs": row[None]}, states)
        expected.append(outputs["action"][0])
    for _ in range(2):
        np.testing.assert_allclose([policy.act(row) for row in OBSERVATIONS[:5]], expected, atol=1e-5)
        policy.reset()
    assert np.abs(np.diff([policy.act(OBSERVATIONS[0]) for _ in range(2)], axis=0)).max() > 1e-3
    with pytest.raises(prunekit.InputError, match=r"20 observations, but a different number before; call reset\(\)"):
        policy.act(OBSERVATIONS)
    assert not prunekit.Policy(graph=REMEMBERS)._states


def test_several_inputs_come_by_name() -> None:
    policy = prunekit.Policy(graph=SEVERAL)
    given = {"goal": values(4, 3), "position": values(4, 2)}
    expected = run_step(SEVERAL, given, {})[0]["action"]
    np.testing.assert_allclose(policy.act(given), expected, atol=1e-5)
    np.testing.assert_allclose(policy.act({name: value[1] for name, value in given.items()}), expected[1], atol=1e-5)
    with pytest.raises(prunekit.InputError, match=r"several inputs \(position, goal\); give a mapping"):
        policy.act(OBSERVATIONS)
    with pytest.raises(prunekit.InputError, match="do not fit"):
        policy.act({"goal": values(4, 3), "position": values(3, 2)})


POLICIES: dict[str, prunekit.Policy] = {
    "outputs": prunekit.Policy.from_network(network()),
    "discrete": prunekit.Policy.from_network(network(), actions=DISCRETE, metadata={"env": {"id": "Some-v0"}}),
    "box": prunekit.Policy.from_network(network(), actions=BOX, normalizer=NORMALIZER),
    "float64": prunekit.Policy.from_network(network(torch.float64), actions=BOX),
    "choices": prunekit.Policy.from_network(
        nn.Sequential(nn.Linear(3, 5)), actions=gym.spaces.MultiDiscrete([2, 3], dtype=np.int16)
    ),
    "state": prunekit.Policy(graph=REMEMBERS, metadata={"seed": 3}),
    "inputs": prunekit.Policy(graph=SEVERAL),
}


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("name", POLICIES)
def test_what_is_saved_is_loaded_as_it_was(name: str, kind: type, tmp_path: Path) -> None:
    path = kind(tmp_path / "policy.pt")
    assert POLICIES[name].save(path) == Path(path)
    assert_same(prunekit.load(path), POLICIES[name])
    assert prunekit.load(path).masks is None


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("name", POLICIES)
def test_an_exported_onnx_file_acts_the_same(name: str, kind: type, tmp_path: Path) -> None:
    policy = POLICIES[name]
    path = policy.export_onnx(kind(tmp_path / "policy.onnx"))
    given: Any = {port.name: values(6, *port.shape) for port in policy.graph.inputs}
    assert {entry.name for entry in onnx.load(path).graph.input} >= set(given)
    if name in ("choices", "state"):  # ONNX files of these are not read yet
        return
    loaded = prunekit.load(path)
    np.testing.assert_allclose(loaded.act(given), policy.act(given), atol=1e-5)
    assert loaded.metadata.items() >= policy.metadata.items()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_and_zips_are_loaded(tmp_path: Path) -> None:
    torch.jit.trace(network(), torch.zeros(1, 3)).save(str(tmp_path / "policy.ts"))
    np.testing.assert_allclose(prunekit.load(tmp_path / "policy.ts").act(OBSERVATIONS), answers(network()), atol=1e-6)
    model = PPO("MlpPolicy", make_environment("Pendulum-v1"), device="cpu", policy_kwargs={"net_arch": [4]})
    model.save(tmp_path / "agent.zip")
    loaded = prunekit.load(str(tmp_path / "agent.zip"), normalizer=False)
    np.testing.assert_allclose(loaded.act(OBSERVATIONS), model.predict(OBSERVATIONS, deterministic=True)[0], atol=1e-5)


def dead() -> tuple[nn.Sequential, dict[str, Tensor]]:
    module = network()
    masks = {"0": torch.arange(8) != 2, "2": torch.arange(6) > 1}
    with torch.no_grad():
        for name, keep in masks.items():
            layer = module.get_submodule(name)
            assert isinstance(layer, nn.Linear)
            layer.weight[~keep] = 0.0
            layer.bias[~keep] = 0.0
    return module, masks


def test_masks_of_the_network_remove_units(tmp_path: Path) -> None:
    module, masks = dead()
    policy = prunekit.Policy.from_network(module, actions=BOX, metadata={"seed": 3})
    small = policy.shrink(masks)
    assert small.sizes.hidden == (7, 4)
    assert policy.sizes.hidden == (8, 6)
    np.testing.assert_allclose(small.act(OBSERVATIONS), policy.act(OBSERVATIONS), atol=1e-6)
    assert small.metadata == {"seed": 3, "original_hidden": [8, 6], "compact": True}
    assert_same(prunekit.load(small.save(tmp_path / "small.pt")), small)
    with pytest.raises(prunekit.EmptyGroupError, match="mask '0' keeps 0 units"):
        policy.shrink({**masks, "0": np.zeros(8, bool)})
    with pytest.raises(prunekit.InputError, match="mask 'first' belongs to no group"):
        policy.shrink({**masks, "first": np.ones(8, bool)})


def test_masks_in_a_file_are_those_that_shrink_takes(tmp_path: Path) -> None:
    module, masks = dead()
    actor = prunekit.Actor(module, prunekit.ArgmaxHead())
    prunekit.save(prunekit.make_artifact(actor, masks, {}), tmp_path / "masked.pt")
    policy = prunekit.load(tmp_path / "masked.pt")
    assert policy.masks is not None
    assert policy.shrink().sizes.hidden == (7, 4)
    again = prunekit.load(policy.save(tmp_path / "again.pt"))
    assert again.masks is not None
    assert {name: keep.tolist() for name, keep in again.masks.items()} == {k: v.tolist() for k, v in masks.items()}


def test_without_masks_constant_units_go() -> None:
    module = network()
    with torch.no_grad():
        module[0].weight[3] = 0.0
        module[2].weight[0] = 0.0
    policy = prunekit.Policy.from_network(module)
    small = policy.shrink()
    assert small.sizes.hidden == (7, 5)
    np.testing.assert_allclose(small.act(OBSERVATIONS), policy.act(OBSERVATIONS), atol=1e-6)
    assert small.shrink().sizes.hidden == (7, 5)


@pytest.mark.parametrize("kind", [str, Path])
def test_c_is_written(kind: type, tmp_path: Path) -> None:
    policy = POLICIES["box"]
    paths = policy.export_c(kind(tmp_path / "float"), name="mine")
    assert [path.name for path in paths] == ["mine.h", "mine.c"]
    assert "int8" not in paths[1].read_text()
    observations = np.random.default_rng(1).normal(size=(200, 3))
    small = policy.export_c(kind(tmp_path / "int8"), name="mine", int8=True, observations=observations)
    assert "int8_t" in small[1].read_text()
    with pytest.raises(prunekit.InputError, match="`int8` needs `observations`"):
        policy.export_c(tmp_path / "none", int8=True)
    assert not (tmp_path / "none").exists()
    with pytest.raises(prunekit.InputError, match=r"'My Policy' is not a C name.*try 'my_policy'"):
        policy.export_c(tmp_path / "none", name="My Policy")


class Shifted(nn.Module):
    """Reads observations by numbers of its own before its first layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.register_buffer("mean", torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layer(x - self.mean)
        return result


class Cut(nn.Module):
    """Its first layer reads less than the observation."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layer(x[:, :3])
        return result


class Sorted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sort(x).values


@pytest.mark.parametrize(("kind", "width"), [(Shifted, 3), (Cut, 5)])
def test_a_width_that_no_layer_shows_is_asked_for(kind: type[nn.Module], width: int) -> None:
    module = kind()
    with pytest.raises(
        prunekit.InputError, match=f"{kind.__name__} does not show how wide .*; give their width as `inputs`"
    ):
        prunekit.Policy.from_network(module)
    policy = prunekit.Policy.from_network(module, inputs=width)
    seen = values(6, width)
    np.testing.assert_allclose(policy.act(seen), answers(module, seen), atol=1e-6)


def test_a_module_that_is_not_supported_is_named_before_a_width_is_asked_for() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
    with pytest.raises(prunekit.CouplingError, match=r"module '0' \(Conv2d\) is not supported; docs/ops.md lists"):
        prunekit.Policy.from_network(network)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"actions": gym.spaces.Discrete(3)}, r"Sequential gives \[2\] values, but the actions need 3"),
        ({"actions": gym.spaces.Text(3)}, r"the action space Text.* has Text actions; only"),
        ({"normalizer": ([0.0], [1.0], 5.0)}, r"the normalizer's mean \[1\] and scale \[1\] do not fit .* 3 values"),
        ({"normalizer": ([0.0] * 3, [1.0] * 3, -1.0)}, "its clip must be positive"),
        ({"inputs": 7}, "module '0' .*7"),
    ],
)
def test_parts_that_do_not_fit_a_network_are_named(given: Mapping[str, Any], words: str) -> None:
    with pytest.raises(prunekit.InputError, match=words):
        prunekit.Policy.from_network(network(), **given)


def test_a_network_that_cannot_be_traced_is_refused_by_name() -> None:
    with pytest.raises(prunekit.CouplingError, match="sort"):
        prunekit.Policy.from_network(Sorted(), inputs=3)


def test_a_network_is_copied_and_left_alone() -> None:
    module = network()
    before = [value.clone() for value in module.state_dict().values()]
    policy = prunekit.Policy.from_network(module)
    first = policy.act(OBSERVATIONS)
    assert all(torch.equal(one, other) for one, other in zip(before, module.state_dict().values(), strict=True))
    with torch.no_grad():
        module[0].weight.zero_()
    np.testing.assert_array_equal(prunekit.Policy(graph=policy.graph).act(OBSERVATIONS), first)


def test_names_of_other_kinds_of_files_are_refused(tmp_path: Path) -> None:
    policy = POLICIES["box"]
    with pytest.raises(prunekit.InputError, match=r"p\.onnx: save\(\) writes a model\.pt; export_onnx\(\) writes ONNX"):
        policy.save(tmp_path / "p.onnx")
    with pytest.raises(prunekit.InputError, match=r"p\.pt: export_onnx\(\) writes ONNX; save\(\) writes a model\.pt"):
        policy.export_onnx(tmp_path / "p.pt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", ["x", [[1.0], [2.0, 3.0]], None, {"obs": object()}])
def test_what_is_no_numbers_is_no_observation(wrong: Any) -> None:
    with pytest.raises(prunekit.InputError, match="observation"):
        POLICIES["box"].act(wrong)


def files_in(folder: Path) -> dict[str, tuple[Path, dict[str, Any]]]:
    model = PPO("MlpPolicy", make_environment("Pendulum-v1"), device="cpu", policy_kwargs={"net_arch": [4]})
    model.save(folder / "agent.zip")
    torch.onnx.export(Two(), (torch.zeros(1, 3),), folder / "two.onnx", output_names=["a", "b"], dynamo=False)
    POLICIES["box"].save(folder / "model.pt")
    (folder / "notes.txt").write_text("hello")
    return {
        r"agent\.zip: .* no normalizer is next to it.*; give its file with `normalizer`, or `normalizer=False`": (
            "agent.zip",
            {},
        ),
        r"two\.onnx: several of its outputs .* give `output` NAME": ("two.onnx", {}),
        r"two\.onnx: has no output 'c'; `output` names one of": ("two.onnx", {"output": "c"}),
        r"two\.onnx: `normalizer` is for zips": ("two.onnx", {"normalizer": "x.pkl"}),
        r"two\.onnx: `normalizer=False` is for zips": ("two.onnx", {"normalizer": False}),
        r"model\.pt: `output` is for ONNX": ("model.pt", {"output": "x"}),
        r"`inputs` must be at least 1": ("model.pt", {"inputs": 0}),
        r"`normalizer` must be a file, or False": ("agent.zip", {"normalizer": True}),
        r"notes\.txt: unknown kind of file": ("notes.txt", {}),
        r"nowhere\.pt: no such file": ("nowhere.pt", {}),
    }  # type: ignore[dict-item]


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.one(x), self.other(x)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_errors_name_the_file_and_speak_of_arguments(tmp_path: Path) -> None:
    for words, (name, arguments) in files_in(tmp_path).items():
        with pytest.raises(prunekit.InputError, match=words) as refused:
            prunekit.load(tmp_path / name, **arguments)
        assert "--" not in str(refused.value)


def test_metadata_that_is_no_plain_data_is_refused(tmp_path: Path) -> None:
    policy = prunekit.Policy.from_network(network(), metadata={"odd": np.ones(2)})
    with pytest.raises(prunekit.InputError, match="not plain JSON data"):
        policy.save(tmp_path / "policy.pt")
    assert not list(tmp_path.iterdir())


def test_a_kind_of_actions_is_taken_as_it_is() -> None:
    kind = MultiDiscreteActions(counts=(1, 1), starts=(3, 4))
    assert prunekit.Policy.from_network(network(), actions=kind).act(OBSERVATIONS[0]).tolist() == [3, 4]


def test_the_examples_of_the_docstrings_run() -> None:
    assert doctest.testmod(policy_module).failed == 0
    assert doctest.testmod(policy_module).attempted > 0


def test_what_is_public_is_listed() -> None:
    assert dir(prunekit) == sorted(prunekit.__all__)
    assert len(set(prunekit.__all__)) == len(prunekit.__all__)
    public = {name for name, value in vars(prunekit).items() if isinstance(value, type) and not name.startswith("_")}
    assert public <= set(prunekit.__all__)
    for name in prunekit.__all__:
        assert getattr(prunekit, name) is not None
    assert {"Policy", "load", "Pruner", "shrink", "__version__"} <= set(prunekit.__all__)


def test_the_version_is_that_of_the_package() -> None:
    code = "import sys, prunekit; print(prunekit.__version__); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0.1.0"]
