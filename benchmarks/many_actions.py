"""What masked training costs where a policy has many outputs: masked over unpruned, interleaved, processor seconds.

    python benchmarks/many_actions.py       # benchmarks/results/many_actions.json

Importance asks how much every unit moves every output. Beyond 16 outputs it asks about random signs of all of them at
once, so that its cost does not grow with their number. Each run is a whole ``prunekit train``, records and checkpoints
included, in a process of its own; masked and unpruned runs take turns.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from record import write_result

ACTIONS, STEPS, ROUNDS = (4, 1000), 20_000, 3
HIDDEN = ("16,16", "256,256")


class Pick(gym.Env[Any, Any]):
    """Three numbers to see, many actions to choose from; the lower half of them earns 1. Episodes of 25 steps."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)

    def __init__(self, actions: int) -> None:
        self.action_space = gym.spaces.Discrete(actions)
        self._step = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed, options=options)
        self._step = 0
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Earn 1 for an action of the lower half."""
        self._step += 1
        assert isinstance(self.action_space, gym.spaces.Discrete)
        return self._seen(), float(2 * action < self.action_space.n), False, self._step == 25, {}

    def _seen(self) -> Any:
        return self.np_random.normal(size=3).astype(np.float32)


for count in ACTIONS:
    gym.register(f"Pick{count}-v0", "many_actions:Pick", kwargs={"actions": count})


def seconds(actions: int, hidden: str, masked: bool, seed: int) -> float:
    """Return the processor seconds of one training, those of starting the program included."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["--env", f"many_actions:Pick{actions}-v0", "--algo", "ppo", "--steps", str(STEPS), "--hidden", hidden]
        words += ["--seed", str(seed), "--out", str(Path(folder) / "run"), "-q", *([] if masked else ["--dense"])]
        path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        before = _spent()
        subprocess.run([sys.executable, "-m", "prunekit", "train", *words], check=True, env=environment)
        return _spent() - before


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure and write."""
    rows = []
    for actions in ACTIONS:
        for hidden in HIDDEN:
            times: dict[str, list[float]] = {"unpruned": [], "masked": []}
            for seed in range(ROUNDS):
                for name, taken in times.items():
                    taken.append(round(seconds(actions, hidden, name == "masked", seed), 2))
            ratios = [masked / plain for masked, plain in zip(times["masked"], times["unpruned"], strict=True)]
            row = {"actions": actions, "hidden": hidden, **times, "median_ratio": round(statistics.median(ratios), 3)}
            print(row, flush=True)
            rows.append(row)
    print(write_result("many_actions", "python benchmarks/many_actions.py", {"steps": STEPS, "rows": rows}))


if __name__ == "__main__":
    main()
