"""``model.pt`` of format 1 reads as it did, and as a graph an actor is what it was, to the bit."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from format_1_files import format_1_bytes
from torch import nn

from prunekit.errors import ArtifactError, InputError
from prunekit.graph.graph import Graph, Node, Port, State
from prunekit.graph.groups import find_groups
from prunekit.graph.op import Array
from prunekit.graph.reference import run_step
from prunekit.graph.surgery import shrink
from prunekit.ops.activation import Activation
from prunekit.ops.add import Add
from prunekit.ops.affine import Affine
from prunekit.ops.argmax import Argmax
from prunekit.ops.gru import GRU
from prunekit.ops.identity import Identity
from prunekit.ops.layer_norm import LayerNorm
from prunekit.policy.actor import Actor, Normalizer
from prunekit.policy.artifact import Artifact, load, make_artifact, save
from prunekit.policy.heads import ArgmaxHead, ClipHead, Head, KindHead, TanhHead
from prunekit.policy.model_file import ModelFile, full_masks, read_model_file, save_model_file
from prunekit.spaces.multi_binary import MultiBinaryActions
from prunekit.spaces.multi_discrete import MultiDiscreteActions
from prunekit.spaces.unknown import UnknownActions

OLD = Path(__file__).parent / "format_1.pt"
SHIPPED = sorted(Path(__file__).parents[2].glob("models/*/*.pt"))
OBSERVATIONS = np.array([[0.0, 0.0, 0.0], [1.0, -2.0, 3.0], [-4.0, 5.0, 0.25], [100.0, -100.0, 7.0]], np.float32)
# What the prunekit that wrote the file gave for them.
ACTIONS = [
    [0.2138693928718567, -0.13118202984333038],
    [0.41958653926849365, -0.10168186575174332],
    [0.20742569863796234, -0.08009719103574753],
    [0.5, -0.13336823880672455],
]
HEADS: tuple[Head, ...] = (
    ArgmaxHead(3),
    ClipHead(low=(-1.0, -math.inf), high=(0.5, math.inf)),
    TanhHead(low=(-0.1, 0.0), high=(0.1, 3.0)),
    KindHead(MultiDiscreteActions(counts=(1, 1), starts=(0, 4), dtype="int32")),
    KindHead(MultiBinaryActions(count=2)),
    KindHead(UnknownActions(count=2)),
)


@torch.no_grad()
def test_a_file_of_format_1_acts_as_it_did() -> None:
    assert torch.load(OLD, weights_only=True)["version"] == 1
    artifact = load(OLD)
    np.testing.assert_allclose(artifact.actor(torch.from_numpy(OBSERVATIONS)).numpy(), ACTIONS, rtol=0.0, atol=1e-6)
    assert artifact.actor.head == ClipHead(low=(-1.0, -math.inf), high=(0.5, 2.0))
    assert artifact.provenance == {"env": {"id": "Some-v0", "kwargs": {}}, "seed": 5, "original_hidden": [8, 6]}
    assert {name: keep.tolist() for name, keep in artifact.masks.items()} == {
        "0": [True, False, True, True, True],
        "2": [True, True, False, True],
    }
    file = read_model_file(OLD)
    np.testing.assert_allclose(run_step(file.graph, {"obs": OBSERVATIONS}, {})[0]["action"], ACTIONS, atol=1e-6)
    assert {name: keep.tolist() for name, keep in file.masks.items()} == {
        name: keep.tolist() for name, keep in artifact.masks.items()
    }


@pytest.mark.parametrize("path", [OLD, *SHIPPED], ids=lambda path: "-".join(path.parts[-2:]))
def test_a_file_of_format_1_is_the_same_in_format_2(path: Path, tmp_path: Path) -> None:
    artifact = load(path)
    save(artifact, tmp_path / "model.pt")
    assert torch.load(tmp_path / "model.pt", weights_only=True)["version"] == 2
    assert_same(load(tmp_path / "model.pt"), artifact)


def assert_same(one: Artifact, other: Artifact) -> None:
    assert str(one.actor) == str(other.actor)
    mine, theirs = one.actor.state_dict(), other.actor.state_dict()
    assert list(mine) == list(theirs)
    for name, value in mine.items():
        assert value.dtype == theirs[name].dtype
        assert value.numpy().tobytes() == theirs[name].numpy().tobytes(), name
    assert one.actor.head == other.actor.head
    assert (one.actor.normalizer is None) == (other.actor.normalizer is None)
    if one.actor.normalizer is not None and other.actor.normalizer is not None:
        assert one.actor.normalizer.clip == other.actor.normalizer.clip
    assert {name: keep.tolist() for name, keep in one.masks.items()} == {
        name: keep.tolist() for name, keep in other.masks.items()
    }
    assert one.provenance == other.provenance


def artifact_with(head: Head, dtype: torch.dtype) -> Artifact:
    network = nn.Sequential(
        nn.Linear(3, 4), nn.ELU(0.3), nn.Linear(4, 5, bias=False), nn.LeakyReLU(0.02), nn.Linear(5, 2)
    ).to(dtype)
    with torch.no_grad():
        network[0].bias.zero_()
        network[4].bias.zero_()[0] = -0.0
    normalizer = Normalizer([0.1] * 3, [3.0] * 3, math.inf).to(dtype)
    return make_artifact(Actor(network, head, normalizer), {"0": torch.arange(4) > 0, "2": torch.arange(5) < 3}, {})


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("head", HEADS, ids=repr)
def test_heads_of_all_kinds_come_back_from_both_formats(
    head: Head, dtype: torch.dtype, version: int, tmp_path: Path
) -> None:
    artifact = artifact_with(head, dtype)
    if version == 1:
        artifact.actor.normalizer = None if artifact.actor.normalizer is None else artifact.actor.normalizer.float()
        (tmp_path / "model.pt").write_bytes(format_1_bytes(artifact))
    else:
        save(artifact, tmp_path / "model.pt")
    assert_same(load(tmp_path / "model.pt"), artifact)


def values(*shape: int, dtype: type = np.float32) -> Array:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(dtype)


def layer(outputs: int, inputs: int) -> Affine:
    return Affine(weight=values(outputs, inputs), bias=values(outputs))


def graph_with(*nodes: tuple[object, tuple[str, ...], str], states: tuple[State, ...] = ()) -> Graph:
    made = tuple(Node(op=op, inputs=inputs, outputs=(name,)) for op, inputs, name in nodes)  # type: ignore[arg-type]
    head = Node(op=Identity(), inputs=("outputs",), outputs=("action",))
    inputs = (Port(name="obs", shape=(3,)),)
    return Graph(inputs=inputs, nodes=(*made, head), outputs=("action", "outputs"), states=states)


ONE = np.ones(4, np.float32)
OTHERS = {
    "LayerNorm": graph_with(
        (layer(4, 3), ("obs",), "hidden"),
        (LayerNorm(scale=ONE, shift=ONE, epsilon=1e-5, count=4), ("hidden",), "normed"),
        (layer(2, 4), ("normed",), "outputs"),
    ),
    "mish": graph_with(
        (layer(4, 3), ("obs",), "hidden"),
        (Activation(kind="mish"), ("hidden",), "bent"),
        (layer(2, 4), ("bent",), "outputs"),
    ),
    "Add": graph_with(
        (layer(3, 3), ("obs",), "hidden"),
        (Add(), ("obs", "hidden"), "sum"),
        (layer(2, 3), ("sum",), "outputs"),
    ),
    "it has a state": graph_with(
        (GRU(w_x=values(12, 3), w_h=values(12, 4), b_x=values(12), b_h=values(12)), ("obs", "memory"), "after"),
        (layer(2, 4), ("after",), "outputs"),
        states=(State(before="memory", after="after", initial=np.zeros(4, np.float32)),),
    ),
    "two types": graph_with(
        (Affine(weight=values(4, 3, dtype=np.float64), bias=values(4)), ("obs",), "hidden"),
        (layer(2, 4), ("hidden",), "outputs"),
    ),
    "it has no layer": graph_with((Activation(kind="tanh"), ("obs",), "outputs")),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_graph_that_is_no_chain_is_refused_as_one_by_name(what: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    save_model_file(ModelFile(graph=OTHERS[what], masks=full_masks(OTHERS[what])), path)
    assert [node.name for node in read_model_file(path).graph.nodes] == [node.name for node in OTHERS[what].nodes]
    with pytest.raises(
        ArtifactError,
        match=rf"model\.pt: is not a chain of layers.*{what}.*read it "
        r"with prunekit\.load",
    ):
        load(path)


def test_masks_of_a_chain_go_by_its_places_whatever_its_nodes_are_called(tmp_path: Path) -> None:
    graph = graph_with(
        (layer(4, 3), ("obs",), "body.first"),
        (Activation(kind="relu"), ("body.first",), "relu"),
        (layer(2, 4), ("relu",), "outputs"),
    )
    keep = np.array([True, False, True, True])
    save_model_file(ModelFile(graph=graph, masks={"body.first": keep}), tmp_path / "model.pt")
    assert {name: kept.tolist() for name, kept in load(tmp_path / "model.pt").masks.items()} == {"0": keep.tolist()}


def test_groups_of_a_chain_are_called_as_those_of_its_network() -> None:
    file = read_model_file(OLD)
    assert [group.name for group in find_groups(file.graph)] == ["0", "2"]
    assert [group.width for group in find_groups(shrink(file.graph, file.masks))] == [4, 3]


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (ModelFile(graph=OTHERS["Add"], masks={"hidden": np.ones(3, bool)}), "belongs to no group"),
        (ModelFile(graph=OTHERS["mish"], masks={}), "group 'hidden' has no mask"),
        (ModelFile(graph=OTHERS["mish"], masks={"hidden": ONE > 2}), "keeps 0 units"),
        (ModelFile(graph=OTHERS["mish"], masks={"hidden": ONE > 0}, provenance={"original_hidden": [2]}), "widths"),
        (
            ModelFile(
                graph=Graph(
                    inputs=(Port(name="obs", shape=(3,)),),
                    nodes=(Node(op=Argmax(), inputs=("obs",), outputs=("action",)),),
                    outputs=("action",),
                ),
                masks={},
            ),
            "a policy maps its observation to 'action' and 'outputs'",
        ),
    ],
)
def test_what_would_not_be_read_is_not_written(file: ModelFile, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        save_model_file(file, tmp_path / "model.pt")
    assert not list(tmp_path.iterdir())
