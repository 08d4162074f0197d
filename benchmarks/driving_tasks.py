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
    """How a teacher learns: by reward, or what a driver does who knows more than it sees."""

    PPO = "PPO in EnvPool"
    PPO_ELSEWHERE = "PPO in EnvPool's, which is no twin"
    RACING_DRIVER = "imitation of a driver who knows the road, in highway-env"
    PARKING_DRIVER = "imitation of a driver who plans, in EnvPool"


@final
@dataclass(frozen=True, kw_only=True)
class Task:
    """What is driven: the ``environment`` as ``driving_environments`` makes it, and how a teacher learns.

    PPO trains for ``steps``, discounting by ``gamma``, in EnvPool's environment of that name, twin or not; what a
    teacher is worth is measured in highway-env's. Where there is a twin, students learn in it too (``--fast``). A
    compression may take ``budget`` steps, those in EnvPool and its certificate's included. ``control`` is an action
    that is taken whatever happens, which a teacher has to beat, and ``called`` what it is called. ``compressed`` are
    the seeds of the teachers that are worth it, ``trained`` those of all. Where it ``has_goal``, an episode can
    succeed. Boards drive in the loop for ``loop_episodes``.
    """

    environment: str
    way: Way
    control: int | tuple[float, ...]
    called: str
    steps: int = 0
    gamma: float = 0.9
    is_twin: bool = False
    has_goal: bool = False
    budget: int = 100_000
    loop_episodes: int = 10
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
        is_twin=True,
        control=_SLOWER,
        called="always slower",
        trained=(0, 1, 2),
        compressed=(0, 1, 2),
    ),
    "parking-v0": Task(
        environment="flat_parking",
        way=Way.PARKING_DRIVER,
        has_goal=True,
        budget=200_000,
        is_twin=True,
        control=(1.0, 0.0),
        called="always full throttle",
        compressed=(0,),
    ),
    "merge-v0": Task(
        environment="flat_merge",
        way=Way.PPO_ELSEWHERE,
        steps=100_000,
        control=_SLOWER,
        called="always slower",
    ),
    "racetrack-v0": Task(
        environment="flat_racetrack",
        way=Way.RACING_DRIVER,
        control=(0.0,),
        called="always straight",
        budget=1_500_000,
        loop_episodes=1,
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
