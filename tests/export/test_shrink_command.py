"""``prunekit shrink`` of any policy: what is masked or constant goes, and nothing is written that differs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from torch import nn

from prunekit.environments import make_environment
from prunekit.export import shrinking
from prunekit.export.onnx import export_onnx
from prunekit.export.session import tuned_session
from prunekit.graph.graph import Graph, Node, Port, State
from prunekit.graph.groups import find_groups
from prunekit.graph.op import Array, Op
from prunekit.graph.reference import run_sequence, run_step
from prunekit.graph.surgery import Masks, constant_units, shrink, zeroed
from prunekit.ops.activation import Activation
from prunekit.ops.add import Add
from prunekit.ops.affine import Affine
from prunekit.ops.argmax import Argmax
from prunekit.ops.gru import GRU
from prunekit.ops.identity import Identity
from prunekit.ops.layer_norm import LayerNorm
from prunekit.policy.actor import Actor
from prunekit.policy.artifact import load, make_artifact, save
from prunekit.policy.compaction import compact
from prunekit.policy.heads import ArgmaxHead
from prunekit.policy.model_file import ModelFile, read_model_file, save_model_file

Run = Callable[..., tuple[int, str, str]]
ROWS = np.random.default_rng(3).normal(size=(50, 3)).astype(np.float32)


def values(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def layer(outputs: int, inputs: int) -> Affine:
    return Affine(weight=values(outputs, inputs), bias=values(outputs))


def graph_of_nodes(nodes: list[tuple[Op, tuple[str, ...], str]], states: tuple[State, ...] = ()) -> Graph:
    made = tuple(Node(op=op, inputs=inputs, outputs=(name,)) for op, inputs, name in nodes)
    return Graph(inputs=(Port(name="obs", shape=(3,)),), nodes=made, outputs=("action", "outputs"), states=states)


def residual() -> Graph:
    ones = np.ones(6, np.float32)
    return graph_of_nodes(
        [
            (layer(6, 3), ("obs",), "hidden"),
            (LayerNorm(scale=ones, shift=ones, epsilon=1e-5, count=6), ("hidden",), "normed"),
            (layer(5, 6), ("normed",), "inner"),
            (Activation(kind="mish"), ("inner",), "bent"),
            (layer(6, 5), ("bent",), "back"),
            (Add(), ("hidden", "back"), "sum"),
            (layer(2, 6), ("sum",), "outputs"),
            (Argmax(), ("outputs",), "action"),
        ]
    )


def recurrent() -> Graph:
    gru = GRU(w_x=values(18, 3), w_h=values(18, 6), b_x=values(18), b_h=values(18))
    return graph_of_nodes(
        [
            (gru, ("obs", "memory"), "after"),
            (layer(2, 6), ("after",), "outputs"),
            (Identity(), ("outputs",), "action"),
        ],
        (State(before="memory", after="after", initial=np.zeros(6, np.float32)),),
    )


def masked_file(graph: Graph, path: Path) -> Masks:
    masks = {group.name: np.arange(group.width) != 1 for group in find_groups(graph)}
    save_model_file(ModelFile(graph=graph, masks=masks, provenance={"seed": 3}), path)
    return masks


@pytest.mark.parametrize("made", [residual, recurrent], ids=lambda made: made.__name__)
def test_masked_units_of_any_graph_go(made: Callable[[], Graph], tmp_path: Path, run: Run) -> None:
    graph, path = made(), tmp_path / "model.pt"
    masks = masked_file(graph, path)
    widths = [len(keep) for keep in masks.values()]
    code, out, err = run("shrink", path, "--json", tmp_path / "told.json")
    assert code == 0, err
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["hidden"] == {"before": widths, "after": [width - 1 for width in widths]}
    assert told["parameters"]["before"] > told["parameters"]["after"]
    assert told["largest_difference"] < 1e-5
    assert "largest difference" in out
    assert "nothing to remove" not in out
    file = read_model_file(tmp_path / "model.compact.pt")
    assert file.provenance == {"seed": 3, "original_hidden": widths, "compact": True}
    sequence = [{"obs": ROWS + step} for step in range(4)]
    expected = run_sequence(zeroed(graph, masks), sequence)
    for one, other in zip(run_sequence(file.graph, sequence), expected, strict=True):
        np.testing.assert_allclose(one["outputs"], other["outputs"], rtol=0.0, atol=1e-5)
    assert max(np.abs(one["outputs"] - other["outputs"]).max() for one, other in zip(
        run_sequence(graph, sequence), expected, strict=True)) > 1e-2  # fmt: skip
    states = {state.before: np.repeat(state.initial[None], len(ROWS), 0) for state in file.graph.states}
    session = tuned_session((tmp_path / "model.compact.onnx").read_bytes())
    found = session.run(["outputs"], {"obs": ROWS, **states})[0]
    np.testing.assert_allclose(found, expected[0]["outputs"], rtol=0.0, atol=1e-5)


def test_a_chain_is_shrunk_as_its_actor_is(tmp_path: Path, run: Run) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 6), nn.Sigmoid(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2))
    masks = {"0": torch.arange(6) > 1, "2": torch.arange(5) < 3}
    save(make_artifact(Actor(network, ArgmaxHead()), masks, {}), tmp_path / "model.pt")
    expected = compact(load(tmp_path / "model.pt"))
    code, out, _ = run("shrink", tmp_path / "model.pt")
    assert code == 0
    assert out.splitlines()[0].endswith(
        f"model.compact.pt: hidden 6x5 -> 4x3, parameters 71 -> 39, largest difference "
        f"{expected.largest_difference:.2g} in outputs up to {expected.output_scale:.3g}"
    )
    assert len(out.splitlines()) == 2
    small = load(tmp_path / "model.compact.pt")
    for one, other in zip(small.actor.parameters(), expected.artifact.actor.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("provenance", "first", "then"),
    [
        (
            {},
            "nothing to remove: no unit is masked; the files below hold the same network",
            "hidden 6 -> 6, parameters",
        ),
        ({"original_hidden": [9]}, "hidden 9 -> 6, removed while training, parameters", None),
        ({"original_hidden": [9], "compact": True}, "nothing to remove", "hidden 9 -> 6, removed before, parameters"),
    ],
)
def test_a_file_without_masked_units_is_told_first(
    provenance: dict[str, Any], first: str, then: str | None, tmp_path: Path, run: Run
) -> None:
    network = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2))
    save(make_artifact(Actor(network, ArgmaxHead()), None, provenance), tmp_path / "model.pt")
    code, out, err = run("shrink", tmp_path / "model.pt")
    assert code == 0, err
    lines = out.splitlines()
    assert first in lines[0]
    assert then is None or then in lines[1]
    assert ("nothing to remove" in out) == (then is not None)


def with_constants() -> Graph:
    graph = residual()
    nodes = list(graph.nodes)
    inner = nodes[2].op
    assert isinstance(inner, Affine)
    weight = inner.weight.copy()
    weight[[0, 3]] = 0.0
    nodes[2] = Node(op=Affine(weight=weight, bias=inner.bias), inputs=("normed",), outputs=("inner",))
    return Graph(inputs=graph.inputs, nodes=tuple(nodes), outputs=graph.outputs)


def test_constant_units_of_a_foreign_file_go(tmp_path: Path, run: Run) -> None:
    graph = with_constants()
    export_onnx(graph, tmp_path / "policy.onnx", {"seed": 3})
    code, out, err = run("shrink", tmp_path / "policy.onnx", "--out", tmp_path / "small")
    assert code == 0, err
    assert "hidden 6x5 -> 6x3" in out
    assert "ONNX, opset 17" in out
    assert "nothing to remove" not in out
    file = read_model_file(tmp_path / "small" / "policy.compact.pt")
    assert file.provenance == {"seed": 3, "original_hidden": [6, 5], "compact": True}
    expected = run_step(graph, {"obs": ROWS}, {})[0]
    found = run_step(file.graph, {"obs": ROWS}, {})[0]
    np.testing.assert_allclose(found["outputs"], expected["outputs"], rtol=0.0, atol=1e-5)
    np.testing.assert_array_equal(found["action"], expected["action"])


def test_files_in_which_nothing_is_constant_are_written_all_the_same(tmp_path: Path, run: Run) -> None:
    model = PPO("MlpPolicy", make_environment("Pendulum-v1"), device="cpu", policy_kwargs={"net_arch": [4]})
    model.save(tmp_path / "agent.zip")
    code, _, err = run("shrink", tmp_path / "agent.zip")
    assert code == 2
    assert "--no-normalizer" in err
    code, out, err = run("shrink", tmp_path / "agent.zip", "--no-normalizer")
    assert code == 0, err
    assert out.splitlines()[0] == (
        f"{tmp_path / 'agent.zip'}: nothing to remove: no unit is constant for all observations; the files below hold "
        "the same network"
    )
    assert (tmp_path / "agent.compact.onnx").is_file()
    actions = load(tmp_path / "agent.compact.pt").actor(torch.from_numpy(ROWS)).detach().numpy()
    np.testing.assert_allclose(actions, model.predict(ROWS, deterministic=True)[0], atol=1e-5)


def test_a_shrink_that_changes_the_function_is_caught(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    masked_file(residual(), tmp_path / "model.pt")

    def rolled(graph: Graph, masks: Masks) -> Graph:
        return shrink(graph, {name: np.roll(keep, 1) for name, keep in masks.items()})

    monkeypatch.setattr(shrinking, "shrink", rolled)
    code, _, err = run("shrink", tmp_path / "model.pt")
    assert code == 1
    assert "the compact network differs by" in err
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--normalizer", "x.pkl"], "--normalizer is for zips"),
        (["--output", "action", "--inputs", "3"], "--inputs is for TorchScript"),
        (["--output", "nothing"], "has no output 'nothing'"),
    ],
)
def test_options_that_do_not_go_are_refused(words: list[str], told: str, tmp_path: Path, run: Run) -> None:
    export_onnx(residual(), tmp_path / "policy.onnx", {})
    code, _, err = run("shrink", tmp_path / "policy.onnx", *words)
    assert code == 2
    assert told in err
    assert "policy.onnx" in err
    assert [path.name for path in tmp_path.iterdir()] == ["policy.onnx"]


def test_a_file_that_tells_other_widths_is_named(tmp_path: Path, run: Run) -> None:
    export_onnx(residual(), tmp_path / "policy.onnx", {"original_hidden": [2, 2]})
    code, _, err = run("shrink", tmp_path / "policy.onnx")
    assert code == 2
    assert "policy.onnx: its provenance says that its hidden widths were" in err


def test_what_is_constant_is_found_group_by_group() -> None:
    keep: dict[str, Any] = {name: mask.tolist() for name, mask in constant_units(with_constants()).items()}
    assert keep == {"hidden": [True] * 6, "inner": [False, True, True, False, True]}


def test_a_group_of_constants_keeps_one_unit() -> None:
    still = Affine(weight=np.zeros((4, 3), np.float32), bias=values(4))
    graph = graph_of_nodes(
        [(still, ("obs",), "hidden"), (layer(2, 4), ("hidden",), "outputs"), (Argmax(), ("outputs",), "action")]
    )
    keep = constant_units(graph)
    assert keep["hidden"].tolist() == [True, False, False, False]
    one, other = (run_step(g, {"obs": ROWS}, {})[0]["outputs"] for g in (graph, shrink(graph, keep)))
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_constants_that_nothing_can_take_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    from prunekit.graph.forms import FOLD

    monkeypatch.setattr(FOLD, "_functions", {})
    assert all(keep.all() for keep in constant_units(with_constants()).values())
