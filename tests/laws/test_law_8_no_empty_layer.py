"""Law 8: a group keeps at least ``min_units``; a request below that is an error, not a dead network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from law_files import FORMATS, SOUND, loaded_or_refused, sound_data, torch_saved
from law_strategies import Case, cases, fill_, seeded, seeds
from torch import nn

from prunekit.errors import EmptyGroupError, InputError
from prunekit.policy.actor import Actor
from prunekit.policy.artifact import Artifact, make_artifact
from prunekit.policy.compaction import compact
from prunekit.policy.heads import ArgmaxHead
from prunekit.pruning.importance import Evidence, Importance, UnitImportance, output_sensitivity
from prunekit.pruning.masks import masked
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.pruner import Pruner
from prunekit.pruning.schedules import Budget, Phases, Sparsity, Threshold
from prunekit.pruning.surgery import shrink

STEPS = 40


def chain(widths: Sequence[int], seed: int = 0) -> nn.Sequential:
    modules: list[nn.Module] = []
    for before, after in zip([3, *widths], [*widths, 2], strict=True):
        modules += [nn.Linear(before, after), nn.Tanh()]
    network = nn.Sequential(*modules[:-1])
    fill_(network, seed)
    return network


def pruner_for(network: nn.Module, plan: PruningPlan) -> tuple[Pruner, torch.optim.Optimizer]:
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    return Pruner(network, optimizer, STEPS, plan), optimizer


def lopsided(loved: int) -> Importance:
    """Return an importance under which one group is worth all and the units of the others nothing."""

    def score(evidence: Evidence) -> UnitImportance:
        names = [group.name for group in evidence.groups]
        loved_name = names[loved % len(names)]
        return {group.name: torch.full((group.width,), float(group.name == loved_name)) for group in evidence.groups}

    return score


def one_unit_worth_all(evidence: Evidence) -> UnitImportance:
    return {group.name: torch.eye(group.width)[0] for group in evidence.groups}


IMPORTANCES: list[Importance] = [output_sensitivity, one_unit_worth_all, lopsided(0), lopsided(1)]


def train_and_watch(network: nn.Module, plan: PruningPlan, seed: int) -> Pruner:
    """Train to the end; after every step each group must hold at least ``min_units``."""
    pruner, optimizer = pruner_for(network, plan)
    generator = seeded(seed)
    for _ in range(STEPS):
        optimizer.zero_grad()
        network(torch.randn(8, 3, generator=generator)).square().mean().backward()
        optimizer.step()
        for name, keep in pruner.masks.items():
            assert int(keep.sum()) >= plan.min_units, f"group {name} went below {plan.min_units} units"
    return pruner


def plans(threshold: Threshold, min_units: int) -> st.SearchStrategy[PruningPlan]:
    return st.builds(
        PruningPlan,
        threshold=st.just(threshold),
        importance=st.sampled_from(IMPORTANCES),
        phases=st.sampled_from([Phases(), Phases(start=0.0, end=0.5), Phases(start=0.1, end=0.2, full=0.5)]),
        checks=st.sampled_from([3, 10, 200]),
        patience=st.integers(1, 3),
        share_per_check=st.sampled_from([0.1, 0.5, 1.0]),
        min_units=st.just(min_units),
    )


widths = st.lists(st.integers(1, 12), min_size=1, max_size=3)


@settings(deadline=None, max_examples=40)
@given(cases(), st.data())
def test_masks_below_min_units_are_refused(case: Case, data: st.DataObject) -> None:
    fewest = min(int(keep.sum()) for keep in case.masks.values())
    small = shrink(case.network, case.masks, min_units=fewest)
    for name, keep in case.masks.items():
        assert small.get_submodule(name).out_features == int(keep.sum())
    with pytest.raises(EmptyGroupError):
        shrink(case.network, case.masks, min_units=fewest + 1)
    name = data.draw(st.sampled_from(sorted(case.masks)))
    empty = {**case.masks, name: torch.zeros_like(case.masks[name])}
    for surgery in (shrink, masked):
        with pytest.raises(EmptyGroupError, match=f"'{name}'"):
            surgery(case.network, empty)


@pytest.mark.parametrize("min_units", [0, -1])
def test_no_min_units_allows_an_empty_group(min_units: int) -> None:
    network = chain([4])
    with pytest.raises(EmptyGroupError):
        shrink(network, {"0": torch.zeros(4, dtype=torch.bool)}, min_units=min_units)
    with pytest.raises(InputError):
        pruner_for(network, PruningPlan(threshold=Sparsity(0.0), min_units=min_units))


def empty_artifact() -> Artifact:
    actor = Actor(chain([4, 4]), ArgmaxHead())
    return make_artifact(actor, {"0": torch.ones(4, dtype=torch.bool), "2": torch.zeros(4, dtype=torch.bool)}, {})


def test_an_empty_group_is_not_compacted() -> None:
    with pytest.raises(EmptyGroupError, match="'2'"):
        compact(empty_artifact())


@pytest.mark.parametrize("version", FORMATS)
def test_an_empty_group_is_not_loaded(version: int) -> None:
    data = sound_data(SOUND[version])
    assert loaded_or_refused(torch_saved(data)) is not None
    data["masks"] = {"0": torch.zeros(4, dtype=torch.bool)}
    assert loaded_or_refused(torch_saved(data)) is None


@settings(deadline=None, max_examples=60)
@given(widths, st.floats(0.0, 1.0, exclude_max=True), st.integers(1, 6))
def test_a_sparsity_is_refused_exactly_where_it_leaves_too_few(
    widths: list[int], target: float, min_units: int
) -> None:
    total = sum(widths)
    assume(abs(target * total - round(target * total)) > 1e-6 or target == 0.0)
    left = total - math.ceil(target * total)
    plan = PruningPlan(threshold=Sparsity(target), min_units=min_units)
    if left < min_units * len(widths) or min(widths) < min_units:
        with pytest.raises(EmptyGroupError):
            pruner_for(chain(widths), plan)
    else:
        pruner_for(chain(widths), plan)


@settings(deadline=None, max_examples=20)
@given(widths, st.integers(1, 3), seeds(), st.data())
def test_the_highest_sparsity_leaves_every_group_its_min_units(
    widths: list[int], min_units: int, seed: int, data: st.DataObject
) -> None:
    assume(min(widths) >= min_units)
    removable = sum(widths) - min_units * len(widths)
    plan = data.draw(plans(Sparsity(removable / sum(widths)), min_units))
    pruner = train_and_watch(chain(widths, seed), plan, seed)
    removed = sum(int((~keep).sum()) for keep in pruner.masks.values())
    assert removed <= removable


@settings(deadline=None, max_examples=18)
@given(widths, st.integers(1, 3), st.sampled_from([0.3, 0.9, 0.999999]), seeds(), st.data())
def test_the_highest_budget_leaves_every_group_its_min_units(
    widths: list[int], min_units: int, budget: float, seed: int, data: st.DataObject
) -> None:
    assume(min(widths) >= min_units)
    train_and_watch(chain(widths, seed), data.draw(plans(Budget(budget), min_units)), seed)


def test_a_sparsity_that_just_fits_is_reached() -> None:
    plan = PruningPlan(threshold=Sparsity(0.875), patience=1, share_per_check=1.0, checks=20, min_units=2)
    pruner = train_and_watch(chain([16, 16]), plan, seed=1)
    assert {name: int(keep.sum()) for name, keep in pruner.masks.items()} == {"0": 2, "2": 2}


@pytest.mark.parametrize("change", [{"patience": 0}, {"patience": -1}, {"min_units": 0}], ids=str)
def test_no_plan_kills_a_protected_unit(change: dict[str, int]) -> None:
    """A plan that cannot be meant is refused, or keeps ``min_units`` all the same."""
    plan = PruningPlan(threshold=Sparsity(0.25), share_per_check=1.0, checks=30, patience=1)
    try:
        plan = replace(plan, **change)  # type: ignore[arg-type]
        train_and_watch(chain([4, 4]), plan, seed=1)
    except InputError:
        return
