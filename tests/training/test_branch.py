"""Runs that share their beginning end with the bits of runs of their own."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import assert_same_tensors, metrics_of, small_request, tensors_of

from prunekit.errors import InputError
from prunekit.pruning import reconstruction
from prunekit.pruning.importance import random_units
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.schedules import Phases, Sparsity
from prunekit.training.branch import Trunk, branch, trunk_of
from prunekit.training.checkpoint import checkpoints_in
from prunekit.training.request import TrainingRequest
from prunekit.training.run import train, train_until


def request_for(name: str, plan: PruningPlan | None) -> TrainingRequest:
    """Return a request of some hundred optimizer steps, with the pruning window in their second half."""
    found = small_request(name, plan=plan)
    if name == "ppo":
        return replace(found, steps=1024, checkpoint_steps=64)
    model = {**found.preset.model, "train_freq": 1, "gradient_steps": 1}
    return replace(found, preset=replace(found.preset, model=model), steps=600, checkpoint_steps=30)


STATES = 16
"""Inputs that are kept before units are first looked at: so few that a short run has something before."""
TRUNK = PruningPlan(states=STATES)
PLANS = {
    "unpruned": None,
    "masked": PruningPlan(
        threshold=Sparsity(0.75), strength=0.1, checks=16, patience=1, share_per_check=0.3, states=STATES
    ),
    "random": PruningPlan(
        threshold=Sparsity(0.5), importance=random_units, checks=16, patience=1, share_per_check=0.3, states=STATES
    ),
    "limited": PruningPlan(
        threshold=Sparsity(0.5), checks=16, patience=1, share_per_check=0.3, states=STATES, max_divergence=1e-4
    ),
    "fitted": PruningPlan(
        threshold=Sparsity(0.5), checks=16, patience=1, share_per_check=0.3, states=STATES, reconstruction=2
    ),
}


@pytest.mark.parametrize("name", ["ppo", "dqn", "td3"])
def test_a_branch_ends_with_the_bits_of_a_run_of_its_own(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconstruction, "_VALUES_EACH", 0.1)  # so that few states suffice for a fit
    known: dict[str, int] = {}
    trunks = {kind: trunk_of(request_for(name, plan), known, TRUNK) for kind, plan in PLANS.items()}
    shared = trunks["masked"]
    assert shared is not None
    assert shared.steps >= 60
    assert all(trunk == shared for trunk in trunks.values())
    checkpoint = train_until(shared.request, tmp_path / "trunk", shared.steps)
    assert train_until(shared.request, tmp_path / "trunk", shared.steps) == checkpoint
    assert not (tmp_path / "trunk" / "model.pt").exists()
    for kind, plan in PLANS.items():
        if kind in ("random", "limited", "fitted") and name != "ppo":
            continue  # they differ from the masked one in the pruner alone, whatever the algorithm
        request = request_for(name, plan)
        alone, branched = tmp_path / kind, tmp_path / f"{kind} branched"
        train(request, alone)
        branch(checkpoint, request, branched)
        train(request, branched, resume=True)
        assert_same_tensors(tensors_of(alone), tensors_of(branched))
        if kind == "fitted":
            assert plan is not None
            train(request_for(name, replace(plan, reconstruction=0)), tmp_path / "without")
            assert tensors_of(tmp_path / "without") != tensors_of(alone)
        assert metrics_of(branched) == metrics_of(alone)
        assert int(metrics_of(alone)[0][0]) <= int(checkpoint.stem), "rows of the trunk are among them"
        config, own = (json.loads((folder / "config.json").read_text()) for folder in (branched, alone))
        assert {**config, "started": ""} == {**own, "started": ""}


def test_runs_that_begin_with_other_widths_share_a_beginning_of_their_own(tmp_path: Path) -> None:
    known: dict[str, int] = {}
    requests = {kind: replace(request_for("ppo", PLANS[kind]), hidden=(48,)) for kind in ("unpruned", "masked")}
    shared, other = (trunk_of(request, known, TRUNK) for request in requests.values())
    assert shared is not None
    assert shared == other != trunk_of(request_for("ppo", None), known, TRUNK)
    checkpoint = train_until(shared.request, tmp_path / "trunk", shared.steps)
    for kind, request in requests.items():
        train(request, tmp_path / kind)
        branch(checkpoint, request, tmp_path / f"{kind} branched")
        train(request, tmp_path / f"{kind} branched", resume=True)
        assert_same_tensors(tensors_of(tmp_path / kind), tensors_of(tmp_path / f"{kind} branched"))
        assert metrics_of(tmp_path / kind) == metrics_of(tmp_path / f"{kind} branched")


def test_a_trunk_is_none_where_nothing_is_shared() -> None:
    assert trunk_of(request_for("ppo", PLANS["masked"]), {}, TRUNK) is not None
    early = PruningPlan(threshold=Sparsity(0.5), phases=Phases(start=0.0, end=0.5))
    assert trunk_of(request_for("ppo", early), {}, TRUNK) is None
    for widths in ((), (4, 4)):  # nothing to prune, and too little for the plan of a trunk
        assert trunk_of(replace(request_for("ppo", None), hidden=widths), {}, TRUNK) is None
    assert trunk_of(replace(request_for("ppo", PLANS["masked"]), guard_share=None), {}, TRUNK) is None
    assert trunk_of(replace(request_for("ppo", PLANS["masked"]), prune_critics=True), {}, TRUNK) is None
    assert trunk_of(small_request("ppo"), {}) is None, "the run has too few optimizer steps"


def test_looking_for_a_trunk_leaves_the_global_generators_alone() -> None:
    def drawn() -> list[float]:
        return [random.random(), float(np.random.random()), float(torch.rand(()))]

    def seeded() -> None:
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)

    seeded()
    first = drawn()
    trunk_of(request_for("ppo", PLANS["masked"]), {})
    second = drawn()
    seeded()
    assert [drawn(), drawn()] == [first, second]


def test_other_seeds_and_settings_have_other_trunks() -> None:
    request, known = request_for("ppo", PLANS["masked"]), {}  # type: TrainingRequest, dict[str, int]
    trunk = trunk_of(request, known, TRUNK)
    assert isinstance(trunk, Trunk)
    assert trunk_of(replace(request, seed=request.seed + 1), known, TRUNK) != trunk
    slower = replace(request.preset, model={**request.preset.model, "learning_rate": 1e-4})
    assert trunk_of(replace(request, preset=slower), known, TRUNK) != trunk


def test_a_branch_takes_no_folder_that_holds_a_run(tmp_path: Path) -> None:
    shared = trunk_of(request_for("ppo", None), {}, TRUNK)
    assert shared is not None
    checkpoint = train_until(shared.request, tmp_path / "trunk", shared.steps)
    branch(checkpoint, request_for("ppo", None), tmp_path / "run")
    with pytest.raises(InputError, match="holds a run already"):
        branch(checkpoint, request_for("ppo", None), tmp_path / "run")
    assert len(checkpoints_in(tmp_path / "run")) == 1


def test_a_run_that_ends_before_its_checkpoint_is_told(tmp_path: Path) -> None:
    request = small_request("ppo", plan=None)
    with pytest.raises(InputError, match="has no checkpoint after 5000 steps"):
        train_until(request, tmp_path / "run", 5000)


def test_training_is_told_apart_from_chance(tmp_path: Path) -> None:
    """The comparison above can fail: another seed ends with other bits."""
    one = train(request_for("dqn", None), tmp_path / "one").artifact
    other = train(replace(request_for("dqn", None), seed=4), tmp_path / "other").artifact
    pairs = zip(one.actor.parameters(), other.actor.parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)
