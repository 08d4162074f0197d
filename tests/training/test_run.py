"""A whole run, small: what it writes, and that it repeats itself."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from gymnasium.envs.classic_control import CartPoleEnv
from small_runs import LIMITED, PLAN, small_request

from prunekit.errors import InputError
from prunekit.policy.artifact import load
from prunekit.pruning.plan import PruningPlan
from prunekit.readers.sb3.statistics import read_vec_normalize
from prunekit.simulators.spec import EnvironmentSpec
from prunekit.training.checkpoint import KEPT, checkpoints_in
from prunekit.training.command import TrainOptions, prepare
from prunekit.training.presets import preset_for
from prunekit.training.request import TrainingRequest
from prunekit.training.run import CRITIC, TrainingResult, train
from prunekit.training.status import Status


def small_run(
    folder: Path, seed: int = 0, *, dense: bool = False, normalize: bool = False, live_shrink: bool = True
) -> tuple[TrainingResult, list[Status]]:
    plan = None if dense else PruningPlan()
    preset = preset_for("CartPole-v1", "ppo")
    model = {**preset.model, "n_steps": 32, "batch_size": 64}
    preset = replace(preset, hidden=(32, 32), normalize=normalize, model=model)
    seen: list[Status] = []

    class Collect:
        def update(self, status: Status) -> None:
            seen.append(status)

    request = TrainingRequest(
        env_id="CartPole-v1", algorithm="ppo", preset=preset, seed=seed, steps=4096, plan=plan, live_shrink=live_shrink
    )
    return train(request, folder, [Collect()]), seen


FILES = {".lock", "agent.zip", "checkpoint", "config.json", "metrics.csv", "model.pt", "tensorboard"}


def test_a_run_writes_what_it_says(tmp_path: Path) -> None:
    result, seen = small_run(tmp_path / "run")
    folder = result.folder
    assert {path.name for path in folder.iterdir()} == FILES
    assert any((folder / "tensorboard").iterdir())
    assert len(checkpoints_in(folder)) == KEPT
    config = json.loads((folder / "config.json").read_text())
    assert config["env"] == {"id": "CartPole-v1", "kwargs": {}}
    assert config["plan"]["threshold"] == {"sparsity": 0.93}
    assert "torch" in config["versions"]
    rows = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    assert len(rows) == len(seen)
    assert rows[-1]["phase"] == "frozen"
    assert int(rows[0]["living_0"]) == 32
    artifact = load(folder / "model.pt")
    assert all(bool(keep.all()) for keep in artifact.masks.values())
    assert sum(keep.numel() for keep in artifact.masks.values()) == 4  # floor of 7% of 64 units
    assert artifact.provenance["original_hidden"] == [32, 32]
    living = [keep.numel() for keep in artifact.masks.values()]
    assert list(result.status.living.values()) == [(units, 32) for units in living]
    assert artifact.provenance["returns"]["random_mean"] == pytest.approx(22, abs=10)
    assert result.complete


def test_a_run_with_masks_alone_writes_a_model_of_the_original_widths(tmp_path: Path) -> None:
    result, _ = small_run(tmp_path / "run", live_shrink=False)
    artifact = load(result.folder / "model.pt")
    assert [keep.numel() for keep in artifact.masks.values()] == [32, 32]
    kept = [int(keep.sum()) for keep in artifact.masks.values()]
    assert sum(kept) == 4
    assert list(result.status.living.values()) == [(units, 32) for units in kept]
    assert "original_hidden" not in artifact.provenance
    assert json.loads((result.folder / "config.json").read_text())["live_shrink"] is False


def test_a_run_on_normalized_observations_leaves_their_statistics(tmp_path: Path) -> None:
    result, _ = small_run(tmp_path / "run", normalize=True)
    assert {path.name for path in result.folder.iterdir()} == FILES | {"vec_normalize.pkl"}
    normalizer = load(result.folder / "model.pt").actor.normalizer
    written = read_vec_normalize(result.folder / "vec_normalize.pkl")
    assert normalizer is not None
    assert torch.equal(torch.from_numpy(written.mean), normalizer.mean)
    assert torch.equal(torch.from_numpy(written.scale), normalizer.scale)


def test_a_run_repeats_itself_bit_for_bit(tmp_path: Path) -> None:
    first, _ = small_run(tmp_path / "a")
    second, _ = small_run(tmp_path / "b")
    other, _ = small_run(tmp_path / "c", seed=1)
    weights = [run.artifact.actor.network.state_dict() for run in (first, second, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not all(torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


def test_the_dense_control_prunes_nothing(tmp_path: Path) -> None:
    result, seen = small_run(tmp_path / "run", dense=True)
    assert all(bool(keep.all()) for keep in result.artifact.masks.values())
    assert {status.phase for status in seen} == {"dense"}
    assert {path.name for path in result.folder.iterdir()} == FILES
    assert "original_hidden" not in result.artifact.provenance


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "keep.txt").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        small_run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["keep.txt"]


def test_a_run_of_one_rollout_ends_without_final_masks(tmp_path: Path) -> None:
    preset = preset_for("CartPole-v1", "ppo")
    result = train(
        TrainingRequest(env_id="CartPole-v1", algorithm="ppo", preset=preset, seed=0, steps=64, plan=PruningPlan()),
        tmp_path / "run",
    )
    assert not result.complete
    assert (tmp_path / "run" / "model.pt").is_file()


def test_whole_episodes_fit_between_checkpoints_by_default(tmp_path: Path) -> None:
    def every(**options: Any) -> int:
        return prepare(TrainOptions(out=tmp_path / "run", **options))[0].checkpoint_every

    assert every(env="CartPole-v1", steps=20_000) == 4096  # 8 environments, 500 steps each, rollouts of 1,024
    assert every(env="CartPole-v1") == 7_500
    assert every(env="CartPole-v1", algo="dqn", steps=1_000) == 512  # an environment, rollouts of 256
    assert every(env="CartPole-v1", steps=20_000, checkpoint_every=1_000) == 1_000
    short = EnvironmentSpec(name="short", source="CartPole-v1", kwargs={"max_episode_steps": 10})
    assert every(env=short, algo="dqn", steps=200) == 12  # rollouts of 4
    assert every(env=EnvironmentSpec(name="endless", source=CartPoleEnv), steps=20_000) == 1_000


def test_a_run_ends_with_a_whole_rollout_and_tells_of_checkpoints_that_cut_off_episodes(tmp_path: Path) -> None:
    request = small_request("dqn", steps=600, checkpoint_steps=200)
    result = train(request, tmp_path / "run")
    assert result.notes == (
        "checkpoints every 200 steps reset the environments, which cuts off long episodes (up to 500 steps) and leaves "
        "them out of the training return; give `checkpoint_every` 500 or more",
    )
    assert "over the last training episodes, " in result.summary
    old = replace(result, last_episodes=500)
    assert "over the last training episodes (up to step 500), " in old.summary

    preset = replace(request.preset, model={**request.preset.model, "train_freq": 7})
    uneven = replace(request, preset=preset, checkpoint_steps=None)
    status = train(uneven, tmp_path / "uneven").status
    assert status.steps == status.total_steps == uneven.trained_steps == 602


def test_the_environment_is_stamped_with_its_version(tmp_path: Path) -> None:
    preset = preset_for("CartPole-v1", "ppo")
    result = train(
        TrainingRequest(env_id="CartPole", algorithm="ppo", preset=preset, seed=0, steps=64), tmp_path / "run"
    )
    assert result.artifact.provenance["env"]["id"] == "CartPole-v1"


def test_a_run_with_a_limit_tells_how_far_its_removals_moved_the_policy(tmp_path: Path) -> None:
    request = small_request("ppo", plan=LIMITED)
    assert train(request, tmp_path / "run").complete
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    moved = [float(row["divergence"]) for row in rows]
    assert moved[0] == 0.0 < max(moved) <= 1e-7, "all units that waited went within the window"
    assert moved[-1] == 0.0, "every row begins anew"
    waiting = [int(row["waiting"]) for row in rows]
    assert waiting[0] == waiting[-1] == 0 < max(waiting)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["plan"]["max_divergence"] == 1e-7


def test_critics_are_pruned_without_the_limit(tmp_path: Path) -> None:
    """They are no policies; what they do is what they do without a limit on the actor."""
    ends = []
    for name, plan in (("free", PLAN), ("limited", LIMITED)):
        found = train(small_request("ppo", plan=plan, prune_critics=True), tmp_path / name)
        assert found.complete
        ends.append({group: living for group, living in found.status.living.items() if group.startswith(CRITIC)})
    assert ends[0].keys() == ends[1].keys() != set()
    assert [sum(living for living, _ in end.values()) for end in ends] == [11, 11]


@pytest.mark.parametrize(
    ("option", "setting", "value", "other"),
    [
        ("max_divergence", "max_divergence", 0.03, 0.1),
        ("reconstruction", "reconstruction", 5, 0),
        ("penalty", "strength", 0.1, 0.0),
    ],
)
def test_an_option_can_be_given_and_again_when_a_run_goes_on(
    option: str, setting: str, value: float, other: float, tmp_path: Path
) -> None:
    words = {"env": "CartPole-v1", "algo": "ppo", "steps": 2000}
    request, _ = prepare(TrainOptions(**words, **{option: value}, out=tmp_path / "run"))
    assert request.plan is not None
    assert getattr(request.plan, setting) == value
    (tmp_path / "run").mkdir()
    config = {**request.to_dict(), "versions": {}, "started": "now"}
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    for again, wanted in (({}, value), ({option: value}, value), ({option: other}, other), ({"sparsity": 0.93}, value)):
        found, _ = prepare(TrainOptions(**again, out=tmp_path / "run"), True)
        assert found.plan is not None
        assert getattr(found.plan, setting) == wanted
