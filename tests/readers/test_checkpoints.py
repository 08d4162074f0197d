"""Checkpoints of other libraries and plain weights: the right layers, equal to torch, and asked for what is missing."""

from __future__ import annotations

import io
import pickle
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_files import CHECKPOINTS, Checkpoint, mlp, named, rl_games, rsl_rl_first, skrl
from conftest import Run
from torch import nn

from prunekit.compression.read import read_teacher
from prunekit.environments import Spaces
from prunekit.errors import InputError, PrunekitError
from prunekit.graph.reference import run_step
from prunekit.readers.policy_file import PolicyFile, PolicyOptions
from prunekit.readers.read import read_policy
from prunekit.spaces.box import BoxActions


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def saved(content: Any, path: Path, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def same_actions(policy: PolicyFile, checkpoint: Checkpoint) -> None:
    seen = torch.randn(100, checkpoint.inputs, dtype=torch.float64) * 2.0
    with torch.no_grad():
        wanted = checkpoint.answer(seen).numpy()
    found = run_step(policy.graph, {"obs": seen.numpy()}, {})[0]["action"]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("old", [False, True], ids=["zip", "old"])
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint_acts_as_its_library_does(name: str, old: bool, tmp_path: Path) -> None:
    checkpoint = CHECKPOINTS[name]()
    path = saved(checkpoint.content, tmp_path / "file.bin", _use_new_zipfile_serialization=not old)
    policy = read_policy(path, PolicyOptions(**checkpoint.said))
    assert policy.recognised == checkpoint.recognised
    assert len(policy.notes) == len(checkpoint.notes)
    for note, words in zip(policy.notes, checkpoint.notes, strict=True):
        assert words in note
    same_actions(policy, checkpoint)


def refusal(content: Any, folder: Path, **said: Any) -> str:
    path = saved(content, folder / "file.pt")
    with pytest.raises(InputError) as refused:
        read_policy(path, PolicyOptions(**said))
    text = str(refused.value)
    assert "\n" not in text
    assert text.startswith((f"{path}: ", "--"))
    return text.removeprefix(f"{path}: ")


def test_the_activation_is_asked_for_by_name(tmp_path: Path) -> None:
    text = refusal(rsl_rl_first().content, tmp_path)
    assert text.startswith("rsl_rl checkpoint, actor 5-8-6-2, activation not in the file: give `activation`")


def test_a_module_behind_the_last_layer_is_asked_for(tmp_path: Path) -> None:
    content = nn.Sequential(*mlp(4, 8, 3), nn.Tanh()).state_dict()
    assert "`activation`" in refusal(content, tmp_path)
    assert "'3' after the last layer" in refusal(content, tmp_path)
    assert "after its last layer comes a module without weights, '3'" in refusal(content, tmp_path, activation="elu")
    path = tmp_path / "file.pt"
    assert read_policy(path, PolicyOptions(activation="elu", head="none")).keeps_outputs
    squashed = read_policy(path, PolicyOptions(activation="elu", head="tanh"))
    assert not squashed.keeps_outputs
    seen = np.random.default_rng(0).normal(size=(20, 4))
    values, _ = run_step(squashed.graph, {"obs": seen}, {})
    np.testing.assert_allclose(values["action"], np.tanh(values["outputs"]), atol=1e-6)


def test_layers_and_their_order_are_asked_for(tmp_path: Path) -> None:
    layers = {**named("one", nn.Linear(4, 8)), **named("two", nn.Linear(8, 2))}
    text = refusal(layers, tmp_path)
    assert "name them with `layers`" in text
    assert "there are one, two" in text
    said = {"activation": "elu"}
    assert "has no layer 'three'; its layers are one, two" in refusal(layers, tmp_path, layers=("one", "three"), **said)
    assert "'one' reads 4 values, but 'two' before it makes 2" in refusal(
        layers, tmp_path, layers=("two", "one"), **said
    )
    both = {"x": layers, "y": layers}
    assert "choose one with `nesting`: x, y" in refusal(both, tmp_path, layers=("one", "two"), **said)
    path = saved({"x": layers, "y": layers}, tmp_path / "file.pt")
    beside = saved({"actor": layers, "actor_target": layers, "critic_1": layers}, tmp_path / "beside.pt")
    assert read_policy(beside, PolicyOptions(layers=("one", "two"), **said)).recognised == "state dict, 4-8-2, elu"
    policy = read_policy(path, PolicyOptions(layers=("one", "two"), nesting="y", **said))
    assert policy.recognised == "state dict, 4-8-2, elu"
    assert "has no layer 'one' under 'z'" in refusal({"x": layers}, tmp_path, layers=("one",), nesting="z")


def test_layers_that_are_named_are_all_that_is_read(tmp_path: Path) -> None:
    checkpoint = skrl()
    path = saved(checkpoint.content, tmp_path / "agent.pt")
    names = ("net_container.0", "net_container.2", "net_container.4", "policy_layer")
    plain = read_policy(path, PolicyOptions(layers=names, activation="elu"))
    assert plain.recognised == "skrl checkpoint, 5-8-6-6-2, elu"
    assert any("'state_preprocessor' is left out" in note for note in plain.notes)
    whole = read_policy(path, PolicyOptions(layers=("state_preprocessor", *names), activation="elu"))
    assert whole.recognised.endswith("normalizer inside")
    same_actions(whole, checkpoint)


@pytest.mark.parametrize("cells", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_policies_are_refused_by_name(cells: Any, tmp_path: Path) -> None:
    memory = cells(4, 6)
    for model in (
        {**named("lstm", memory), **named("fc", nn.Linear(6, 2))},
        {"model_state_dict": {"std": torch.ones(2), **named("memory_a.rnn", memory), **named("actor", mlp(6, 2))},
         "iter": 1, "infos": None},
        {"policy": {**named("core", memory), **named("net", mlp(6, 2))}, "optimizer": {}},
        {"model": {**named("a2c_network.rnn.rnn", memory), **named("a2c_network.actor_mlp", mlp(6, 2))}},
    ):  # fmt: skip
        text = refusal(model, tmp_path, activation="elu")
        assert f"recurrent ('{text.split(chr(39))[1]}' is a" in text
        assert f"{cells.__name__} of 6 cells" in text
    model = {**named("lstm", memory), **named("fc", nn.Linear(6, 2)), **named("critic.lstm", memory)}
    assert "'lstm' is a" in refusal(model, tmp_path, layers=("fc",), activation="elu")
    own = {name: value for name, value in model.items() if not name.startswith("lstm")}
    path = saved(own, tmp_path / "critic.pt")
    assert read_policy(path, PolicyOptions(layers=("fc",))).recognised == "state dict, 6-2, linear"


def test_what_a_library_does_besides_is_refused(tmp_path: Path) -> None:
    content = rsl_rl_first().content
    model = content["model_state_dict"]
    extra = {**content, "model_state_dict": {**model, **named("estimator", mlp(5, 3))}}
    assert "next to its actor it has 'estimator.0'" in refusal(extra, tmp_path, activation="elu")
    spreads = {name: value for name, value in model.items() if name != "std"}
    assert "its standard deviations are outputs of the network too" in refusal(
        {**content, "model_state_dict": spreads}, tmp_path, activation="elu"
    )
    images = {**model, "actor.0.weight": torch.zeros(8, 3, 3, 3)}
    assert "is not a chain of layers" in refusal({**content, "model_state_dict": images}, tmp_path, activation="elu")
    games = rl_games().content
    more = {**games, "model": {**games["model"], **named("a2c_network.actor_cnn", nn.Conv2d(3, 4, 3))}}
    assert "its actor is not exactly" in refusal(more, tmp_path, activation="elu")


def test_broken_numbers_are_refused(tmp_path: Path) -> None:
    content = mlp(4, 8, 3).state_dict()
    content["0.weight"][0, 0] = torch.nan
    assert "NaN or infinite" in refusal(content, tmp_path, activation="elu")
    broken = skrl().content
    broken["state_preprocessor"]["running_variance"][0] = -1.0
    assert "its normalizer holds statistics" in refusal(broken, tmp_path, activation="elu")
    broken["state_preprocessor"] = {"running_mean": torch.zeros(3), "running_variance": torch.ones(3)}
    assert "its normalizer is of 3 values, but its first layer reads 5" in refusal(broken, tmp_path, activation="elu")
    assert "holds no floats" in refusal({"weight": torch.ones(2, 2, dtype=torch.int64)}, tmp_path)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"activation": "sine"}, "`activation` sine is unknown; choose none, tanh, relu"),
        ({"activation": "tanh:2"}, "`activation` tanh takes no number"),
        ({"activation": "leaky_relu:x"}, "`activation` has 'x', which is not a number"),
        ({"head": "softmax"}, "`head` softmax is unknown; choose none, tanh"),
        ({"head": "tanh:1"}, "`head` takes two bounds"),
        ({"head": "clip:1,0"}, "not LOW < HIGH"),
        ({"head": "clip:0,inf"}, "`head` has 'inf', which is not a number"),
    ],
)
def test_words_that_are_unknown(said: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        PolicyOptions(**said)  # type: ignore[arg-type]


def test_heads_by_word(tmp_path: Path) -> None:
    network = mlp(4, 8, 6, activation=nn.ReLU)
    path = saved(network.state_dict(), tmp_path / "file.pt")
    seen = np.random.default_rng(0).normal(0.0, 3.0, (50, 4))
    with torch.no_grad():
        outputs = network(torch.from_numpy(seen)).numpy()
    wanted = {
        "none": outputs,
        "argmax": outputs.argmax(-1),
        "mean": outputs[:, :3],
        "clip:-0.1,0.2": outputs.clip(-0.1, 0.2),
        "tanh:0,3": 1.5 * (np.tanh(outputs) + 1.0),
    }
    for word, expected in wanted.items():
        policy = read_policy(path, PolicyOptions(activation="relu", head=word))
        found = run_step(policy.graph, {"obs": seen}, {})[0]["action"]
        np.testing.assert_allclose(found, expected, atol=1e-6)


class Jax:
    """An array as JAX pickles it: NumPy's own pickle of it, under a name of JAX's."""

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values, np.float32)

    def __reduce__(self) -> Any:
        _, arguments, state = self.values.__reduce__()  # type: ignore[misc]
        from numpy._core.multiarray import _reconstruct

        return _Named("jax._src.array", "_reconstruct_array"), (_reconstruct, arguments, state, None)


