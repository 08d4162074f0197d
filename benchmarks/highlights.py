"""The README's figures: one line per claim, and a row per environment of what ``compress`` reaches."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Any

from record import read_result, table

from prunekit.console import size_name

Result = Mapping[str, Any]


def compress_short(result: Result) -> str:
    """Return one row per environment: sizes, retention and episodes of all seeds."""
    runs: dict[str, list[Result]] = {}
    for run in result["runs"]:
        runs.setdefault(run["env"], []).append(run)
    rows = []
    for environment, found in runs.items():
        kept = [run["tested"][-1]["retention"] for run in found]
        seconds = [run["seconds"] / 60.0 for run in found]
        rows.append(
            [
                environment,
                f"{found[0]['teacher']['size']['parameters']:,}",
                ", ".join(f"{run['parameters']:,}" for run in found),
                ", ".join(size_name(tuple(run["hidden"])) for run in found),
                ", ".join(f"{value:.3f}" for value in kept),
                f"{sum(run['certified'] for run in found)} of {len(found)}",
                f"{min(seconds):.1f} to {max(seconds):.1f} min",
            ]
        )
    head = [
        "environment (PPO, 256x256)", "parameters before", "after (each seed)", "hidden units", "retention",
        f"certified at {result['keep']:g}", f"time on {result['cores']} cores",
    ]  # fmt: skip
    return table(head, rows)


def highlights(_: Result) -> str:
    """Return a bullet per claim, each with its figure; a claim whose result file is missing is left out."""
    bullets = []
    for name, written in _CLAIMS.items():
        result = read_result(name)
        if result is not None:
            bullets.append(f"- {written(result)}")
    return "\n".join(bullets)


def _smaller(result: Result) -> str:
    runs = result["runs"]
    removed = [1.0 - run["parameters"] / run["teacher"]["size"]["parameters"] for run in runs]
    certified = sum(run["certified"] for run in runs)
    return (
        f"**Smaller, and certified.** `compress` removes {min(removed):.1%} to {max(removed):.2%} of the parameters of "
        f"five PPO policies; {certified} of {len(runs)} results are certified to keep {result['keep']:g} of the return."
    )


def _honest(result: Result) -> str:
    return (
        "**Honest.** The certificate assumes nothing about how returns are distributed: in simulations a claim that is "
        f"not true was certified in at most {result['highest_rate']:.1%} of the repetitions, where 5% are allowed "
        "([details](docs/compress.md#what-the-certificate-promises))."
    )


def _read(result: Result) -> str:
    files = result["files"]
    good = sum(row["good"] for row in files)
    return (
        f"**Reads what you have.** {good} of {len(files)} policy files that others published are read as they are, or "
        "refused for a good reason: Stable-Baselines3, rsl_rl, skrl, rl_games, CleanRL, RLlib, Brax, ONNX, TorchScript "
        "([all kinds](docs/readers.md)). Reading runs no code of the file."
    )


def _boards(result: Result) -> str:
    measured = {(row["policy"], row["form"], row["device"]): row for row in result["measured"]}
    before, after = (measured[f"Hopper-v5 {kind}", "float32", "cortex-m4"] for kind in ("dense", "compact"))
    cores = len({row["device"] for row in result["measured"] if row.get("bits_of_twin")})
    return (
        f"**Runs anywhere.** The generated C gives the same bits on all {cores} emulated cores. The Hopper-v5 policy "
        f"takes {after['p50']:,} instructions and {after['flash_bytes']:,} bytes of flash on a Cortex-M4 in place of "
        f"{before['p50']:,} and {before['flash_bytes']:,} ([microcontrollers](docs/embedded.md))."
    )


def _training(result: Result) -> str:
    found = statistics.median(entry["median_over_plain"]["live"] for entry in result["algorithms"].values())
    return (
        "**Prunes while it trains.** Networks shrink physically during training, in "
        f"{found:.2f} of the time of plain Stable-Baselines3 ([training](docs/training.md))."
    )


_CLAIMS: dict[str, Callable[[Result], str]] = {
    "compress": _smaller,
    "honesty": _honest,
    "published_policies": _read,
    "devices": _boards,
    "training_speed": _training,
}
