"""``model.pt``: what is written comes back exactly, and anything else is refused with the file's name."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from prunekit import (
    Actor,
    ArgmaxHead,
    Artifact,
    ClipHead,
    InputError,
    Normalizer,
    TanhHead,
    make_artifact,
    save,
)
from prunekit.activations import KINDS, Activation
from prunekit.policy.artifact import load, with_provenance
from prunekit.policy.heads import Head

PROVENANCE = {
    "env": {"id": "CartPole-v1", "kwargs": {"sutton_barto_reward": True}},
    "seed": 7,
    "returns": {"mean": 1 / 3, "all": [0.1 + 0.2, -1e300], "none": None},
}


def chain(activation: Activation, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(4, 6, dtype=dtype), activation.to_module(), nn.Linear(6, 5, bias=False, dtype=dtype),
        activation.to_module(), nn.Linear(5, 2, dtype=dtype),
    )  # fmt: skip


ARGMAX = ArgmaxHead()


def sample(head: Head = ARGMAX, dtype: torch.dtype = torch.float32) -> Artifact:
    masks = {"0": torch.arange(6) % 2 == 0, "2": torch.arange(5) > 0}
    normalizer = Normalizer([1.0, -2.0, 0.1, 4.0], [0.3, 1e-3, 5.0, 1.0], 7.5)
    return make_artifact(Actor(chain(Activation(name="tanh"), dtype), head, normalizer), masks, dict(PROVENANCE))


def parameters_of(artifact: Artifact) -> dict[str, Tensor]:
    return dict(artifact.actor.state_dict())


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save(sample(), tmp_path / "model.pt")
    return tmp_path / "model.pt"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "head",
    [
        ArgmaxHead(),
        ArgmaxHead(3),
        ClipHead(low=(-1.0, -math.inf), high=(0.5, math.inf)),
        TanhHead(low=(-0.1, 0.0), high=(0.1, 3.0)),
    ],
    ids=repr,
)
def test_everything_comes_back_exactly(tmp_path: Path, head: Head, dtype: torch.dtype) -> None:
    artifact = sample(head, dtype)
    save(artifact, tmp_path / "model.pt")
    result = load(tmp_path / "model.pt")
    before, after = parameters_of(artifact), parameters_of(result)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert after[name].dtype == tensor.dtype
        assert torch.equal(after[name], tensor), name
    assert after["network.0.weight"].dtype == dtype
    assert result.actor.head == head
    assert result.actor.normalizer is not None
    assert result.actor.normalizer.clip == 7.5
    assert result.masks.keys() == artifact.masks.keys()
    assert all(torch.equal(result.masks[name], keep) for name, keep in artifact.masks.items())
    assert result.provenance == PROVENANCE


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_activation_comes_back_with_its_parameter(tmp_path: Path, name: str) -> None:
    parameter = 0.37 if KINDS[name].attribute else KINDS[name].default
    actor = Actor(chain(Activation(name=name, parameter=parameter)), ArgmaxHead())
    save(make_artifact(actor, None, {}), tmp_path / "model.pt")
    result = load(tmp_path / "model.pt").actor
    assert result.normalizer is None
    observations = torch.linspace(-4.0, 4.0, 40).reshape(10, 4)
    assert torch.equal(result.outputs(observations), actor.outputs(observations))
    if KINDS[name].attribute:
        assert getattr(result.network[1], str(KINDS[name].attribute)) == parameter


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleDict({"first": nn.Linear(4, 6), "second": nn.Linear(6, 5)})
        self.mean, self.deviation = nn.Linear(5, 2), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.relu(self.body["second"](torch.relu(self.body["first"](x))))
        return self.mean(hidden), self.deviation(hidden)


def test_masks_follow_their_layer_into_the_chain() -> None:
    network = Named()
    masks = {"body.first": torch.arange(6) > 1, "body.second": torch.arange(5) != 2}
    artifact = make_artifact(Actor(network, ClipHead(low=(-1.0,) * 2, high=(1.0,) * 2)), masks, {})
    layers = [layer for layer in artifact.actor.network if isinstance(layer, nn.Linear)]
    assert layers == [network.body["first"], network.body["second"], network.mean]
    assert {name: keep.tolist() for name, keep in artifact.masks.items()} == {
        "0": [False, False, True, True, True, True],
        "2": [True, True, False, True, True],
    }


@pytest.mark.parametrize(
    "masks",
    [
        {"typo": torch.ones(6).bool()},
        {"0": torch.ones(6).bool()},
        {"0": torch.ones(3).bool(), "2": torch.ones(5).bool()},
    ],
)
def test_masks_of_another_network_are_refused(masks: dict[str, Tensor]) -> None:
    with pytest.raises(InputError, match="mask"):
        make_artifact(Actor(chain(Activation(name="relu")), ArgmaxHead()), masks, {})


def test_no_masks_means_that_every_unit_lives() -> None:
    masks = make_artifact(Actor(chain(Activation(name="relu")), ArgmaxHead()), None, {}).masks
    assert {name: keep.tolist() for name, keep in masks.items()} == {"0": [True] * 6, "2": [True] * 5}


def test_the_file_is_plain_data(saved: Path) -> None:
    data = torch.load(saved, weights_only=True)
    assert data["format"] == "prunekit.model"
    assert data["version"] == 2
    assert [node["op"] for node in data["graph"]["nodes"]] == [
        "Normalize",
        "Affine",
        "Activation",
        "Affine",
        "Activation",
        "Affine",
        "Argmax",
    ]
    assert [node["outputs"] for node in data["graph"]["nodes"]] == [
        [name] for name in ("normalizer", "0", "1", "2", "3", "outputs", "action")
    ]
    assert data["graph"]["nodes"][2]["fields"] == {"kind": "tanh", "numbers": []}
    assert set(data["masks"]) == {"0", "2"}


def test_broken_weights_are_not_saved(tmp_path: Path) -> None:
    artifact = sample()
    with torch.no_grad():
        artifact.actor.network[2].weight[0, 0] = math.inf
    with pytest.raises(InputError, match=r"'2\.weight'"):
        save(artifact, tmp_path / "model.pt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [torch.zeros(1), {1, 2}, Path("x"), math.nan, math.inf, np.float64(1.5)], ids=repr)
def test_provenance_that_is_no_plain_data_is_not_saved(tmp_path: Path, value: object) -> None:
    artifact = with_provenance(sample(), deep={"down": [value]})
    with pytest.raises(InputError, match=r"provenance .*not plain JSON data"):
        save(artifact, tmp_path / "model.pt")
    assert not list(tmp_path.iterdir())


def test_a_failing_write_leaves_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"model\.pt.*No space left"):
        save(sample(ArgmaxHead(5)), saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]
