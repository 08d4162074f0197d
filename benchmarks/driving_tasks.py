"""What is driven, and where all of it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import final

RUNS = Path("runs/driving")
KEEP = 0.95
FIRST_SEED, EPISODES, PART = 500_000, 100, 25
_SLOWER = 4


class Way(Enum):
    """How a teacher learns: by reward, by reward for goals that it did not have, or what a driver does."""

    PPO = "PPO in EnvPool"
    PPO_ELSEWHERE = "PPO in EnvPool's, which is no twin"
    HINDSIGHT = "SAC with hindsight in EnvPool"
    RACING_DRIVER = "imitation of a driver who knows the road, in highway-env"
    PARKING_DRIVER = "imitation of a driver who plans, in EnvPool"


@final
@dataclass(frozen=True, kw_only=True)
class Task:
    """What is driven: the ``environment`` as ``driving_environments`` makes it, and how long a teacher is trained.

    It learns in that ``way`` for ``steps``, in EnvPool's environment of that name or in highway-env's; what it is worth
    is measured in highway-env's. Where there is a twin, students learn in it too (``--fast``). A compression may take
    ``budget`` steps, those in EnvPool and its certificate's included. ``control`` is an action that is taken whatever
    happens, which a teacher has to beat, and ``called`` what it is called. ``compressed`` are the seeds of the teachers
    that are worth it, ``trained`` those of all. Where it ``has_goal``, an episode can succeed.
    """

    environment: str
    way: Way
    steps: int
    gamma: float
    control: int | tuple[float, ...]
    called: str
    is_twin: bool = False
    has_goal: bool = False
    budget: int = 100_000
    trained: tuple[int, ...] = (0,)
    compressed: tuple[int, ...] = ()

    @property
    def env_id(self) -> str:
        """What ``--env`` is told."""
        return f"driving_environments:{self.environment}"


TASKS = {
    "highway-fast-v0": Task(
        environment="highway_fast",
        way=Way.PPO,
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
        way=Way.PARKING_DRIVER,
        steps=307_200,
        gamma=0.95,
        has_goal=True,
        is_twin=True,
        control=(1.0, 0.0),
        called="always full throttle",
        compressed=(0,),
    ),
    "merge-v0": Task(
        environment="flat_merge",
        way=Way.PPO_ELSEWHERE,
        steps=100_000,
        gamma=0.9,
        control=_SLOWER,
        called="always slower",
    ),
    "racetrack-v0": Task(
        environment="flat_racetrack",
        way=Way.RACING_DRIVER,
        steps=48_000,
        gamma=0.9,
        control=(0.0,),
        called="always straight",
        budget=400_000,
        compressed=(0,),
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
