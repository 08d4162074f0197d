"""Parts of a checkpoint that no run writes: one line that names file and part, before anything is changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import LIMITED, run_until, small_request

from prunekit.errors import ArtifactError, InputError, PrunekitError
from prunekit.training.checkpoint import FORMAT, check_same, checkpoints_in, read_checkpoint
from prunekit.training.run import train

pytestmark = pytest.mark.xdist_group("checkpoint_parts")

Edit = Callable[[dict[str, Any]], object]
Runs = Callable[[str], Path]
LAST = {"ppo": 640, "guarded": 700, "sac": 400}


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Return what gives the folder of an interrupted run by its name."""
    folder = tmp_path_factory.mktemp("parts")

    @cache
    def of(name: str) -> Path:
        run_until(small_request(name), folder / name, LAST[name])
        return folder / name

    return of


def put(key: str, value: Any) -> Edit:
    """Return the edit that sets the entry at a dotted ``key``, whose numbers are indices."""

    def edit(content: dict[str, Any]) -> None:
        *path, last = key.split(".")
        place: Any = content
        for index, name in enumerate(path):
            entry = place[int(name)] if isinstance(place, list | tuple) else place.get(name)
            if isinstance(entry, tuple):
                entry = list(entry)
                place[name] = entry
            if entry is None and index:
                pytest.skip("this run has no such part")
            place = entry
        found = value(place[int(last)] if isinstance(place, list) else place[last]) if callable(value) else value
        place[int(last) if isinstance(place, list) else last] = found

    return edit


def negative(tensor: torch.Tensor) -> torch.Tensor:
    return tensor * float("nan")


EVERYWHERE: list[tuple[str, Any]] = [
    ("request.seed", {1, 2}),
    ("request.seed", float("nan")),
    ("records", {"next_checkpoint": 1}),
    ("records.next_checkpoint", "x"),
    ("records.next_record", 1.5),
    ("records.next_record", -1),
    ("records.fresh", torch.zeros(3)),
    ("records.fresh", ["x"]),
    ("records.fresh", [float("inf")]),
    ("records.last_returns", [0.0] * 101),
    ("records.last_returns", None),
    ("records.seconds", "long"),
    ("records.seconds", True),
    ("records.more", 1),
    ("pruners", {}),
    ("pruners", []),
    ("pruners", None),
    ("pruners.0", [1]),
    ("pruners.0.steps", "x"),
    ("pruners.0.steps", -1),
    ("pruners.0.steps", True),
    ("pruners.0.frozen", 1),
    ("pruners.0.lambda", "x"),
    ("pruners.0.lambda", float("nan")),
    ("pruners.0.usual_norm", None),
    ("pruners.0.units", []),
    ("pruners.0.units.keep", {}),
    ("pruners.0.units.sizes", {"0": 1.5}),
    ("pruners.0.streaks", {"a": 1}),
    ("pruners.0.gauge", None),
    ("pruners.0.gauge.deviation", "x"),
    ("pruners.0.gauge.deviation", torch.zeros(2, 2)),
    ("pruners.0.gauge.raw", {"x": torch.zeros(2)}),
    ("pruners.0.gauge.scores", 7),
    ("pruners.0.states", torch.zeros(3, 3)),
    ("pruners.0.states", [torch.zeros(3)]),
    ("pruners.0.states", ["x"]),
    ("pruners.0.clock", (0.5,)),
    ("pruners.0.clock", ("a", "b")),
    ("pruners.0.clock", (2.0, 0.0)),
    ("pruners.0.weight", 3),
    ("pruners.0.guard", {"latest": ["x"], "best": None}),
    ("pruners.0.guard", {"latest": [1.0], "best": "x"}),
    ("pruners.0.more", 1),
    ("learner.parameters", {}),
    ("learner.parameters.policy", {"x": torch.zeros(1)}),
    ("learner.parameters.more", {}),
    ("learner.variables", None),
    ("learner.counters", {}),
    ("learner.counters.num_timesteps", "x"),
    ("learner.counters.num_timesteps", -5),
    ("learner.counters.num_timesteps", 10**30),
    ("learner.counters._n_updates", 1.5),
    ("learner.generators", {}),
    ("learner.generators.torch", torch.zeros(3, dtype=torch.uint8)),
    ("learner.generators.torch", "x"),
    ("learner.generators.numpy.0", "PCG64"),
    ("learner.generators.numpy.1", torch.zeros(3, dtype=torch.int64)),
    ("learner.generators.numpy.1", torch.full((624,), -1)),
    ("learner.generators.numpy.1", torch.full((624,), 2**32)),
    ("learner.generators.numpy.2", 10**6),
    ("learner.generators.python.0", 2),
    ("learner.generators.python.1", [1, 2]),
    ("learner.generators.python.1", [-1] * 625),
]
SOMEWHERE: list[tuple[str, str, Any]] = [
    ("guarded", "learner.counters.exploration_rate", 7.0),
    ("guarded", "learner.buffer", None),
    ("guarded", "learner.buffer.pos", -1),
    ("guarded", "learner.buffer.pos", 400),
    ("guarded", "learner.buffer.full", 0),
    ("guarded", "learner.buffer.arrays.actions", torch.zeros(1, 1, 1)),
    ("guarded", "learner.buffer.arrays.actions", lambda array: array[:-1]),
    ("guarded", "learner.buffer.arrays.observations", lambda array: array.double()),
    ("guarded", "learner.normalizer", {"obs_rms": 1}),
    ("guarded", "learner.parameters.policy.q_net.q_net.0.weight", None),
    ("ppo", "learner.normalizer", None),
    ("ppo", "learner.normalizer.obs_rms.mean", torch.zeros(3)),
    ("ppo", "learner.normalizer.obs_rms.var", negative),
    ("ppo", "learner.normalizer.ret_rms.count", "x"),
    ("ppo", "learner.buffer", {"pos": 0}),
    ("ppo", "learner.parameters.policy.log_std", lambda tensor: tensor.double()),
    ("ppo", "learner.parameters.policy.log_std", negative),
    ("ppo", "learner.parameters.policy.log_std", torch.zeros(3, 3)),
    ("ppo", "learner.parameters.policy.log_std", torch.zeros(7)),
    ("ppo", "learner.parameters.policy.optimizer", None),
    ("sac", "learner.variables.log_ent_coef", torch.zeros(4)),
    ("sac", "learner.variables.log_ent_coef", "x"),
]


