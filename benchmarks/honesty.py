"""How often a claim that is not true is certified: simulated policies exactly at the threshold.

    python benchmarks/honesty.py run        # resumable; one process a core; runs/honesty.jsonl keeps what is done
    python benchmarks/honesty.py collect    # benchmarks/results/honesty.json

Every world is a teacher and small policies beside it, rare crashes and jackpots of every size among them. Clipped
retention is exactly what is to be kept, whatever range the selection's episodes fixed, so that every certificate is a
wrong one. The control is the normal approximation of the same clipped returns after as many episodes as there are.
"""

from __future__ import annotations

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from draws import KEEP, WORLDS, at_the_threshold, crashes, random_policy, steady, world_name
from record import write_result
from simulations import LATER, SELECTION, simulated_certificates, simulated_compression

from prunekit.stats.betting import Paired
from prunekit.stats.clipping import range_of

STATE = Path("runs/honesty.jsonl")
REPETITIONS = 500
BENCH_EPISODES = (20, 30, 60, 100, 300)
LIMITS = (0.01, 0.05)
CONTROL = "control: normal bound, 60 episodes"


def one_size(world: int, seed: int) -> bool:
    """A single policy at the threshold."""
    return any(found.certified for found in simulated_certificates(*WORLDS[world], [None], seed))


def four_sizes(world: int, seed: int) -> bool:
    """Four policies at the threshold, each with a quarter of the level."""
    return any(found.certified for found in simulated_certificates(*WORLDS[world], [None] * 4, seed))


def normal_bound(world: int, seed: int) -> bool:
    """The control: a 95% bound after the central limit theorem, of 60 episodes of one policy at the threshold."""
    teacher, draw = WORLDS[world]
    generator = np.random.default_rng(seed)
    dense, random = teacher(generator, SELECTION + 60), random_policy(generator, SELECTION + 60)
    clip_range = range_of(dense[:SELECTION], random[:SELECTION])
    small = draw(generator, at_the_threshold(teacher, draw, clip_range), SELECTION + 60)
    episodes = Paired(small=small[SELECTION:], teacher=dense[SELECTION:], random=random[SELECTION:])
    gains = episodes.clipped(clip_range).differences(KEEP)
    return bool(gains.mean() > 1.645 * gains.std(ddof=1) / np.sqrt(len(gains)))


def compression(world: int, seed: int) -> bool:
    """Eight networks at the threshold, selected, looked at again and certified."""
    return any(found.certified for _, found in simulated_compression(*WORLDS[world], seed))


def second_trial(world: int, seed: int) -> bool:
    """Networks that keep everything are certified; the search goes on, and finds smaller ones at the threshold."""
    tried = simulated_compression(*WORLDS[world], seed, first=1.0)
    return any(found.certified for network, found in tried if network.parameters in LATER)


PROCEDURES = {
    "one size": one_size,
    "four sizes": four_sizes,
    "the whole of compress": compression,
    "its second trial": second_trial,
    CONTROL: normal_bound,
}


def bench(episodes: int, seed: int) -> bool:
    """``bench --keep`` of a policy that fails in 5.5% of its episodes, with so many of them."""
    world = next(world for world in WORLDS if world_name(world) == "steady-falling_now_and_then")
    return simulated_certificates(*world, [0.945], seed, episodes=episodes)[0].certified


def failures(limit: float, seed: int) -> bool:
    """A policy that keeps enough of the mean, but crashes exactly as often as ``--max-failures`` allows it not to."""
    draw = crashes(29.0)
    retention = 1.0 - 29.0 * limit
    return simulated_certificates(steady, draw, [retention], seed, episodes=600, max_failures=limit)[0].certified


def jobs() -> list[tuple[str, str, Any]]:
    """Return (name, procedure, argument) of every row."""
    rows: list[tuple[str, str, Any]] = [
        (f"{world_name(world)}, {name}", name, index) for index, world in enumerate(WORLDS) for name in PROCEDURES
    ]
    rows += [(f"bench --keep 0.95 --episodes {count}, true 0.945", "bench", count) for count in BENCH_EPISODES]
    rows += [(f"--max-failures {limit:g}, as many as that", "failures", limit) for limit in LIMITS]
    return rows


def rate(job: tuple[str, str, Any]) -> dict[str, Any]:
    """Return in how many repetitions a wrong claim was certified."""
    name, procedure, argument = job
    run = {**PROCEDURES, "bench": bench, "failures": failures}[procedure]
    wrong = sum(run(argument, seed) for seed in range(REPETITIONS))
    entry: dict[str, Any] = {"row": name, "procedure": procedure, "repetitions": REPETITIONS, "certified": wrong}
    if procedure in PROCEDURES:
        entry["world"] = world_name(WORLDS[argument])
    return entry


def done() -> dict[str, dict[str, Any]]:
    """Return the rows that are finished."""
    lines = STATE.read_text().splitlines() if STATE.exists() else []
    entries = [json.loads(line) for line in lines]
    return {entry["row"]: entry for entry in entries if entry["repetitions"] == REPETITIONS}


def run(workers: int) -> None:
    """Simulate every row that is not finished."""
    finished = done()
    missing = [job for job in jobs() if job[0] not in finished]
    STATE.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers) as pool, STATE.open("a") as state:
        for entry in pool.map(rate, missing):
            print(f"{entry['row']}: {entry['certified']} of {entry['repetitions']}", flush=True)
            state.write(json.dumps(entry) + "\n")
            state.flush()


def collect() -> None:
    """Write the committed result."""
    finished = done()
    rows = [finished[name] for name, _, _ in jobs() if name in finished]
    missing = [name for name, _, _ in jobs() if name not in finished]
    highest = max(entry["certified"] / entry["repetitions"] for entry in rows if entry["procedure"] != CONTROL)
    # By how far the largest of so many rates may be off by chance where every one is 5%: 3.2 standard errors.
    allowed = 0.05 + 3.2 * float(np.sqrt(0.05 * 0.95 / REPETITIONS))
    entries = {"keep": KEEP, "missing": missing, "highest_rate": highest, "allowed": round(allowed, 4), "rows": rows}
    command = "; ".join(f"python benchmarks/honesty.py {stage}" for stage in ("run", "collect"))
    print(write_result("honesty", command, entries), f"highest {highest:.3f}, {len(missing)} missing")


def main() -> None:
    """Parse and go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["run", "collect"])
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    if arguments.stage == "run":
        run(arguments.workers)
    else:
        collect()


if __name__ == "__main__":
    main()