class _Named:
    """What is pickled as the name of a function that is not installed."""

    def __init__(self, module: str, name: str) -> None:
        self.words = (module, name)

    def __call__(self) -> None: ...

    def __reduce__(self) -> str:
        raise NotImplementedError


class _Pickler(pickle._Pickler):  # type: ignore[name-defined,misc]
    """Writes ``_Named`` as a global, which Python's own pickler would look up first."""

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, _Named):
            self.write(f"c{obj.words[0]}\n{obj.words[1]}\n".encode())
            return
        super().save(obj, save_persistent_id)


def brax_pickle(*, ppo: bool = True) -> tuple[bytes, Any]:
    generator = np.random.default_rng(0)
    mean, deviation = generator.normal(size=5), generator.uniform(0.2, 2.0, 5)
    widths = (5, 8, 8, 4)
    layers = {
        f"hidden_{index}": {"kernel": Jax(generator.normal(size=sizes)), "bias": Jax(generator.normal(size=sizes[1]))}
        for index, sizes in enumerate(pairwise(widths))
    }
    normalizer = {"mean": Jax(mean), "std": Jax(deviation), "count": Jax(3.0)}
    content = (normalizer, {"params": layers}, *([{"params": {}}] if ppo else []))
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=4).dump(content)

    def answer(x: Any) -> Any:
        value = (x - mean) / deviation
        for index in range(3):
            part = layers[f"hidden_{index}"]
            value = value @ part["kernel"].values + part["bias"].values
            value = value / (1.0 + np.exp(-value)) if index < 2 else value
        return np.tanh(value[:, :2])

    return buffer.getvalue(), answer


