"""The results of ``driving.py`` as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from record import stamp, table

from prunekit.console import size_name

_NAMES = {
    "random": "random", "always slower": "always slower", "teacher": "teacher", "fast": "compact, `--fast`",
    "own": "compact",
}  # fmt: skip


def driving_table(result: Mapping[str, Any]) -> str:
    """Return one row per teacher and policy: size, return, crashes with their bound, certificate and time."""
    rows = []
    for run in result["runs"]:
        for policy, name in _NAMES.items():
            driven, made = run["driven"].get(policy), run["compressed"].get(policy)
            if driven is None and made is None:
                continue
            rows.append([f"{run['env']}, {run['seed']}", name, *_size(run, policy), *_driven(driven), *_made(made)])
    head = [
        "environment, seed", "policy", "hidden", "parameters", "return", "crashed", "crash rate at most",
        "retention, bound", f"certified at {result['keep']:g}, episodes", "CPU",
    ]  # fmt: skip
    trained = "; ".join(
        f"{run['env']}, {run['seed']}: {run['training']['steps']:,} steps in {run['training']['cpu_seconds']:.0f} s"
        for run in result["runs"]
    )
    played = [driven for run in result["runs"] for driven in run["driven"].values() if driven is not None]
    pace = sum(driven["steps"] for driven in played) / max(sum(driven["cpu_seconds"] for driven in played), 1e-9)
    own = f" highway-env's own environment played {pace:.0f} steps per second of CPU." if played else ""
    return f"{table(head, rows)}\n\nTeachers, PPO on EnvPool: {trained}.{own}{_missing(result)} {_stamp(result)}."


def boards_table(result: Mapping[str, Any]) -> str:
    """Return one row per policy and device: sizes, cost of an action, and episodes with the processor in the loop."""
    rows = []
    for run in result["runs"]:
        for model in (run["board"] or {"models": []})["models"]:
            host = model["devices"]["cpu-c"]["return"]
            for device, found in model["devices"].items():
                firmware = found["firmware"]
                if firmware is not None:
                    name = f"{run['env']}, {run['seed']}: {size_name(tuple(model['hidden']))}"
                    rows.append([name, device, *_board(firmware, found["return"], host)])
    head = [
        "policy", "device", "flash", "RAM, stack", "an action takes", "return in the loop, episodes",
        "actions with the host's bits",
    ]  # fmt: skip
    return f"{table(head, rows)}\n\n{_stamp(result)}."


def _size(run: Mapping[str, Any], policy: str) -> tuple[str, str]:
    made = run["compressed"].get(policy)
    if made is not None:
        return size_name(tuple(made["hidden"])), f"{made['parameters']:,}"
    known = next((entry for entry in run["compressed"].values() if entry is not None), None)
    if policy != "teacher" or known is None:
        return "", ""
    size = known["teacher"]["size"]
    return size_name(tuple(size["hidden"])), f"{size['parameters']:,}"


def _driven(driven: Mapping[str, Any] | None) -> tuple[str, str, str]:
    if driven is None:
        return "not played yet", "", ""
    bound = f"{driven['crash_rate_upper_bound']:.3f}"
    return f"{driven['mean']:.2f}", f"{driven['crashes']} of {driven['episodes']}", bound


def _made(made: Mapping[str, Any] | None) -> tuple[str, str, str]:
    if made is None:
        return "", "", ""
    entry = made["certificate"]
    retention, bound = (
        "none" if value is None else f"{value:.3f}" for value in (entry["retention"], entry["lower_bound"])
    )
    shown = f"{'yes' if made['certified'] else 'no'}, {entry['episodes']}"
    return f"{retention}, {bound}", shown, f"{made['cpu_seconds']:.0f} s"


def _board(firmware: Mapping[str, Any], own: Mapping[str, Any] | None, host: Mapping[str, Any]) -> list[str]:
    over = firmware["overflow_bytes"]
    if not firmware["fits"]:
        least = "at least " if firmware["at_least"] else ""
        return [f"too large, by {least}{over['flash']:,} B of flash", "", "", "", ""]
    cost = firmware["cost"]
    ran = "not played" if own is None else f"{own['mean']:.2f} (host {host['mean']:.2f}), {own['episodes']}"
    equal = firmware["compared_actions"] - firmware["different_actions"]
    return [
        f"{firmware['flash_bytes']:,} B",
        f"{firmware['static_ram_bytes']:,} B, {firmware['stack_bytes']:,} B",
        f"{cost['p50']:,.0f} {cost['unit']}",
        ran,
        f"{equal:,} of {firmware['compared_actions']:,}",
    ]


def _missing(result: Mapping[str, Any]) -> str:
    return f" Not run yet: {', '.join(result['missing'])}." if result["missing"] else ""


def _stamp(result: Mapping[str, Any]) -> str:
    return f"{stamp(result)}, " + ", ".join(f"{name} {found}" for name, found in result["packages"].items())
