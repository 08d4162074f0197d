"""Law 5: a run killed at any moment and resumed ends with the bytes of a run that was never killed."""

from __future__ import annotations

import functools
import multiprocessing
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import killed_run
import pytest
from small_runs import FITTED, LIMITED, SETTINGS, assert_same_tensors, metrics_of, run_until, small_request, tensors_of

from prunekit.policy.artifact import load
from prunekit.training.checkpoint import checkpoints_in, read_checkpoint
from prunekit.training.run import train

pytestmark = pytest.mark.xdist_group("law_5")

CUTS = {"before the first checkpoint": 0.06, "dense": 0.15, "pruning": 0.5, "frozen": 0.88}
CASES = [(name, {"live_shrink": live}) for name in SETTINGS for live in (True, False)]
CASES += [("sac", {"prune_critics": True})]
CASES += [("ppo", {"plan": LIMITED}), ("td3", {"plan": LIMITED, "prune_critics": True})]
CASES += [("ppo", {"plan": FITTED}), ("sac", {"plan": FITTED, "prune_critics": True})]


def told(value: str | dict[str, Any]) -> str:
    """Return the name of a case; a plan's own words hold addresses, which differ between processes."""
    if isinstance(value, str):
        return value
    return " ".join(key if key == "plan" else f"{key}={entry}" for key, entry in value.items())


@functools.cache
def uninterrupted(name: str, **changes: Any) -> tuple[dict[str, bytes], list[tuple[str, ...]], dict[str, Any]]:
    """Return tensors, metrics and provenance of a run that was never interrupted."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        train(small_request(name, **changes), run)
        return tensors_of(run), metrics_of(run), load(run / "model.pt").provenance


def leftovers(folder: Path) -> list[Path]:
    """Return the temporary files of writes; the lock stays, as it is what the next process holds."""
    return [path for path in folder.rglob(".*") if path.name != ".lock"]


def assert_ended_alike(folder: Path, name: str, **changes: Any) -> None:
    tensors, metrics, provenance = uninterrupted(name, **changes)
    assert_same_tensors(tensors_of(folder), tensors)
    assert metrics_of(folder) == metrics
    assert load(folder / "model.pt").provenance["returns"] == provenance["returns"]
    assert leftovers(folder) == [], "leftovers of writes that were cut off"


@pytest.mark.parametrize(("name", "changes"), CASES, ids=told)
def test_a_run_interrupted_in_every_phase_ends_as_if_it_never_was(
    name: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    request, folder = small_request(name, **changes), tmp_path / "run"
    cuts = [*CUTS.items(), *([("in a pause", 0.58), ("after a pause", 0.65)] if name == "guarded" else [])]
    phases = {}
    for cut, share in sorted(cuts, key=lambda cut: cut[1]):
        phases[cut] = run_until(request, folder, int(share * request.total_steps))
    train(request, folder, resume=True)
    assert_ended_alike(folder, name, **changes)
    if name != "guarded":
        assert list(phases.values()) == ["dense", "dense", "pruning", "frozen"]


def test_the_guarded_run_does_pause() -> None:
    _, metrics, _ = uninterrupted("guarded", live_shrink=True)
    within = {"paused", "pruning", "overruled"}
    assert sum("paused" in row for row in metrics) / sum(within & {*row} != set() for row in metrics) > 0.2


def test_other_requests_end_otherwise() -> None:
    first, _, _ = uninterrupted("dqn", live_shrink=True)
    other, _, _ = uninterrupted("dqn", seed=4)
    assert first != other, "or the comparison of tensors shows nothing"


@contextmanager
def run_apart(name: str, folder: Path, *moment: str) -> Iterator[BaseProcess]:
    """Begin a run in a process of its own, forked from one that has imported what takes as long as a run to import."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["prunekit.training.run", "stable_baselines3"])
    process = context.Process(target=killed_run.run, args=(name, folder, *moment))
    process.start()
    yield process
    process.join()


@pytest.mark.parametrize("moment", ["half-written", "before-rename", "after-rename"])
def test_a_run_killed_inside_a_checkpoint_s_write(moment: str, tmp_path: Path) -> None:
    request, folder = small_request("dqn"), tmp_path / "run"
    steps = [-(-number * request.checkpoint_every // 2) * 2 for number in (2, 3, 4)]  # a rollout has two steps
    with run_apart("dqn", folder, moment, f"{steps[2]:012}.pt") as child:
        pass
    assert child.exitcode == -signal.SIGKILL
    left = [path.name for path in checkpoints_in(folder)]
    assert left == [f"{step:012}.pt" for step in (steps if moment == "after-rename" else steps[:2])]
    for path in checkpoints_in(folder):
        read_checkpoint(path)
    assert len(leftovers(folder)) == (moment != "after-rename")
    train(request, folder, resume=True)
    assert_ended_alike(folder, "dqn", live_shrink=True)


@pytest.mark.parametrize(("moment", "file"), [("before-rename", "model.pt"), ("half-written", "agent.zip")])
def test_a_run_killed_while_it_writes_its_results(moment: str, file: str, tmp_path: Path) -> None:
    request, folder = small_request("dqn"), tmp_path / "run"
    with run_apart("dqn", folder, moment, file) as child:
        pass
    assert child.exitcode == -signal.SIGKILL
    assert not (folder / file).exists()
    train(request, folder, resume=True)
    tensors, metrics, _ = uninterrupted("dqn", live_shrink=True)
    assert_same_tensors(tensors_of(folder), tensors)
    assert metrics_of(folder) == metrics


def test_a_run_killed_again_and_again_at_random_moments(tmp_path: Path) -> None:
    request, folder = small_request("ppo"), tmp_path / "run"
    metrics = folder / "metrics.csv"
    for _ in range(2):
        with run_apart("ppo", folder) as child:
            before = metrics.stat().st_mtime_ns if metrics.exists() else 0
            while child.is_alive() and not (metrics.exists() and metrics.stat().st_mtime_ns > before):
                time.sleep(0.005)
            time.sleep(random.uniform(0.0, 0.5))
            child.kill()
    if (folder / "model.pt").exists():
        pytest.skip("the run was faster than the kill")
    train(request, folder, resume=True)
    assert_ended_alike(folder, "ppo", live_shrink=True)
