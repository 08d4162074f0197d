"""Training runs that are killed and resumed again and again until they end, and compared with one that never was."""

from __future__ import annotations

import csv
import json
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from resume import numbers_of

from killing.victims import Ended, after, changed, killed, on_change, on_sight, run, signal_of
from prunekit.errors import InputError
from prunekit.policy.artifact import load
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.schedules import Phases, Sparsity
from prunekit.training.checkpoint import checkpoints_in, read_checkpoint
from prunekit.training.presets import preset_for
from prunekit.training.request import TrainingRequest
from prunekit.versions import installed_versions

_OFF_POLICY = {"learning_starts": 100, "batch_size": 64, "train_freq": 4, "gradient_steps": 1, "buffer_size": 400}
INSIDE = 0.3
"""Share of the kills that are aimed into the writing of a checkpoint."""
_EARLY = 0.2
"""Share of the kills whose time counts from the beginning of the process, not of the training in it."""
_LONGEST_SHARE = 0.4
"""Of the time that a whole run takes: how long a process may train, at most, before it is killed."""
_OF_THE_CLOCK = ("seconds", "steps_per_second")


@dataclass(frozen=True, kw_only=True)
class Training:
    """A short run: environment, steps, and the settings that differ from the preset's."""

    env_id: str
    algorithm: str
    steps: int
    settings: dict[str, Any]

    @property
    def config(self) -> dict[str, Any]:
        """What ``config.json`` of the run holds when it has begun."""
        preset = preset_for(self.env_id, self.algorithm)
        preset = replace(preset, n_envs=min(preset.n_envs, 2), hidden=(24, 20), model={**preset.model, **self.settings})
        plan = PruningPlan(
            threshold=Sparsity(0.75), phases=Phases(start=0.2, end=0.7), checks=16, patience=2, states=256
        )
        request = TrainingRequest(
            env_id=self.env_id,
            algorithm=self.algorithm,
            preset=preset,
            seed=3,
            steps=self.steps,
            plan=plan,
            checkpoint_steps=self.steps // 16,
        )
        return {**request.to_dict(), "versions": installed_versions(), "started": "2026-01-01T00:00:00Z"}


TRAININGS = {
    "ppo": Training(
        env_id="CartPole-v1", algorithm="ppo", steps=4_096, settings={"n_steps": 64, "batch_size": 64, "n_epochs": 2}
    ),
    "dqn": Training(
        env_id="CartPole-v1", algorithm="dqn", steps=1_600, settings={**_OFF_POLICY, "target_update_interval": 70}
    ),
    "sac": Training(env_id="Pendulum-v1", algorithm="sac", steps=500, settings=_OFF_POLICY),
    "td3": Training(env_id="Pendulum-v1", algorithm="td3", steps=800, settings=_OFF_POLICY),
}


def kill_training(name: str, folder: Path, begin_at: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield a record per kill, for ever, the first of them number ``begin_at``.

    Where a run has ended, the record says in ``equal`` whether it ended like the one that was never killed, and
    another one begins.
    """
    training = TRAININGS[name]
    whole = folder / name / "whole"
    shutil.rmtree(whole, ignore_errors=True)
    began = time.monotonic()
    ended = _gone_on(training, whole, run)
    longest = _LONGEST_SHARE * (time.monotonic() - began)
    if ended.code != 0:
        raise RuntimeError(f"the run that is never killed failed: {ended.said}")
    expected = left_by(whole)
    other, number, misses = folder / name / "killed", begin_at, 0
    shutil.rmtree(other, ignore_errors=True)
    while True:
        generator = random.Random(f"{seed}/{name}/{number}/{misses}")
        sent = signal_of(number)
        aim, share = generator.random(), generator.random()
        inside = aim < INSIDE
        if inside:
            moment = on_sight(other / "checkpoint", ".0*.pt.*", generator.choice((0.0, 0.0005, 0.001)))
        elif aim < INSIDE + _EARLY:
            moment = after(share * longest)
        else:
            moment = on_change(other / "metrics.csv", share * longest)
        metrics = changed(other / "metrics.csv")
        ended = _gone_on(training, other, partial(killed, sent=sent, now=moment))
        troubles = ended.troubles(sent)
        training_had_begun = inside or changed(other / "metrics.csv") != metrics
        if ended.code > 128 and training_had_begun and "--resume" not in ended.said:
            troubles.append(f"no hint to --resume: {ended.said[-200:]}")
        for path in checkpoints_in(other):
            try:
                read_checkpoint(path)
            except InputError as error:
                troubles.append(f"torn: {error}")
        record: dict[str, Any] = {"code": ended.code, "inside": inside, "troubles": troubles}
        if (other / "model.pt").exists():
            record["equal"] = left_by(other) == expected
            troubles += [] if record["equal"] else [f"ended otherwise: {_first_difference(left_by(other), expected)}"]
            troubles += [f"left: {path.name}" for path in other.rglob(".*") if path.name != ".lock"]
            shutil.rmtree(other)
        if ended.hit:
            yield {**record, "signal": sent}
            number, misses = number + 1, 0
            continue
        misses += 1
        if "equal" in record or troubles:
            yield {**record, "signal": 0}


def left_by(folder: Path) -> dict[str, Any]:
    """Return all that a run leaves, but for what is of the clock: every bit of every tensor, provenance, metrics."""
    provenance = dict(load(folder / "model.pt").provenance)
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [{key: value for key, value in row.items() if key not in _OF_THE_CLOCK} for row in csv.DictReader(file)]
    for key in ("seconds", "date"):
        provenance.pop(key)
    return {**numbers_of(folder), "provenance": provenance, "metrics": rows}


def _gone_on(training: Training, folder: Path, command: Callable[[list[object], Path], Ended]) -> Ended:
    if not (folder / "config.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(training.config))
    return command(["train", "--resume", "--out", folder, "-q"], folder.parent)


def _first_difference(one: dict[str, Any], other: dict[str, Any]) -> str:
    return next((name for name in sorted({*one, *other}) if one.get(name) != other.get(name)), "none")
