"""The demo's table as a result file, and its policies as the shipped ones.

    python benchmarks/demo.py

Runs ``make demo``, times it, keeps what its bench measured in ``benchmarks/results/demo.json``, and copies the two
policies with a card into ``models/CartPole-v1-ppo``.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from record import write_result

from prunekit.files import write_atomically

DEMO = Path("runs/demo")
SHIPPED = Path(__file__).parents[1] / "models" / "CartPole-v1-ppo"
FILES = {
    "dense.onnx": DEMO / "dense/model.onnx",
    "compact.onnx": DEMO / "masked/model.compact.onnx",
    "compact.pt": DEMO / "masked/model.compact.pt",
}

CARD = """---
library_name: prunekit
tags: [reinforcement-learning, CartPole-v1, ppo, pruning]
model-index:
- name: compact.onnx
  results:
  - task: {{type: reinforcement-learning}}
    dataset: {{name: CartPole-v1, type: CartPole-v1}}
    metrics:
    - {{type: mean_reward, value: {compact_return}, verified: false}}
---
# CartPole-v1, PPO: a policy of {dense_hidden} hidden units beside one of {compact_hidden}

| | dense.onnx | compact.onnx |
|---|---|---|
| hidden units | {dense_hidden} | {compact_hidden} |
| weights | {dense_parameters:,} | {compact_parameters:,} |
| file, bytes | {dense_bytes:,} | {compact_bytes:,} |
| mean return, {episodes} episodes (seeds {first} to {last}) | {dense_return} | {compact_return} |

Retention {retention:.3f}, one-sided 95% lower bound {lower:.3f}. Trained and measured by `{command}` on {date}
({versions}); `compact.pt` is the compact policy for `prunekit inspect` and `prunekit export`.

```python
import gymnasium, numpy, onnxruntime

session = onnxruntime.InferenceSession("compact.onnx")
env = gymnasium.make("CartPole-v1")
obs, _ = env.reset(seed=0)
action = session.run(["action"], {{"obs": obs[None].astype(numpy.float32)}})[0][0]
```
"""


def card(result: Mapping[str, Any]) -> str:
    """Return the card of the shipped policies; every figure is from ``result``."""
    dense, compact = result["bench"]["models"]
    returns = [model["devices"]["cpu"]["return"] for model in (dense, compact)]
    kept = list(result["bench"]["retention"].values())[1]
    names = ("gymnasium", "stable-baselines3", "torch", "onnxruntime")
    return CARD.format(
        dense_hidden="x".join(map(str, dense["hidden"])),
        compact_hidden="x".join(map(str, compact["hidden"])),
        dense_parameters=dense["parameters"],
        compact_parameters=compact["parameters"],
        dense_bytes=dense["size_bytes"],
        compact_bytes=compact["size_bytes"],
        dense_return=returns[0]["mean"],
        compact_return=returns[1]["mean"],
        episodes=returns[0]["episodes"],
        first=returns[0]["seeds"][0],
        last=returns[0]["seeds"][-1],
        retention=kept["estimate"],
        lower=kept["lower95"],
        command=result["command"],
        date=result["date"],
        versions=", ".join(f"{name} {result['versions'][name]}" for name in names),
    )


def main() -> None:
    """Run, time, keep."""
    start = time.perf_counter()
    subprocess.run(["make", "demo"], check=True)
    seconds = round(time.perf_counter() - start, 1)
    entries = {"seconds": seconds, "bench": json.loads((DEMO / "bench.json").read_text())}
    path = write_result("demo", "python benchmarks/demo.py", entries)
    for name, source in FILES.items():
        write_atomically(SHIPPED / name, source.read_bytes())
    write_atomically(SHIPPED / "README.md", card(json.loads(path.read_text())).encode())
    print(path, SHIPPED)


if __name__ == "__main__":
    main()
