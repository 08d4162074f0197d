"""Compact policies found with and without disturbances, and the largest disturbance at which each is certified.

    python benchmarks/disturbed_compression.py run       # what is not there yet; runs/disturbed_compression
    python benchmarks/disturbed_compression.py collect   # benchmarks/results/disturbed_compression.json

Each teacher in models/ is compressed twice per seed with the same budget of environment steps, once as ``compress``
does without options and once under a disturbance. Both policies then climb the same ladder of ``certify`` beside the
teacher, whose first level is undisturbed, on episodes that neither was chosen on.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from compressing.runs import ROOT, search_in
from record import write_result

from prunekit.benching.certify import CertifySettings
from prunekit.benching.certify_command import Match, certify_levels
from prunekit.compression.read import read_teacher
from prunekit.compression.run import compress, write
from prunekit.compression.settings import CompressSettings, SearchSettings
from prunekit.compression.task import Task
from prunekit.disturbances.ladder import levels_named
from prunekit.disturbances.record import Disturbance
from prunekit.files import write_atomically
from prunekit.report.certify_table import ladder_json

STAGES = ("run", "collect")
RUNS = Path("runs/disturbed_compression")
LEARNED_UNDER = {
    "CartPole-v1": Disturbance(observation_noise=1.0),
    "HalfCheetah-v5": Disturbance(drop=0.05),
}
LADDERS = {"CartPole-v1": "obs=0.2,0.5,1,2", "HalfCheetah-v5": "drop=0.05,0.1"}
STEPS = {"CartPole-v1": 400_000, "HalfCheetah-v5": 400_000}
SEEDS = (0, 1, 2)
WAYS = ("undisturbed", "disturbed")
EPISODES = 300


def run(*env_ids: str) -> None:
    """Compress and certify what is not there yet, of ``env_ids`` or of all."""
    for seed in SEEDS:
        for env_id in env_ids or LEARNED_UNDER:
            for way in WAYS:
                path = RUNS / f"{env_id}-{way}-seed{seed}.json"
                if not path.exists():
                    write_atomically(path, json.dumps(_found(env_id, way, seed, path.with_suffix(""))).encode())
                    print(time.strftime("%H:%M:%S"), path.stem, flush=True)


def collect() -> None:
    """Write the result file of what is there; a seed counts only where both ways are."""
    found: dict[str, Any] = {}
    for env_id in LEARNED_UNDER:
        for seed in SEEDS:
            paths = {way: RUNS / f"{env_id}-{way}-seed{seed}.json" for way in WAYS}
            if all(path.exists() for path in paths.values()):
                ways = {way: json.loads(path.read_text()) for way, path in paths.items()}
                found.setdefault(env_id, {})[str(seed)] = ways
    entries = {
        "learned_under": {env_id: entry.to_json() for env_id, entry in LEARNED_UNDER.items()},
        "ladders": LADDERS,
        "steps": STEPS,
        "max_episodes": EPISODES,
        "search": asdict(search_in(ROOT)),
        "environments": found,
    }
    command = "; ".join(f"python benchmarks/disturbed_compression.py {stage}" for stage in STAGES)
    print(write_result("disturbed_compression", command, entries))


def _found(env_id: str, way: str, seed: int, folder: Path) -> dict[str, Any]:
    teacher = Path("models") / f"{env_id}-ppo" / "dense.pt"
    disturbance = LEARNED_UNDER[env_id] if way == "disturbed" else Disturbance()
    settings = CompressSettings(search=SearchSettings(seed=seed), steps=STEPS[env_id], disturbance=disturbance)
    began = time.process_time()
    result = compress(Task(env_id=env_id, teacher_of=partial(read_teacher, teacher)), settings)
    took = time.process_time() - began
    write(result, folder)
    rungs = certify_levels(
        Match(small=folder / "policy.onnx", teacher=teacher, env=env_id),
        CertifySettings(episodes=EPISODES, seconds=86_400.0),
        [Disturbance(), *levels_named(LADDERS[env_id])],
    )
    told = ladder_json(rungs)
    return {
        "search": asdict(search_in(ROOT)),
        "hidden": list(result.chosen.hidden),
        "parameters": result.chosen.parameters,
        "tuned": result.chosen.tuned,
        "certified": result.certified,
        "environment_steps": result.steps,
        "cpu_seconds": round(took, 1),
        "largest": told["largest"],
        "levels": [{**level, "certificate": _brief(level["certificate"])} for level in told["levels"]],
    }


def _brief(certificate: Mapping[str, Any]) -> dict[str, Any]:
    """Return a certificate with the returns of its episodes, without those of the range."""
    left_out = ("selection", "seeds", "size", "claim")
    return {name: value for name, value in certificate.items() if name not in left_out}


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in STAGES:
        sys.exit(__doc__)
    globals()[sys.argv[1]](*sys.argv[2:])
