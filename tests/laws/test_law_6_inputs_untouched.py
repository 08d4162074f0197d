"""Law 6: no function without a trailing ``_`` changes the module it is given."""

from __future__ import annotations

import gc
import inspect
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from law_strategies import Built, Case, Deployed, cases, deployed, networks, seeded, tensors_of
from torch import Tensor, nn

from prunekit.export.onnx import export_onnx
from prunekit.policy.actor import Actor
from prunekit.policy.artifact import load, make_artifact, save
from prunekit.policy.compaction import compact
from prunekit.policy.program import lower
from prunekit.pruning import importance
from prunekit.pruning.forward_pass import forward_pass
from prunekit.pruning.groups import find_groups
from prunekit.pruning.importance import Evidence, Importance
from prunekit.pruning.masks import full_masks, masked
from prunekit.pruning.penalties import median_norm
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.pruner import Pruner, first_tensor
from prunekit.pruning.schedules import Sparsity
from prunekit.pruning.slices import Group
from prunekit.pruning.surgery import shrink

IMPORTANCES: dict[str, Importance] = {
    name: function
    for name, function in inspect.getmembers(importance, inspect.isfunction)
    if list(inspect.signature(function).parameters) == ["evidence"] and not name.startswith("_")
}


def snapshot(module: nn.Module) -> dict[str, Any]:
    """Return everything about ``module`` that a function could change, in plain comparable values."""
    seen: dict[str, Any] = {}
    for kind in ("named_parameters", "named_buffers"):
        for name, tensor in getattr(module, kind)():
            values = [tensor] if tensor.grad is None else [tensor, tensor.grad]
            exact = [value.detach().cpu().numpy().tobytes() for value in values]
            seen[name] = (id(tensor), exact, tensor.dtype, tuple(tensor.shape), tensor.requires_grad, tensor._version)
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            if "hooks" in name:
                seen[f"{path}:{name}"] = list(value) if isinstance(value, dict) else value
            elif isinstance(value, bool | int | float | str | tuple):
                seen[f"{path}:{name}"] = value
        seen[f"{path}:type"] = (id(part), type(part), type(part).forward)
    return seen


def lived_in_(network: nn.Module, inputs: Tensor) -> None:
    """Give the network what a network in training has: gradients, hooks, mixed modes, a frozen parameter."""
    torch.cat([output.square().reshape(-1) for output in tensors_of(network(inputs))]).sum().backward()  # type: ignore[no-untyped-call]
    network.register_forward_pre_hook(lambda *_: None)
    for index, part in enumerate(network.modules()):
        part.register_forward_hook(lambda *_: None)
        part.training = index % 2 == 0
    list(network.parameters())[-1].requires_grad_(False)


def masked_and_used(case: Case) -> None:
    copied = masked(case.network, case.masks)
    for tensor in copied.parameters():
        tensor.detach().fill_(7.0)
    copied.eval()


def shrunk_and_used(case: Case) -> None:
    small = shrink(case.network, case.masks)
    for tensor in small.parameters():
        tensor.detach().fill_(7.0)
    small.train()


def measured_norm(case: Case) -> None:
    median_norm(case.network, find_groups(case.network))


USES: dict[str, Callable[[Case], object]] = {
    "find_groups": lambda case: find_groups(case.network),
    "masked": masked_and_used,
    "shrink": shrunk_and_used,
    "usual_norm": measured_norm,
}


@pytest.mark.parametrize("use", USES)
@settings(deadline=None, max_examples=15)
@given(cases())
def test_surgery_leaves_the_network_and_the_masks_alone(use: str, case: Case) -> None:
    lived_in_(case.network, case.inputs)
    before, keeps = snapshot(case.network), {name: keep.clone() for name, keep in case.masks.items()}
    USES[use](case)
    assert snapshot(case.network) == before
    assert all(torch.equal(case.masks[name], keep) for name, keep in keeps.items())


def evidence_of(network: nn.Module, groups: Sequence[Group], states: Tensor) -> Evidence:
    seen = forward_pass(network, groups, states, first_tensor)
    return Evidence(
        network=network,
        groups=groups,
        seen=seen,
        output_deviation=torch.ones(seen.output.shape[1]),
        keep=full_masks(groups),
    )


@pytest.mark.parametrize("name", IMPORTANCES)
@settings(deadline=None, max_examples=15)
@given(networks())
def test_an_importance_leaves_the_network_and_the_states_alone(name: str, built: Built) -> None:
    states = torch.randn(16, built.inputs, generator=seeded(1))
    lived_in_(built.network, states)
    before, seen = snapshot(built.network), states.clone()
    groups = find_groups(built.network)
    scores = IMPORTANCES[name](evidence_of(built.network, groups, states))
    assert set(scores) == set(built.coupling)
    assert snapshot(built.network) == before
    assert torch.equal(states, seen)
    assert states.grad is None


