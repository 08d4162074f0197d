"""Put the figures of the committed result files into the README, between its markers.

python benchmarks/readme.py           # rewrites README.md
python benchmarks/readme.py --check   # exit code 1 where README.md is not what the results say
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from record import read_result

from prunekit.files import write_atomically

README = Path(__file__).parents[1] / "README.md"
KINDS = {
    "dense": "dense",
    "masked": "masked, shrunk",
    "scratch": "same widths from scratch",
    "dense-linear": "dense, falling rate",
    "scratch-linear": "same widths from scratch, falling rate",
}


def demo_table(result: Mapping[str, Any]) -> str:
    """Return the demo's comparison, quantities down and models across."""
    models = result["bench"]["models"]
    kept = list(result["bench"]["retention"].values())[1]
    devices = [model["devices"]["cpu"] for model in models]
    rows = [
        ["hidden units", *(_widths(model) for model in models)],
        ["hidden units removed", "", f"{_removed(models, 'units'):.1%}"],
        ["weights", *(f"{model['parameters']:,}" for model in models)],
        ["weights removed", "", f"{_removed(models, 'parameters'):.1%}"],
        ["multiply-accumulates", *(f"{model['macs']:,}" for model in models)],
        ["ONNX file", *(f"{model['size_bytes'] / 1024:,.1f} KiB" for model in models)],
        ["latency, back to back, p50", *(f"{device['latency_us']['p50']:.1f} us" for device in devices)],
        ["latency at 50 Hz, p50", *(f"{device['paced_latency_us']['p50']:.0f} us" for device in devices)],
        ["memory per loaded model", *(f"{device['marginal_memory_bytes'] / 1024:,.0f} KiB" for device in devices)],
        ["return, 100 episodes", *(f"{device['return']['mean']:.1f}" for device in devices)],
        ["retention (95% lower bound)", "", f"{kept['estimate']:.3f} ({kept['lower95']:.3f})"],
    ]
    return f"{_table(['CartPole-v1', 'dense', 'compact'], rows)}\n\n{_stamp(result)}."


def masked_training_table(result: Mapping[str, Any]) -> str:
    """Return one row per environment and kind: the mean over seeds, every seed's return, and sizes.

    Retention is that of the means over seeds: a mean of ratios would be ruled by the worst dense seed.
    """
    rows = []
    for env_id in result["steps"]:
        runs = [run for run in result["runs"] if run["env"] == env_id]
        floor = statistics.mean(run["bench"]["random"]["mean"] for run in runs)
        reference = statistics.mean(run["bench"]["models"][0]["devices"]["cpu"]["return"]["mean"] for run in runs)
        for index, kind in enumerate(runs[0]["kinds"]):
            models = [run["bench"]["models"][index] for run in runs]
            means = [model["devices"]["cpu"]["return"]["mean"] for model in models]
            kept = (statistics.mean(means) - floor) / (reference - floor)
            shown = models[:1] if len({_widths(model) for model in models}) == 1 else models
            rows.append(
                [
                    env_id,
                    KINDS[kind],
                    ", ".join(_widths(model) for model in shown),
                    ", ".join(f"{model['parameters']:,}" for model in shown),
                    f"{statistics.mean(means):,.0f}",
                    ", ".join(f"{mean:,.0f}" for mean in means),
                    f"{kept:.3f}" if index else "",
                ]
            )
    seeds = sorted({run["seed"] for run in result["runs"]})
    each = f"seeds {', '.join(map(str, seeds))}"
    head = ["environment", "policy", "hidden units", "weights", "return", each, "retention"]
    return f"{_table(head, rows)}\n\n{_stamp(result)}."


def training_speed_table(result: Mapping[str, Any]) -> str:
    """Return one row per interleaved pair, and the median ratio."""
    rows = [
        [str(pair["seed"]), f"{pair['plain']:,.0f}", f"{pair['masked']:,.0f}", f"{pair['ratio']:.2f}"]
        for pair in result["pairs"]
    ]
    rows.append(["median", "", "", f"{result['median_ratio']:.2f}"])
    head = [f"{result['env']}, seed", "plain SB3, dense", "masked training", "ratio"]
    return f"{_table(head, rows)}\n\n{_stamp(result)}."


TABLES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "demo": demo_table,
    "masked_training": masked_training_table,
    "training_speed": training_speed_table,
}


def rendered(text: str) -> str:
    """Return ``text`` with every marked section replaced by what its result file says."""
    for name, table in TABLES.items():
        result = read_result(name)
        body = "Not measured yet." if result is None else table(result)
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise SystemExit(f"README.md needs one section between {begin} and {end}")
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{body}\n{end}{rest.split(end)[1]}"
    return text


def _widths(model: Mapping[str, Any]) -> str:
    return "x".join(str(width) for width in model["hidden"])


def _removed(models: Sequence[Mapping[str, Any]], key: str) -> float:
    return 1.0 - float(models[1][key]) / float(models[0][key])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _stamp(result: Mapping[str, Any]) -> str:
    versions = result["versions"]
    names = ("gymnasium", "mujoco", "stable-baselines3", "torch", "onnxruntime")
    return f"`{result['command']}`, {result['date']}, " + ", ".join(f"{name} {versions[name]}" for name in names)


def main() -> None:
    """Rewrite or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    text = README.read_text()
    new = rendered(text)
    if parser.parse_args().check:
        sys.exit(0 if new == text else "README.md is not what the results say; run python benchmarks/readme.py")
    write_atomically(README, new.encode())


if __name__ == "__main__":
    main()
