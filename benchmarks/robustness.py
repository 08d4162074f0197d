"""What the shipped policies earn under noise, delay and lost observations: teacher, compact, and compact in int8.

    python benchmarks/robustness.py run      # an hour on one core, may be run again: what is done is done
    python benchmarks/robustness.py collect

All forms are compiled C, as deployed, and play up to 200 episodes per disturbance, all with the same seeds and under
noise of one size: in terms of the deviations of the observations in 20 other episodes of the teacher. These, with 20 of
the random policy, also fix the range to which returns are clipped, and are what the bets of the bounds begin with.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from record import write_result

from prunekit.disturbances.deviation import Deviation
from prunekit.disturbances.environment import under
from prunekit.disturbances.record import Disturbance
from prunekit.environments import make_environment, spaces_of
from prunekit.export.c import CSettings, c_code
from prunekit.export.quantize import Bits
from prunekit.export.recording import recorded_observations
from prunekit.files import write_atomically
from prunekit.policy.model_file import read_model_file
from prunekit.rollouts import episode_return, random_returns
from prunekit.runtimes.native import NativePolicy
from prunekit.stats.betting import Paired, lower_bound
from prunekit.stats.clipping import range_of

STAGES = ("run", "collect")
RUNS = Path("runs/robustness")
ENVIRONMENTS = ("CartPole-v1", "LunarLander-v3", "Hopper-v5", "Walker2d-v5", "HalfCheetah-v5")
FIRST_SEED, EPISODES, PART = 60_000, 200, 50
RANGE_SEEDS = range(61_000, 61_020)
RECORDED_EPISODES = 5
DISTURBANCES = {
    "none": Disturbance(),
    "noise 0.01": Disturbance(observation_noise=0.01),
    "noise 0.02": Disturbance(observation_noise=0.02),
    "noise 0.05": Disturbance(observation_noise=0.05),
    "delay 1": Disturbance(delay_steps=1),
    "drop 0.05": Disturbance(drop=0.05),
}
FORMS: Mapping[str, tuple[str, Bits | None]] = {
    "teacher": ("dense.pt", None),
    "compact": ("compact.pt", None),
    "int8": ("compact.pt", 16),
}
LADDER = ("none", "noise 0.01", "noise 0.02", "noise 0.05")
KEEP = 0.95


def run() -> None:
    """Play what has not been played yet, some episodes of everything before more of anything."""
    RUNS.mkdir(parents=True, exist_ok=True)
    for first in range(FIRST_SEED, FIRST_SEED + EPISODES, PART):
        seeds = range(first, first + PART)
        for env_id in ENVIRONMENTS:
            ground = _kept(RUNS / f"{env_id}-ground.json", partial(_ground, env_id))
            _kept(_path(env_id, "random", "none", first), partial(_random, env_id, seeds))
            for name in DISTURBANCES:
                for form in FORMS:
                    _kept(_path(env_id, form, name, first), partial(_played, env_id, form, name, ground, seeds))


def collect() -> None:
    """Write the result file of what has been played; environments of which a part is not complete are left out."""
    found, missing = {}, []
    for env_id in ENVIRONMENTS:
        wanted = [("random", "none"), *((form, name) for form in FORMS for name in DISTURBANCES)]
        complete = 0
        while complete < EPISODES and all(_path(env_id, *one, FIRST_SEED + complete).exists() for one in wanted):
            complete += PART
        if not complete:
            missing.append(env_id)
            continue
        ground = json.loads((RUNS / f"{env_id}-ground.json").read_text())
        returns: dict[str, dict[str, list[float]]] = {}
        for form, name in wanted:
            parts = [_path(env_id, form, name, first) for first in range(FIRST_SEED, FIRST_SEED + complete, PART)]
            own = [value for part in parts for value in json.loads(part.read_text())["returns"]]
            returns.setdefault(form, {})[name] = own
        bounds = _bounds(ground, returns["random"]["none"], returns)
        found[env_id] = {"episodes": complete, **bounds, "ground": ground, "returns": returns}
    entries = {
        "first_seed": FIRST_SEED,
        "range_seeds": [RANGE_SEEDS[0], RANGE_SEEDS[-1]],
        "keep": KEEP,
        "disturbances": {name: entry.to_json() for name, entry in DISTURBANCES.items()},
        "ladder": list(LADDER),
        "environments": found,
        "missing": missing,
    }
    write_result("robustness", "; ".join(f"python benchmarks/robustness.py {stage}" for stage in STAGES), entries)


def _bounds(ground: Mapping[str, Any], random: list[float], returns: Mapping[str, Any]) -> dict[str, Any]:
    """Return what each form keeps of the teacher's gain under the same disturbance, and the teacher of its own.

    Bounds are one-sided and hold with 95% confidence each. On the way through the ladder the first that does not show
    ``KEEP`` ends it, so that what it says holds with 95% confidence together (fixed sequence).
    """
    teacher, floor = np.asarray(ground["teacher"]), np.asarray(ground["random"])
    clip_range, before, zeros = (
        range_of(teacher, floor),
        Paired(small=teacher, teacher=teacher, random=floor),
        np.asarray(random),
    )
    kept: dict[str, Any] = {}
    for form in FORMS:
        kept[form] = {}
        for name in DISTURBANCES:
            against = returns["teacher"]["none" if form == "teacher" else name]
            own = Paired(small=np.asarray(returns[form][name]), teacher=np.asarray(against), random=zeros)
            kept[form][name] = {
                "mean": float(own.small.mean()),
                "retention": own.clipped(clip_range).retention,
                "lower_bound": lower_bound(own, clip_range, before),
            }
    largest = {}
    for form in ("compact", "int8"):
        shown = None
        for name in LADDER:
            bound = kept[form][name]["lower_bound"]
            if bound is None or bound < KEEP:
                break
            shown = name
        largest[form] = shown
    return {"range": clip_range.to_json(), "kept": kept, "largest": largest}


def _path(env_id: str, form: str, name: str, first: int) -> Path:
    return RUNS / f"{env_id}-{form}-{name.replace(' ', '-')}-{first}.json"


def _kept(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what ``path`` holds, or what is made and put there."""
    if not path.exists():
        begun = time.perf_counter()
        made = {**make(), "date": time.strftime("%Y-%m-%d", time.gmtime())}
        write_atomically(path, json.dumps(made).encode())
        print(time.strftime("%H:%M:%S"), path.stem, f"{time.perf_counter() - begun:.0f} s", flush=True)
    return dict(json.loads(path.read_text()))