def refused(name: str, source: Path, edit: Edit, folder: Path, part: str) -> None:
    shutil.copytree(source, folder)
    newest = checkpoints_in(folder)[-1]
    content = torch.load(newest, weights_only=True)
    edit(content)
    torch.save(content, newest)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(PrunekitError) as refusal:
        train(small_request(name), folder, resume=True)
    told = str(refusal.value)
    assert isinstance(refusal.value, ArtifactError), told
    assert told.startswith(f"{newest}: ")
    assert "\n" not in told
    assert len(told) < 800
    assert part in told
    assert "remove it to continue from the previous one" in told
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("key", "value"), EVERYWHERE, ids=[f"{key}={str(value)[:12]!a}" for key, value in EVERYWHERE])
def test_a_part_that_no_run_writes(key: str, value: Any, interrupted: Runs, tmp_path: Path) -> None:
    refused("guarded", interrupted("guarded"), put(key, value), tmp_path / "run", key.split(".")[0])


@pytest.mark.parametrize(
    ("name", "key", "value"), SOMEWHERE, ids=[f"{key}={str(value)[:12]!a}" for _, key, value in SOMEWHERE]
)
def test_a_part_of_one_algorithm(name: str, key: str, value: Any, interrupted: Runs, tmp_path: Path) -> None:
    names = "learner.parameters.policy."  # those of its tensors have dots of their own

    def edit(content: dict[str, Any]) -> None:
        if key.startswith(names):
            inner = key.removeprefix(names)
            if inner == "optimizer":
                content["learner"]["parameters"]["policy.optimizer"]["param_groups"][0]["lr"] = "x"
                return
            tensors = content["learner"]["parameters"]["policy"]
            tensors[inner] = value(tensors[inner]) if callable(value) else value
        else:
            put(key, value)(content)

    refused(name, interrupted(name), edit, tmp_path / "run", "learner")


@pytest.mark.parametrize(
    "damage",
    [
        lambda optimizer: optimizer.update(state=[]),
        lambda optimizer: optimizer.update(param_groups=[]),
        lambda optimizer: optimizer["state"].update({99: {}}),
        lambda optimizer: optimizer["state"].update({0: {"step": "x"}}),
        lambda optimizer: optimizer["state"][0].update(exp_avg=torch.zeros(3)),
        lambda optimizer: optimizer["state"][0].update(exp_avg=torch.full((24, 3), float("nan"))),
        lambda optimizer: optimizer["param_groups"][0].update(lr=float("nan")),
        lambda optimizer: optimizer["param_groups"][0].update(betas="x"),
        lambda optimizer: optimizer["param_groups"][0].update(params=[0]),
        lambda optimizer: optimizer["param_groups"][0].update(more=1),
        lambda optimizer: optimizer["param_groups"][0].pop("eps"),
    ],
)
def test_an_optimizer_that_no_run_writes(damage: Edit, interrupted: Runs, tmp_path: Path) -> None:
    def edit(content: dict[str, Any]) -> None:
        damage(content["learner"]["parameters"]["policy.optimizer"])

    refused("guarded", interrupted("guarded"), edit, tmp_path / "run", "learner.parameters.policy.optimizer")


@pytest.mark.parametrize("value", [None, {}, {"largest": -1.0, "waiting": 0}, {"largest": 0.0, "waiting": 0.5}])
def test_a_trust_region_that_no_run_writes(value: Any, tmp_path: Path) -> None:
    request, folder = small_request("guarded", plan=LIMITED), tmp_path / "run"
    run_until(request, folder, 300)
    newest = checkpoints_in(folder)[-1]
    content = torch.load(newest, weights_only=True)
    assert content["pruners"][0]["trust_region"].keys() == {"largest", "waiting"}
    content["pruners"][0]["trust_region"] = value
    torch.save(content, newest)
    with pytest.raises(ArtifactError, match=r"pruners\[0\]\.trust_region"):
        train(request, folder, resume=True)


@pytest.mark.parametrize("name", LAST)
def test_whole_checkpoints_are_taken(name: str, interrupted: Runs, tmp_path: Path) -> None:
    shutil.copytree(interrupted(name), tmp_path / "run")
    assert train(small_request(name), tmp_path / "run", resume=True).status.steps >= small_request(name).total_steps


def test_what_differs_is_named_in_a_line_that_can_be_read() -> None:
    with pytest.raises(InputError) as refusal:
        check_same(Path("run"), {"versions": {"a" * 5000: "1"}}, {})
    assert "cannot be resumed: versions.aaa" in str(refusal.value)
    assert len(str(refusal.value)) < 500


def test_a_long_format_version_is_cut(tmp_path: Path) -> None:
    torch.save({"format": FORMAT, "version": "9" * 5000}, tmp_path / "1.pt")
    with pytest.raises(ArtifactError, match=r"checkpoint format 9{57}\.\.\., but this prunekit reads"):
        read_checkpoint(tmp_path / "1.pt")