def test_parameters_of_brax(tmp_path: Path) -> None:
    content, answer = brax_pickle()
    (tmp_path / "params").write_bytes(content)
    policy = read_policy(tmp_path / "params")
    assert policy.recognised == "Brax parameters, 5-8-8-2, silu, normalizer inside"
    seen = np.random.default_rng(1).normal(size=(50, 5))
    found = run_step(policy.graph, {"obs": seen}, {})[0]["action"]
    np.testing.assert_allclose(found, answer(seen), rtol=1e-5, atol=1e-6)
    content, _ = brax_pickle(ppo=False)
    (tmp_path / "params").write_bytes(content)
    with pytest.raises(InputError, match="Brax parameters, policy 5-8-8-4, activation not in the file"):
        read_policy(tmp_path / "params")


def test_parameters_of_brax_without_layers(tmp_path: Path) -> None:
    flat = {"hidden_0": {"kernel": np.ones(5, np.float32), "bias": np.ones(5, np.float32)}}
    (tmp_path / "params").write_bytes(pickle.dumps(({}, {"params": flat}, {})))
    with pytest.raises(InputError, match="params: has no weight matrices"):
        read_policy(tmp_path / "params")


def test_a_module_state_of_rllib(tmp_path: Path) -> None:
    encoder, last = mlp(4, 8, 6, activation=nn.Tanh), nn.Linear(6, 4).double()
    state = named("encoder.actor_encoder.net.mlp", encoder) | named("pi.net.mlp.0", last)
    state |= named("vf.net.mlp.0", nn.Linear(6, 1)) | named("encoder.critic_encoder.net.mlp", mlp(4, 6))
    path = tmp_path / "module_state.pkl"
    path.write_bytes(pickle.dumps({name: value.numpy() for name, value in state.items()}))
    with pytest.raises(InputError, match=r"RLlib module state, policy 4-8-6-4, the kind of its actions.*`head` mean"):
        read_policy(path)
    policy = read_policy(path, PolicyOptions(activation="tanh", head="mean"))
    assert policy.recognised == "RLlib module state, 4-8-6-2, tanh"
    checkpoint = Checkpoint(
        content=state, said={}, inputs=4, answer=lambda x: last(torch.tanh(encoder(x)))[:, :2], recognised=""
    )
    same_actions(policy, checkpoint)


