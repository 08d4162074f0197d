"""From a masked artifact to a compact one: what is kept, what is recorded, and what stops it."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from prunekit import Actor, Artifact, CheckError, ClipHead, Normalizer, compact, make_artifact, masked, save
from prunekit.policy import compaction
from prunekit.policy.artifact import load
from prunekit.pruning.masks import Masks

KEEP = {"0": torch.arange(16) % 3 == 0, "2": torch.arange(12) < 4}


@pytest.fixture
def artifact() -> Artifact:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 16), nn.Sigmoid(), nn.Linear(16, 12), nn.Softplus(), nn.Linear(12, 3))
    actor = Actor(network, ClipHead(low=(-1.0,) * 3, high=(1.0,) * 3), Normalizer([0.5] * 5, [2.0] * 5, 4.0))
    return make_artifact(actor, KEEP, {"seed": 3})


def test_dead_units_go_and_the_scores_stay(artifact: Artifact) -> None:
    result = compact(artifact)
    assert (result.before.hidden, result.after.hidden) == ((16, 12), (6, 4))
    assert result.after.parameters == 5 * 6 + 6 + 6 * 4 + 4 + 4 * 3 + 3
    observations = 3.0 * torch.randn(200, 5)
    gated = Actor(masked(artifact.actor.network, KEEP), artifact.actor.head, artifact.actor.normalizer)
    torch.testing.assert_close(result.artifact.actor.outputs(observations), gated.outputs(observations))
    assert not torch.allclose(artifact.actor.outputs(observations), gated.outputs(observations), atol=1e-2)
    assert 0.0 <= result.largest_difference < 1e-5 * result.output_scale
    assert result.rows == 256


@pytest.mark.parametrize("clip", [4.0, math.inf])
def test_a_float64_policy_stays_one(artifact: Artifact, clip: float) -> None:
    double = Actor(artifact.actor.network.double(), artifact.actor.head, Normalizer([0.5] * 5, [2.0] * 5, clip))
    result = compact(make_artifact(double, KEEP, {}))
    assert result.artifact.actor.network[0].weight.dtype == torch.float64
    assert result.largest_difference < 1e-12 * result.output_scale


def test_every_unit_of_the_compact_artifact_lives(artifact: Artifact) -> None:
    masks = compact(artifact).artifact.masks
    assert {name: keep.tolist() for name, keep in masks.items()} == {"0": [True] * 6, "2": [True] * 4}


def test_provenance_tells_the_original_widths_through_any_number_of_compactions(
    artifact: Artifact, tmp_path: Path
) -> None:
    once = compact(artifact).artifact
    assert once.provenance == {"seed": 3, "original_hidden": [16, 12], "compact": True}
    save(once, tmp_path / "model.pt")
    twice = compact(load(tmp_path / "model.pt"))
    assert twice.after.hidden == (6, 4)
    assert twice.largest_difference == 0.0
    assert twice.original_hidden == (16, 12)
    assert twice.original_parameters == compact(artifact).before.parameters
    assert twice.artifact.provenance == once.provenance


def test_the_given_artifact_is_not_touched(artifact: Artifact) -> None:
    state, masks = copy.deepcopy(artifact.actor.state_dict()), copy.deepcopy(artifact.masks)
    compact(artifact)
    assert all(torch.equal(tensor, state[name]) for name, tensor in artifact.actor.state_dict().items())
    assert all(torch.equal(keep, masks[name]) for name, keep in artifact.masks.items())
    assert artifact.provenance == {"seed": 3}


@pytest.mark.parametrize(("shift", "stopped"), [(1e-3, True), (-1e-3, True), (1e-7, False)])
def test_a_shrink_that_changes_the_function_is_caught(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch, shift: float, stopped: bool
) -> None:
    honest = compaction.shrink

    def broken(network: nn.Module, masks: Masks) -> nn.Module:
        small = honest(network, masks)
        with torch.no_grad():
            small.get_submodule("4").bias[1] += shift
        return small

    monkeypatch.setattr(compaction, "shrink", broken)
    if not stopped:
        assert compact(artifact).largest_difference > 0.0
        return
    with pytest.raises(CheckError, match=r"differs by 0\.001.*nothing was written"):
        compact(artifact)


def test_a_shrink_that_removes_the_wrong_units_is_caught(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = compaction.shrink
    monkeypatch.setattr(
        compaction, "shrink", lambda network, masks: honest(network, {**masks, "0": masks["0"].roll(1)})
    )
    with pytest.raises(CheckError, match="differs"):
        compact(artifact)
