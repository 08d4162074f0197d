"""Whose policies are compressed: those of the environments that choices were made on, and those held out."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from statistics import fmean

TEACHERS, SHIPPED = Path("runs/teachers"), Path("models")
DEVELOPMENT = ("CartPole-v1", "LunarLander-v3", "Hopper-v5", "Walker2d-v5", "HalfCheetah-v5")
# Files of https://github.com/DLR-RM/rl-trained-agents, which are no part of this project, with what lies beside them.
PUBLISHED = {
    "BipedalWalker-v3": "dlr/ppo/BipedalWalker-v3_1/BipedalWalker-v3.zip",
    "BipedalWalkerHardcore-v3": "dlr/ppo/BipedalWalkerHardcore-v3_1/BipedalWalkerHardcore-v3.zip",
    "Swimmer-v5": "dlr/trpo/Swimmer-v3_1/Swimmer-v3.zip",
    "MountainCar-v0": "dlr/ppo/MountainCar-v0_1/MountainCar-v0.zip",
    "Pendulum-v1": "dlr/tqc/Pendulum-v1_1/Pendulum-v1.zip",
}
# Environment steps of PPO; None is the preset's. 256x256 hidden units each.
TRAINED: dict[str, int | None] = {
    "Acrobot-v1": 250_000,
    "Reacher-v5": 250_000,
    "Pusher-v5": 300_000,
    "Ant-v5": 1_000_000,
}
HELD_OUT = (*PUBLISHED, *TRAINED)


def name_of(env_id: str) -> str:
    """Return what results call a teacher: its path in this project or in the folder of published policies."""
    shipped = SHIPPED / f"{env_id}-ppo" / "dense.pt"
    if env_id in PUBLISHED:
        return PUBLISHED[env_id]
    return str(shipped if shipped.exists() else TEACHERS / env_id / "model.pt")


def teacher_of(env_id: str, policies: Path | None = None) -> Path:
    """Return where a teacher lies, in the folder of published ``policies``, shipped, or where it is trained."""
    return (policies or Path("policies")) / PUBLISHED[env_id] if env_id in PUBLISHED else Path(name_of(env_id))


def is_there(env_id: str, policies: Path | None) -> bool:
    """Return whether a teacher is there; a training writes it when it ends."""
    return teacher_of(env_id, policies).is_file()


def train_one(env_id: str) -> None:
    """Train one unpruned teacher by PPO unless it is there; a training that was interrupted goes on."""
    out = TEACHERS / env_id
    if env_id in PUBLISHED or is_there(env_id, None):
        return
    TEACHERS.mkdir(parents=True, exist_ok=True)
    steps = TRAINED.get(env_id)
    words = ["--env", env_id, "--algo", "ppo", "--dense", *(["--steps", str(steps)] if steps else [])]
    begun = ["--resume"] if (out / "config.json").exists() else words
    with (TEACHERS / f"{env_id}.log").open("a") as log:
        command = [sys.executable, "-m", "prunekit", "train", *begun, "--out", str(out)]
        subprocess.run(command, check=True, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
    print(time.strftime("%H:%M:%S"), env_id, flush=True)


def say_returns(env_id: str, policies: Path | None, episodes: int = 20) -> None:
    """Print the mean returns of a teacher and of the random policy."""
    from prunekit.compression.read import read_teacher
    from prunekit.compression.task import Task, Worker

    worker = Worker(Task(env_id=env_id, teacher_of=partial(read_teacher, teacher_of(env_id, policies))))
    seeds = range(20_000, 20_000 + episodes)
    means = (fmean(one.total for one in worker.play(who, seeds)) for who in ("teacher", "random"))
    worker.close()
    size = worker.teacher.size
    print(
        f"{env_id:18} {name_of(env_id):52} {size and size.hidden} {next(means):10.2f} {next(means):10.2f}", flush=True
    )