def test_a_policy_that_was_read_can_be_deployed(tmp_path: Path) -> None:
    from prunekit.export.c import CSettings, export_c
    from prunekit.export.onnx import export_onnx

    checkpoint = skrl()
    path = saved(checkpoint.content, tmp_path / "agent.pt")
    policy = read_policy(path, PolicyOptions(activation="elu"))
    assert export_onnx(policy.graph, tmp_path / "policy.onnx", {}).largest_difference < 1e-5
    export_c(
        policy.graph, tmp_path, CSettings(name="policy", activations=None), {}, lambda: np.zeros((1, 5), np.float32)
    )
    assert (tmp_path / "policy.c").is_file()


def test_nothing_but_errors_of_its_own(tmp_path: Path) -> None:
    """Whatever is under the names that libraries use."""
    odd: list[Any] = [None, 3, "x", [], {}, {"0.weight": None}, {"weight": torch.ones(3)}, torch.ones(2, 2, 2), object]
    for value in odd:
        for name in ("model_state_dict", "actor_state_dict", "student_state_dict", "policy", "model", "state_dict"):
            path = saved({name: value, "iter": 1, "infos": 2, "optimizer": 3}, tmp_path / "file.pt")
            with pytest.raises(PrunekitError, match=r"file\.pt: "):
                read_policy(path, PolicyOptions(activation="elu", head="none"))


def test_a_checkpoint_is_a_teacher(tmp_path: Path) -> None:
    checkpoint = rsl_rl_first()
    path = saved(checkpoint.content, tmp_path / "model_7.pt")
    spaces = Spaces(observation=5, actions=BoxActions(low=(-0.1, -0.1), high=(0.1, 0.1)))
    teacher = read_teacher(path, spaces, PolicyOptions(activation="elu"))
    seen = torch.randn(50, 5)
    with torch.no_grad():
        wanted = checkpoint.answer(seen.double()).numpy().clip(-0.1, 0.1)
    np.testing.assert_allclose(teacher.responses(seen.numpy()), wanted, atol=1e-6)
    with pytest.raises(InputError, match="`output` is for ONNX files"):
        read_teacher(path, spaces, PolicyOptions(activation="elu", output="x"))