@pytest.mark.parametrize("name", IMPORTANCES)
@pytest.mark.parametrize("frozen", [1, 2, 3])
def test_an_importance_of_frozen_layers_is_what_it_was_and_leaves_them_frozen(frozen: int, name: str) -> None:
    network = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2))
    groups, states = find_groups(network), torch.randn(16, 3, generator=seeded(1))
    expected = IMPORTANCES[name](evidence_of(network, groups, states))
    for layer in list(network)[: 2 * frozen : 2]:
        layer.requires_grad_(False)
    before = snapshot(network)
    for group, scores in IMPORTANCES[name](evidence_of(network, groups, states)).items():
        torch.testing.assert_close(scores, expected[group])
    assert snapshot(network) == before


def test_every_importance_is_among_those_tested() -> None:
    assert {"output_sensitivity", "taylor", "group_norm", "weight_propagation"} <= set(IMPORTANCES)


def with_dead_units(actor: Actor) -> dict[str, Tensor]:
    groups = find_groups(actor.network)
    return {name: keep.index_fill(0, torch.tensor([0]), False) for name, keep in full_masks(groups).items()}


def saved_and_loaded(actor: Actor, folder: Path) -> None:
    artifact = make_artifact(actor, with_dead_units(actor), {})
    before = snapshot(artifact.actor)
    save(artifact, folder / "model.pt")
    assert snapshot(artifact.actor) == before
    for tensor in load(folder / "model.pt").actor.parameters():
        tensor.detach().fill_(7.0)


def compacted_and_used(actor: Actor, folder: Path) -> None:
    artifact = make_artifact(actor, with_dead_units(actor), {})
    before = snapshot(artifact.actor)
    for tensor in compact(artifact).artifact.actor.network.parameters():
        tensor.detach().fill_(7.0)
    assert snapshot(artifact.actor) == before


DEPLOYMENTS: dict[str, Callable[[Actor, Path], object]] = {
    "lower": lambda actor, _: lower(actor),
    "make_artifact": lambda actor, _: make_artifact(actor, with_dead_units(actor), {"seed": 1}),
    "save": saved_and_loaded,
    "compact": compacted_and_used,
    "export_onnx": lambda actor, folder: export_onnx(actor, folder / "policy.onnx", {}),
}


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
@settings(deadline=None, max_examples=12)
@given(deployed())
def test_deployment_leaves_the_actor_alone(deployment: str, case: Deployed) -> None:
    lived_in_(case.actor.network, torch.from_numpy(case.observations))
    before = snapshot(case.actor)
    with tempfile.TemporaryDirectory() as folder:
        DEPLOYMENTS[deployment](case.actor, Path(folder))
    assert snapshot(case.actor) == before


def test_the_snapshot_sees_every_kind_of_change() -> None:
    changes: dict[str, Callable[[nn.Linear], object]] = {
        "weight": lambda linear: linear.weight.data.add_(1e-6),
        "weight written over with itself": lambda linear: linear.weight.detach().mul_(1.0),
        "replaced": lambda linear: setattr(linear, "weight", nn.Parameter(linear.weight.detach().clone())),
        "gradient": lambda linear: setattr(linear.weight, "grad", torch.ones(2, 2)),
        "frozen": lambda linear: linear.requires_grad_(False),
        "mode": lambda linear: linear.eval(),
        "hook": lambda linear: linear.register_forward_hook(lambda *_: None),
        "size": lambda linear: setattr(linear, "in_features", 3),
        "buffer": lambda linear: linear.register_buffer("extra", torch.ones(1)),
    }
    for name, change in changes.items():
        linear = nn.Linear(2, 2)
        before = snapshot(linear)
        assert snapshot(linear) == before
        change(linear)
        assert snapshot(linear) != before, name


def test_copies_keep_none_of_their_inputs() -> None:
    """The pruner's forward hook, copied with the network, would go on collecting states in what is deployed."""
    network = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
    pruner = Pruner(network, torch.optim.Adam(network.parameters()), 100, PruningPlan(threshold=Sparsity(0.5)))
    pruners = living(Pruner)
    for copied in (shrink(network, pruner.masks), masked(network, pruner.masks)):
        before = living(Tensor)
        with torch.no_grad():
            for _ in range(3):
                copied(torch.zeros(2, 3))
        assert living(Tensor) == before
    assert living(Pruner) == pruners


def living(kind: type) -> int:
    gc.collect()
    return sum(type(found) is kind for found in gc.get_objects())