def _ground(env_id: str) -> dict[str, Any]:
    """Return the teacher's and the random policy's returns in other episodes, and the deviations there."""
    environment = make_environment(env_id)
    deviation = Deviation(spaces_of(environment).observation)
    act = deviation.watching(_act(env_id, "teacher"))
    teacher = [episode_return(environment, act, seed) for seed in RANGE_SEEDS]
    return {
        "teacher": teacher,
        "random": random_returns(environment, RANGE_SEEDS),
        "deviation": deviation.value.tolist(),
    }


def _random(env_id: str, seeds: range) -> dict[str, Any]:
    """Return what the random policy earns, which sees nothing."""
    return {"returns": random_returns(make_environment(env_id), seeds)}


def _played(env_id: str, form: str, name: str, ground: Mapping[str, Any], seeds: range) -> dict[str, Any]:
    act = _act(env_id, form)
    with under(make_environment(env_id), DISTURBANCES[name], np.asarray(ground["deviation"])) as environment:
        return {"returns": [episode_return(environment, act, seed) for seed in seeds]}


def _act(env_id: str, form: str) -> Callable[[Any], Any]:
    """Return a form of the shipped policy, as compiled C."""
    file, bits = FORMS[form]
    graph = read_model_file(Path("models") / f"{env_id}-ppo" / file).graph
    seen = None if bits is None else recorded_observations(graph, env_id, {}, RECORDED_EPISODES)
    actions = spaces_of(make_environment(env_id)).actions
    native = NativePolicy(c_code(graph, CSettings(name="policy", activations=bits), {}, seen)[0])
    return lambda observation: actions.action(native.act(observation))


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in STAGES:
        sys.exit(__doc__)
    globals()[sys.argv[1]]()
