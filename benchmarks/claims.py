"""Compressions that were certified under the former claim, checked again under today's: how many episodes it takes.

    python benchmarks/claims.py run        # plays what fixes the ranges; resumable, runs/claims.json keeps it
    python benchmarks/claims.py collect    # benchmarks/results/claims.json
    python benchmarks/claims.py ship       # the shipped compact policies carry today's claim

The networks are not played again: every episode of their certificates is on record. Teacher and random policy play the
selection's episodes, which fix the range that returns are clipped to. Both claims bet on the same episodes in the same
order; what the networks earned in their selection is not on record, so that both begin with what the teacher earned
there. Compressions in ``compress.json`` that were certified under today's claim have nothing to be checked and are
left out. ``former`` is a loss bounded by a span that was guessed from what had been seen, of returns as they were.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from compressing.runs import KEEP
from compressing.teachers import SHIPPED, teacher_of
from record import read_result, write_result

from models import write_card
from prunekit.benching.models import read_model
from prunekit.benching.runtimes import OnnxRuntime
from prunekit.compression.candidates import Baseline
from prunekit.compression.settings import CompressSettings, SearchSettings
from prunekit.compression.trial import claim_of
from prunekit.environments import make_environment, spaces_of
from prunekit.export.onnx import export_onnx
from prunekit.files import write_atomically
from prunekit.policy.artifact import load, save, with_provenance
from prunekit.rollouts import episode_return, random_returns
from prunekit.stats.betting import Bettor, Paired
from prunekit.stats.certificate import Certificate
from prunekit.stats.certify import Candidate, certify
from prunekit.stats.claim import MIN_EPISODES

STATE = Path("runs/claims.json")
SETTINGS = CompressSettings(search=SearchSettings(keep=KEEP))


def played() -> dict[str, Any]:
    """Return what is on record of the selection's episodes, by environment and seed."""
    return dict(json.loads(STATE.read_text())) if STATE.exists() else {}


def compressions() -> list[dict[str, Any]]:
    """Return the committed compressions that were certified under the former claim."""
    runs = (read_result("compress") or {"runs": []})["runs"]
    return [run for run in runs if any("span" in one and one["verdict"] == "certified" for one in run["tested"])]


def run() -> None:
    """Play the selection's episodes of every compression that has none on record."""
    found = played()
    for entry in compressions():
        name = f"{entry['env']}, {entry['seed']}"
        if name in found:
            continue
        seeds = SearchSettings(seed=entry["seed"]).selection_seeds
        environment = make_environment(entry["env"])
        runtime = OnnxRuntime(read_model(teacher_of(entry["env"])), spaces_of(environment))
        dense = [episode_return(environment, runtime.act, seed) for seed in seeds]
        found[name] = {"dense": dense, "random": random_returns(environment, seeds)}
        environment.close()
        write_atomically(STATE, json.dumps(found).encode())
        print(name, round(float(np.mean(dense)), 1), flush=True)


def _paired(tested: dict[str, Any]) -> Paired:
    small, teacher, random = (np.asarray(tested["returns"][name]) for name in ("small", "dense", "random"))
    return Paired(small=small, teacher=teacher, random=random)


def certificate_now(entry: dict[str, Any], selection: dict[str, Any]) -> tuple[Certificate, dict[str, Any]]:
    """Return (what today's claim comes to for the network that a compression chose, what was on record of it)."""
    tested = next(one for one in reversed(entry["tested"]) if one["verdict"] == "certified")
    episodes = _paired(tested)
    baseline = Baseline(teacher=np.asarray(selection["dense"]), random=np.asarray(selection["random"]))
    before = Paired(small=baseline.teacher, teacher=baseline.teacher, random=baseline.random)
    alpha, claim = 1.0 - tested["confidence"], claim_of(SETTINGS, baseline)
    (found,) = certify(
        [Candidate(name=tested["size"], play=lambda seed: float(episodes.small[seed]), before=before, alpha=alpha)],
        lambda seed: float(episodes.teacher[seed]),
        lambda seed: float(episodes.random[seed]),
        claim,
        range(len(episodes)),
    )
    return found, tested


def checked(entry: dict[str, Any], selection: dict[str, Any]) -> dict[str, Any]:
    """Return what both claims say of the network that a compression chose."""
    found, tested = certificate_now(entry, selection)
    episodes = _paired(tested)
    return {
        "env": entry["env"],
        "seed": entry["seed"],
        "hidden": tested["size"],
        "recorded": len(episodes),
        "former": {"span": tested["span"], "episodes": _former(episodes, found.before, tested["span"], found.alpha)},
        "now": {key: value for key, value in found.to_json().items() if key not in ("returns", "selection", "seeds")},
    }


def _former(episodes: Paired, before: Paired, span: float, alpha: float) -> int | None:
    """Return after how many episodes the former claim is shown; None where the recorded ones do not."""
    bettor = Bettor(KEEP, span, before)
    for count, difference in enumerate(episodes.differences(KEEP), 1):
        bettor.play(float(difference))
        if count >= MIN_EPISODES and bettor.refutes(alpha):
            return count
    return None


def collect() -> None:
    """Write the committed result."""
    found, runs = played(), compressions()
    if not runs:
        raise SystemExit("no committed compression is of the former claim; the committed result stays")
    rows = [checked(entry, found[f"{entry['env']}, {entry['seed']}"]) for entry in runs]
    both = [(row["former"]["episodes"], row["now"]["episodes"]) for row in rows if row["now"]["verdict"] == "certified"]
    ratios = [now / former for former, now in both if former is not None]
    entries = {
        "keep": KEEP,
        "certified": sum(row["now"]["verdict"] == "certified" for row in rows),
        "median_ratio_of_episodes": round(float(np.median(ratios)), 3) if ratios else math.nan,
        "rows": rows,
    }
    command = "; ".join(f"python benchmarks/claims.py {stage}" for stage in ("run", "collect"))
    print(write_result("claims", command, entries), entries["certified"], entries["median_ratio_of_episodes"])


def ship() -> None:
    """Let the compact policies in ``models`` carry today's claim, with the episodes that it was shown in."""
    found, result = played(), read_result("compress")
    assert result is not None
    for folder in sorted(path for path in SHIPPED.iterdir() if path.is_dir()):
        env_id = folder.name.removesuffix("-ppo")
        entry = min((run for run in compressions() if run["env"] == env_id), key=lambda run: run["seed"])
        certificate, tested = certificate_now(entry, found[f"{env_id}, {entry['seed']}"])
        first = tested["seeds"][0]
        seeds = tuple(range(first, first + len(certificate.episodes)))
        shipped = replace(certificate, seeds=seeds).to_json()
        artifact = with_provenance(load(folder / "compact.pt"), certificate=shipped)
        save(artifact, folder / "compact.pt")
        export_onnx(artifact.actor, folder / "compact.onnx", artifact.provenance)
        write_card(folder, result, env_id, entry)
        print(folder, certificate.sentence)


def main() -> None:
    """Parse and go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    stages = {"run": run, "collect": collect, "ship": ship}
    parser.add_argument("stage", choices=stages)
    stages[parser.parse_args().stage]()


if __name__ == "__main__":
    main()
