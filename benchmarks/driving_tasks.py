"""What is driven, and where all of it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

RUNS = Path("runs/driving")
KEEP = 0.95
BUDGET = 100_000
"""Steps that a compression may take, those in EnvPool and its certificate's included."""
FIRST_SEED, EPISODES, PART = 500_000, 100, 25
_SLOWER = 4


@final
@dataclass(frozen=True, kw_only=True)
class Task:
    """What is driven: the ``environment`` as ``driving_environments`` makes it, and how long a teacher is trained.

    PPO trains it for ``steps`` in EnvPool's environment of that name, twin or not; what it is worth is measured in
    highway-env's. Where it ``has_goal``, SAC trains it with hindsight in highway-env's. Where there is a twin, students
    learn in it too (``--fast``). ``control`` is an action that is taken whatever happens, which a teacher has to beat,
    and ``called`` what it is called. ``compressed`` are the seeds of the teachers that are worth it, ``trained`` those
    of all.
    """

    environment: str
    steps: int
    gamma: float
    is_twin: bool
    control: int | tuple[float, ...]
    called: str
    has_goal: bool = False
    trained: tuple[int, ...] = (0,)
    compressed: tuple[int, ...] = ()

    @property
    def env_id(self) -> str:
        """What ``--env`` is told."""
        return f"driving_environments:{self.environment}"

    @property
    def trained_by(self) -> str:
        """The algorithm, and in which environment it learns."""
        if self.has_goal:
            return "SAC with hindsight in highway-env"
        return "PPO in EnvPool" + ("" if self.is_twin else "'s, which is no twin")


TASKS = {
    "highway-fast-v0": Task(
        environment="highway_fast",
        steps=200_000,
        gamma=0.9,
        is_twin=True,
        control=_SLOWER,
        called="always slower",
        trained=(0, 1, 2),
        compressed=(0, 1, 2),
    ),
    "parking-v0": Task(
        environment="flat_parking",
        steps=25_000,
        gamma=0.95,
        has_goal=True,
        is_twin=True,
        control=(0.0, 0.0),
        called="always still",
        compressed=(0,),
    ),
    "merge-v0": Task(
        environment="flat_merge",
        steps=100_000,
        gamma=0.9,
        is_twin=False,
        control=_SLOWER,
        called="always slower",
    ),
    "racetrack-v0": Task(
        environment="flat_racetrack",
        steps=200_000,
        gamma=0.9,
        is_twin=False,
        control=(0.0,),
        called="always straight",
    ),
}


def folder(name: str, seed: int) -> Path:
    """Return where all of a teacher is kept."""
    return RUNS / f"{name}-{seed}"


def compact(name: str, seed: int) -> Path:
    """Return where a compression writes to, and where all of its policy is kept."""
    return folder(name, seed) / "compact"


def drives(name: str, seed: int, policy: str) -> list[Path]:
    """Return where the parts of what a policy earned are kept; random actions and the control have no seed."""
    places = {"teacher": folder(name, seed), "compact": compact(name, seed)}
    firsts = range(FIRST_SEED, FIRST_SEED + EPISODES, PART)
    return [places.get(policy, RUNS / name) / f"drive-{policy}-{first}.json" for first in firsts]
