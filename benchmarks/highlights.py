"""The README's figures: one line per claim, and a row per environment of what ``compress`` reaches."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from record import read_result
from search_tables import is_earlier, not_run, searches, short_rows
from sweep_tables import kept_in_longest_runs

Result = Mapping[str, Any]


def compress_short(result: Result) -> str:
    """Return a row per development environment, which search it was, and a sentence about those held out."""
    text = f"{short_rows(result, result['runs'])}\n\n{searches(result, result['runs']).strip()}"
    held_out = result.get("held_out", [])
    return f"{text}{not_run(result['missing'])}" + (f"\n\n{_held_out(result, held_out)}" if held_out else "")


def _held_out(result: Result, runs: Sequence[Result]) -> str:
    sizes = [run["parameters"] for run in runs]
    return (
        f"On {len({run['env'] for run in runs})} held-out environments, {sum(run['certified'] for run in runs)} of "
        f"{len(runs)} results{_mixed(result, runs)} are certified, with {min(sizes):,} to {max(sizes):,} parameters "
        "([table](docs/results.md#compression-of-an-existing-policy))."
    )


def _mixed(result: Result, runs: Sequence[Result]) -> str:
    earlier = sum(is_earlier(result, run) for run in runs)
    return f" ({earlier} of them from an earlier version of the search)" if 0 < earlier < len(runs) else ""


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
        f"five PPO policies; {certified} of {len(runs)} results{_mixed(result, runs)} are certified to keep "
        f"{result['keep']:g} of the return."
    )


def _honest(result: Result) -> str:
    return (
        "**Honest.** The certificate assumes nothing about how returns are distributed: in simulations a false claim "
        f"was certified in at most {result['highest_rate']:.1%} of the repetitions, where 5% are allowed "
        "([details](docs/compress.md#what-the-certificate-promises))."
    )


def _read(result: Result) -> str:
    files = result["files"]
    good = Counter(row["expected"] for row in files if row["good"])
    return (
        f"**Reads what you have.** {good['read']} of {len(files)} policy files that others published are read as they "
        f"are, and {good['refused']} are rightly refused, because they sample their actions. The kinds are "
        "Stable-Baselines3, rsl_rl, skrl, rl_games, CleanRL, RLlib, Brax, ONNX, TorchScript and "
        "[others](docs/readers.md). Reading runs no code of the file."
    )


def _boards(result: Result) -> str:
    measured = {(row["policy"], row["form"], row["device"]): row for row in result["measured"]}
    before, after = (measured[f"Hopper-v5 {kind}", "float32", "cortex-m4"] for kind in ("dense", "compact"))
    cores = len({row["device"] for row in result["measured"] if row.get("bits_of_twin")})
    return (
        f"**Runs anywhere.** The generated C gives the same bits on all {cores} emulated cores. The Hopper-v5 policy "
        f"takes {after['p50']:,} instructions and {after['flash_bytes']:,} bytes of flash on a Cortex-M4 instead of "
        f"{before['p50']:,} and {before['flash_bytes']:,} ([microcontrollers](docs/embedded.md))."
    )


def _training(result: Result) -> str:
    found = statistics.median(entry["median_over_plain"]["live"] for entry in result["algorithms"].values())
    study = read_result("masked_training")
    return (
        "**Prunes while it trains.** Networks shrink physically during training, in "
        f"{found:.2f} of the time of plain Stable-Baselines3 ([training](docs/training.md))."
        f"{'' if study is None else _kept(kept_in_longest_runs(study))}"
    )


def _kept(kept: Mapping[str, float]) -> str:
    poorest = min(kept, key=lambda name: kept[name])
    others = [share for name, share in kept.items() if name != poorest]
    return (
        f" Without 93% of their units, policies keep {kept[poorest]:.2f} ({poorest}) and at least {min(others):.2f} "
        f"(the other {len(others)} environments) of the return of unpruned training in runs of full length "
        "([the study](docs/results.md#masked-training))."
    )


_CLAIMS: dict[str, Callable[[Result], str]] = {
    "compress": _smaller,
    "honesty": _honest,
    "published_policies": _read,
    "devices": _boards,
    "training_speed": _training,
}
