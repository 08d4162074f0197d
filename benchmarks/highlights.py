"""The README's figures: one line per claim, and a row per environment of what ``compress`` reaches."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from record import read_result
from search_notes import is_earlier, joined, searches
from search_tables import short_rows
from sweep_tables import kept_in_longest_runs

Result = Mapping[str, Any]
# A network without this share of the parameters is much smaller.
_MUCH = 0.5


def compress_short(result: Result) -> str:
    """Return a row per development environment, which search it was, and a sentence about those held out."""
    text = f"{short_rows(result, result['runs'])}\n\n{searches(result, result['runs']).strip()}"
    held_out = result.get("held_out", [])
    return text + (f"\n\n{held_out_sentences(held_out)}" if held_out else "")


def held_out_sentences(runs: Sequence[Result]) -> str:
    """Return sentences about what is certified on the environments held out; those that stay large are named."""
    certified = [run for run in runs if run["certified"]]
    removed = {run["env"]: max(_removed(one) for one in certified if one["env"] == run["env"]) for run in certified}
    small = [run["parameters"] for run in certified if removed[run["env"]] >= _MUCH]
    told = []
    if small:
        count = sum(share >= _MUCH for share in removed.values())
        told.append(
            f"Certified results on {count} held-out environments have {min(small):,} to {max(small):,} parameters."
        )
    told += [
        f"On {env} at most {share:.0%} of the parameters could be removed."
        for env, share in removed.items()
        if share < _MUCH
    ]
    nothing = list(dict.fromkeys(run["env"] for run in runs if run["env"] not in removed))
    told += [f"On {joined(nothing)} nothing was certified."] if nothing else []
    return " ".join([*told, "[The table](docs/results.md#compression-of-an-existing-policy) has every run."])


def _removed(run: Result) -> float:
    return 1.0 - float(run["parameters"]) / float(run["teacher"]["size"]["parameters"])


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
    removed = [_removed(run) for run in runs]
    others = result.get("held_out", [])
    certified = sum(run["certified"] for run in runs)
    return (
        f"**Smaller, and certified.** `compress` removes {min(removed):.1%} to {max(removed):.2%} of the parameters of "
        f"five PPO policies. {certified} of {len(runs)} results{_mixed(result, runs)} are certified to keep "
        f"{result['keep']:g} of the return, and {sum(run['certified'] for run in others)} of {len(others)} on "
        f"{len({run['env'] for run in others})} environments on which no default was chosen."
    )


def _honest(result: Result) -> str:
    return (
        "**Honest.** A certificate is a statistical test on fresh episodes, of returns clipped to a stated range. "
        "It assumes nothing about how they are distributed: in simulations a false claim was certified in at most "
        f"{result['highest_rate']:.1%} of the repetitions, where 5% are allowed "
        "([details](docs/compress.md#what-the-certificate-promises))."
    )


def _read(result: Result) -> str:
    files = result["files"]
    good = Counter(row["expected"] for row in files if row["good"])
    return (
        f"**Reads what you have.** Of {len(files)} policy files that others published, {good['read']} are read and act "
        f"as recorded, and {good['refused']} are refused because they sample their actions. The kinds are "
        "Stable-Baselines3, rsl_rl, skrl, rl_games, CleanRL, RLlib, Brax, ONNX, TorchScript and "
        "[others](docs/readers.md). Reading runs no code of the file."
    )


def _boards(result: Result) -> str:
    measured = {(row["policy"], row["form"], row["device"]): row for row in result["measured"]}
    before, after = (measured[f"Hopper-v5 {kind}", "float32", "cortex-m4"] for kind in ("dense", "compact"))
    cores = len({row["device"] for row in result["measured"] if row.get("bits_of_twin")})
    return (
        f"**Runs anywhere.** The generated C gives the same bits as on a PC on all {cores} emulated cores. On a "
        f"Cortex-M4 the Hopper-v5 policy in `models` takes {after['p50']:,} instructions and {after['flash_bytes']:,} "
        f"bytes of flash; its teacher takes {before['p50']:,} and {before['flash_bytes']:,} "
        "([microcontrollers](docs/embedded.md))."
    )


def _training(result: Result) -> str:
    found = statistics.median(entry["median_over_plain"]["live"] for entry in result["algorithms"].values())
    study = read_result("masked_training")
    return (
        "**Prunes while it trains.** Networks shrink physically during training, which takes "
        f"{found:.2f} of the time of plain Stable-Baselines3 ([training](docs/training.md))."
        f"{'' if study is None else _kept(kept_in_longest_runs(study))}"
    )


def _kept(kept: Mapping[str, float]) -> str:
    poorest = min(kept, key=lambda name: kept[name])
    others = [share for name, share in kept.items() if name != poorest]
    return (
        f" Without 93% of their hidden units, policies keep {kept[poorest]:.2f} of the return of unpruned training on "
        f"{poorest}, and at least {math.floor(100.0 * min(others)) / 100.0:.2f} on {len(others)} other environments, "
        "in runs of the preset's length ([the study](docs/results.md#masked-training))."
    )


_CLAIMS: dict[str, Callable[[Result], str]] = {
    "compress": _smaller,
    "honesty": _honest,
    "published_policies": _read,
    "devices": _boards,
    "training_speed": _training,
}