def test_the_command_line_says_what_was_recognised(run: Run, tmp_path: Path) -> None:
    path = saved(rsl_rl_first().content, tmp_path / "model_7.pt")
    code, out, err = run("inspect", path)
    assert (code, out) == (2, "")
    assert "actor 5-8-6-2, activation not in the file: give --activation" in err
    code, out, err = run("inspect", path, "--activation", "elu")
    assert (code, err) == (0, "")
    assert "rsl_rl checkpoint, 5-8-6-2, elu" in out
    layers = "actor.0,actor.2,actor.4"
    code, out, err = run("export", path, "--layers", layers, "--activation", "elu", "--head", "tanh", "--out", tmp_path)
    assert (code, err) == (0, "")
    assert (tmp_path / "model_7.onnx").is_file()
    assert "that --layers names are read" in " ".join(out.split())


def test_endless_names_end_soon(tmp_path: Path) -> None:
    weight = torch.ones(1, 1)
    many = {str(index): {"0.weight": weight, "2.weight": weight} for index in range(12_000)}
    long = {f"{2 * index}.weight": weight for index in range(4_000)}
    apart = {f"n{index}.weight": weight for index in range(20_000)}
    started = time.monotonic()
    assert "several parts have these layers" in refusal(many, tmp_path, layers=("0", "2"), activation="elu")
    for content in (many, long, apart, {"model_state_dict": long | apart, "iter": 1, "infos": 2}):
        refusal(content, tmp_path, activation="elu")
    assert "more than the 100" in refusal(long, tmp_path, activation="elu")
    assert time.monotonic() - started < 30.0


def test_an_old_normalizer_of_rl_games_and_a_compiled_network(tmp_path: Path) -> None:
    checkpoint = rl_games()
    model = dict(checkpoint.content["model"])
    beside = {name[17:]: model.pop(name) for name in [*model] if name.startswith("running_mean_std.")}
    compiled = {f"_orig_mod.{name}": value for name, value in model.items()}
    for network in (model, compiled):
        path = saved({"model": network, "running_mean_std": beside, "epoch": 3}, tmp_path / "old.pth")
        same_actions(read_policy(path, PolicyOptions(activation="elu")), checkpoint)


@pytest.mark.parametrize("end", [None, nn.Tanh(), nn.Identity()])
def test_a_module_that_was_saved_whole_tells_its_activations(end: nn.Module | None, tmp_path: Path) -> None:
    bent = nn.LeakyReLU(0.3)
    network = nn.Sequential(nn.Linear(5, 8), bent, nn.Linear(8, 6), bent, nn.Linear(6, 2)).double()
    if end is not None:
        network.append(end)
    for content in (network, {"model": network, "epoch": 3}):
        policy = read_policy(saved(content, tmp_path / "whole.pt"))
        assert "5-8-6-2, leaky_relu" in policy.recognised
        same_actions(policy, Checkpoint(content=network, said={}, inputs=5, answer=network, recognised=""))
    network[1] = nn.ELU()  # two of them, of which no one word speaks
    assert "give `activation`" in refusal(network, tmp_path)


def test_outputs_that_are_no_values_are_refused(tmp_path: Path) -> None:
    content = {"atoms": torch.linspace(-1, 1, 5), **named("network", mlp(4, 8, 10))}
    assert "a distribution over 'atoms' (C51)" in refusal(content, tmp_path, activation="relu")


def test_a_state_dict_under_a_name_of_rsl_rl_is_one(tmp_path: Path) -> None:
    actor = mlp(5, 8, 2)
    path = saved(
        {"actor_state_dict": actor.state_dict(), "critic_state_dict": mlp(5, 8, 1).state_dict()}, tmp_path / "a.pt"
    )
    policy = read_policy(path, PolicyOptions(activation="elu"))
    assert policy.recognised == "state dict, 5-8-2, elu"
    same_actions(policy, Checkpoint(content=actor, said={}, inputs=5, answer=actor, recognised=""))
