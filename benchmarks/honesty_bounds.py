"""How often bounds that stand beside a certificate are wrong, looked at after every episode: simulated policies.

    python benchmarks/honesty_bounds.py    # benchmarks/results/honesty_bounds.json; about five minutes on one core

The worlds are those of ``honesty.py``. Every bound is the best of all moments up to 300 episodes (600 for shares), as
somebody would have it who stops where it looks best, and wrong where the truth is on the other side. Policies of the
first rows keep exactly what a claim demands, so that refuting it is wrong. The control resamples 60 episodes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from draws import KEEP, WORLDS, at_the_threshold, random_policy, world_name
from record import write_result

from prunekit.stats import (
    Paired,
    ReturnRange,
    cvar,
    cvar_lower_bound,
    mean_lower_bound,
    mean_upper_bound,
    range_of,
    share_lower_bound,
    share_upper_bound,
)
from prunekit.stats.betting import is_missed
from prunekit.stats.bootstrap import Array

REPETITIONS, EPISODES, SELECTION = 500, 300, 20
SHARES = (0.003, 0.01, 0.05, 0.1, 0.3)
CONTROL = "control: worst tenth, bootstrap"
_SAMPLES, _RESAMPLES, _CONTROL_EPISODES = 1_000_000, 500, 60


@cache
def world_range(world: int) -> ReturnRange:
    """Return the range that one selection of the world fixed."""
    generator = np.random.default_rng(0)
    return range_of(WORLDS[world][0](generator, SELECTION), random_policy(generator, SELECTION))


@cache
def truth(world: int) -> tuple[float, float, float]:
    """Return (unclipped retention at the threshold, mean and mean of the worst tenth of clipped returns there)."""
    teacher, draw = WORLDS[world]
    retention = at_the_threshold(teacher, draw, world_range(world))
    many = world_range(world).clip(draw(np.random.default_rng(4), retention, _SAMPLES))
    return retention, float(many.mean()), cvar(many)


def played(world: int, seed: int) -> tuple[Paired, Paired]:
    """Return (episodes of a policy at the threshold, of its teacher and the random policy; those of the selection)."""
    teacher, draw = WORLDS[world]
    generator, count = np.random.default_rng([seed, 7]), SELECTION + EPISODES
    small = draw(generator, truth(world)[0], count)
    dense, random = teacher(generator, count), random_policy(generator, count)
    before = Paired(small=dense[:SELECTION], teacher=dense[:SELECTION], random=random[:SELECTION])
    return Paired(small=small[SELECTION:], teacher=dense[SELECTION:], random=random[SELECTION:]), before


def refuted(world: int, seed: int) -> bool:
    """A claim that is just true is refuted."""
    episodes, before = played(world, seed)
    return is_missed(episodes, world_range(world), before, KEEP)


def mean_from_below(world: int, seed: int) -> bool:
    """The lower bound of the mean is above it."""
    return mean_lower_bound(played(world, seed)[0].small, world_range(world)) > truth(world)[1]


def mean_from_above(world: int, seed: int) -> bool:
    """The upper bound of the mean is below it."""
    return mean_upper_bound(played(world, seed)[0].small, world_range(world)) < truth(world)[1]


def worst_tenth(world: int, seed: int) -> bool:
    """The lower bound of the worst tenth is above it."""
    episodes, before = played(world, seed)
    return cvar_lower_bound(episodes.small, world_range(world), before=before.small) > truth(world)[2]


def worst_by_bootstrap(world: int, seed: int) -> bool:
    """The control: the 5th percentile of resamples of 60 episodes is above it."""
    returns = world_range(world).clip(played(world, seed)[0].small[:_CONTROL_EPISODES])
    chosen = np.random.default_rng(seed).integers(0, len(returns), (_RESAMPLES, len(returns)))
    worst: Array = np.sort(returns[chosen], axis=1)[:, : len(returns) // 10].mean(axis=1)
    return bool(np.percentile(worst, 5.0) > truth(world)[2])


PROCEDURES: dict[str, Callable[[int, int], bool]] = {
    "claim refuted": refuted,
    "mean, lower bound": mean_from_below,
    "mean, upper bound": mean_from_above,
    "worst tenth, lower bound": worst_tenth,
    CONTROL: worst_by_bootstrap,
}


def share_from_above(share: float, seed: int) -> bool:
    """The upper bound of a share is below it."""
    return share_upper_bound(_events(share, seed)) < share


def share_from_below(share: float, seed: int) -> bool:
    """The lower bound of a share is above it."""
    return share_lower_bound(_events(share, seed)) > share


def _events(share: float, seed: int) -> list[bool]:
    found: list[bool] = (np.random.default_rng([seed, 8]).random(2 * EPISODES) < share).tolist()
    return found


def main() -> None:
    """Simulate every row and write the committed result."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    jobs: list[tuple[dict[str, Any], Callable[[int], bool]]] = [
        ({"world": world_name(entry), "bound": name}, partial(run, index))
        for index, entry in enumerate(WORLDS)
        for name, run in PROCEDURES.items()
    ]
    for share in SHARES:
        jobs.append(({"share": share, "bound": "share, upper bound"}, partial(share_from_above, share)))
        jobs.append(({"share": share, "bound": "share, lower bound"}, partial(share_from_below, share)))
    rows = []
    for entry, run in jobs:
        rows.append({**entry, "repetitions": REPETITIONS, "wrong": sum(run(seed) for seed in range(REPETITIONS))})
        print(rows[-1], flush=True)
    highest = max(row["wrong"] / REPETITIONS for row in rows if row["bound"] != CONTROL)
    # By how far the largest of so many rates may be off by chance where every one is 5%: 3.2 standard errors.
    allowed = 0.05 + 3.2 * float(np.sqrt(0.05 * 0.95 / REPETITIONS))
    entries = {"episodes": EPISODES, "highest_rate": highest, "allowed": round(allowed, 4), "rows": rows}
    print(write_result("honesty_bounds", "python benchmarks/honesty_bounds.py", entries), f"highest {highest:.3f}")


if __name__ == "__main__":
    main()
