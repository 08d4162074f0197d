"""The shipped policies: teachers, their certified compact ones, and a card beside them.

    python benchmarks/compress.py train; python benchmarks/compress.py compress; python benchmarks/compress.py collect
    python benchmarks/models.py

Of the compressions of a teacher the certified one of the lowest seed is shipped; the card names the others too.
``benchmarks/results/shipped_models.json`` keeps the run that each shipped policy comes from, as later searches replace
the runs in ``compress.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from compress import RUNS
from compressing.runs import SEEDS
from compressing.teachers import DEVELOPMENT, SHIPPED, teacher_of
from record import read_result, write_result

from prunekit.console import size_name
from prunekit.export.onnx import export_onnx
from prunekit.files import write_atomically
from prunekit.policy.artifact import load

RECORD = "shipped_models"
COMPACT = {"compact.pt": "policy.pt", "compact.onnx": "policy.onnx"}

CARD = """---
library_name: prunekit
tags: [reinforcement-learning, deep-reinforcement-learning, {env}, ppo, pruning, onnx]
model-index:
- name: {env}-ppo compact
  results:
  - task: {{type: reinforcement-learning, name: reinforcement-learning}}
    dataset: {{name: {env}, type: {env}}}
    metrics:
    - {{type: mean_reward, value: {compact_return:.2f} +/- {deviation:.2f}, name: mean_reward, verified: false}}
---
# {env}, PPO: a policy of {dense_hidden} hidden units, and its certified compact one (hidden units: {hidden})

| | dense (the teacher) | compact |
|---|---|---|
| hidden units | {dense_hidden} | {hidden} |
| hidden units removed | | {units_removed:.1%} |
| weights | {dense_weights:,} | {weights:,} |
| weights removed | | {weights_removed:.2%} |
| ONNX file, bytes | {dense_bytes:,} | {bytes:,}, most of it the certificate |
| mean return, {episodes} episodes (seeds {first} to {last}) | {dense_return:.2f} | {compact_return:.2f} |

**Certificate:** {claim}

The random policy earns {random_return:.2f}. The episodes are the first of those above, which neither teaching nor
selection had seen; how the claim is tested is in prunekit's `docs/compress.md`. The ONNX file carries every episode of
the certificate in its metadata.

Compressed by `prunekit compress --keep {keep:g} --seed {seed}` in {seconds:.0f} s on {cores} cores, {how}.{others}

Run it with nothing but Gymnasium (`pip install "gymnasium[mujoco,box2d]"`), NumPy and ONNX Runtime:

```python
import gymnasium, numpy, onnxruntime

session = onnxruntime.InferenceSession("compact.onnx")
env = gymnasium.make("{env}")
obs, _ = env.reset(seed=0)
action = session.run(["action"], {{"obs": obs[None].astype(numpy.float32)}})[0][0]  # for env.step
```

`dense.pt` and `compact.pt` are for `prunekit inspect`, `bench`, `compress` and `export`. Made by
`python benchmarks/models.py` of runs of {date} ({versions}).
"""


def card(
    result: Mapping[str, Any], env_id: str, chosen: Mapping[str, Any], sizes: Mapping[str, int], claim: str
) -> str:
    """Return the card of a shipped policy; every figure is from ``result`` or its ``claim``, or a size in bytes."""
    tested = next(entry for entry in chosen["tested"] if entry["size"] == size_name(tuple(chosen["hidden"])))
    returns, dense = tested["returns"], chosen["teacher"]["size"]
    runs = [run for run in result["runs"] if run["env"] == env_id and run["seed"] != chosen["seed"]]
    others = "; ".join(
        f"seed {run['seed']}: {size_name(run['hidden'])}, {'certified' if run['certified'] else 'not certified'}"
        for run in runs
    )
    names = ("gymnasium", "mujoco", "stable-baselines3", "torch", "onnxruntime")
    return CARD.format(
        env=env_id,
        hidden=size_name(tuple(chosen["hidden"])),
        dense_hidden=size_name(tuple(dense["hidden"])),
        units_removed=1.0 - sum(chosen["hidden"]) / sum(dense["hidden"]),
        weights=chosen["parameters"],
        dense_weights=dense["parameters"],
        weights_removed=1.0 - chosen["parameters"] / dense["parameters"],
        bytes=sizes["compact.onnx"],
        dense_bytes=sizes["dense.onnx"],
        episodes=len(returns["small"]),
        first=tested["seeds"][0],
        last=tested["seeds"][-1],
        compact_return=mean(returns["small"]),
        deviation=stdev(returns["small"]),
        dense_return=mean(returns["dense"]),
        random_return=mean(returns["random"]),
        claim=claim,
        keep=tested["keep"],
        seed=chosen["seed"],
        cores=result["cores"],
        seconds=chosen["seconds"],
        how="by imitation and fine-tuning on rewards" if chosen["tuned"] else "by imitation alone, without rewards",
        others=f" Other seeds of the search: {others}." if others else "",
        date=result["date"],
        versions=", ".join(f"{name} {result['versions'][name]}" for name in names),
    )


def ship(result: Mapping[str, Any], env_id: str) -> Mapping[str, Any] | None:
    """Write the folder of one environment and return its run; None where nothing of it was certified here."""
    folder = SHIPPED / f"{env_id}-ppo"
    certified = [run for run in result["runs"] if run["env"] == env_id and run["certified"]]
    found = [(run, RUNS / f"{env_id}-seed{run['seed']}") for run in sorted(certified, key=lambda run: run["seed"])]
    if not found or not (found[0][1] / "policy.pt").exists():
        return None
    chosen: Mapping[str, Any]
    chosen, source = found[0]
    teacher = teacher_of(env_id)
    write_atomically(folder / "dense.pt", teacher.read_bytes())
    artifact = load(teacher)
    export_onnx(artifact.actor, folder / "dense.onnx", artifact.provenance)
    for name, origin in COMPACT.items():
        write_atomically(folder / name, (source / origin).read_bytes())
    write_card(folder, result, env_id, chosen)
    return chosen


def write_card(folder: Path, result: Mapping[str, Any], env_id: str, chosen: Mapping[str, Any]) -> None:
    """Write the card of the policies in ``folder``, with the claim that the compact one carries."""
    sizes = {name: (folder / name).stat().st_size for name in ("dense.onnx", "compact.onnx")}
    claim = str(load(folder / "compact.pt").provenance["certificate"]["claim"])
    write_atomically(folder / "README.md", card(result, env_id, chosen, sizes, claim).encode())


def main() -> None:
    """Ship what is there."""
    result = read_result("compress")
    if result is None:
        raise SystemExit("nothing to ship: run python benchmarks/compress.py first")
    kept = {run["env"]: run for run in (read_result(RECORD) or {"runs": []})["runs"]}
    for env_id in DEVELOPMENT:
        run = ship(result, env_id)
        if run is None:
            print(f"{env_id}: nothing certified here (seeds {SEEDS})")
        else:
            kept[env_id] = {**run, "date": result["date"], "versions": result["versions"]}
    runs = [kept[env_id] for env_id in DEVELOPMENT if env_id in kept]
    print(write_result(RECORD, "python benchmarks/models.py", {"runs": runs}))


if __name__ == "__main__":
    main()
