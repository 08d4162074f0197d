"""The results of ``driving.py`` as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from record import stamp, table
from search_notes import is_earlier, not_run, searches

from prunekit.console import size_name

Entry = Mapping[str, Any]
_MEMORIES = (("flash", "flash"), ("ram", "RAM"))


def driving_table(result: Entry) -> str:
    """Return one row per policy, teachers with their controls: size, return, crashes with bound, certificate, time."""
    rows = list(_rows(result))
    compressed = [_named(run) for run in result["runs"] if run["compressed"] is not None]
    head = [
        "environment, seed", "policy", "hidden", "parameters", "return", "crashed", "crash rate at most",
        "retention, bound", f"certified at {result['keep']:g}, episodes", "CPU",
    ]  # fmt: skip
    told = f" Compressions: {_budgets(result)}, imitation alone.{searches(result, compressed)}"
    where = "; ".join(_trained(run) for run in result["runs"])
    steps, seconds = (sum(played[key] for played in _played(result)) for key in ("steps", "cpu_seconds"))
    pace = f" highway-env's own environments played {steps / seconds:.0f} steps per second of CPU." if seconds else ""
    missing = not_run(result["missing"])
    return f"{table(head, rows)}\n\nTeachers: {where}.{told}{pace}{missing} {_stamp(result)}."


def boards_table(result: Entry) -> str:
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


def _rows(result: Entry) -> Iterator[list[str]]:
    for env_id in dict.fromkeys(run["env"] for run in result["runs"]):
        controls = result["controls"][env_id]
        if controls is not None:
            for policy, name in (("random", "random"), ("control", controls["called"])):
                yield [env_id, name, "", "", *_driven(controls[policy]), *_made(None)]
        for run in result["runs"]:
            if run["env"] != env_id:
                continue
            made = run["compressed"]
            name = f"{env_id}, {run['seed']}"
            yield [name, "teacher", *_teacher(run), *_driven(run["driven"]["teacher"]), *_made(None)]
            if made is not None:
                earlier = " (earlier search)" * is_earlier(result, made)
                size = (size_name(tuple(made["hidden"])), f"{made['parameters']:,}")
                yield [name, f"compact{earlier}", *size, *_driven(run["driven"]["compact"]), *_made(made)]


def _named(run: Entry) -> Entry:
    return {"env": run["env"], "seed": run["seed"], "search": run["compressed"].get("search")}


def _budgets(result: Entry) -> str:
    """Return how many steps compressions might take, and which had another number than most."""
    known = {run["env"]: run["compressed"]["budget"] for run in result["runs"] if run["compressed"] is not None}
    usual = max(known.values(), key=list(known.values()).count)
    others = [f"{name} {steps:,}" for name, steps in known.items() if steps != usual]
    return f"a budget of {usual:,} steps each" + (f" ({', '.join(others)})" if others else "")


def _trained(run: Entry) -> str:
    told = run["training"]
    took = f"{told['steps']:,} steps in {told['cpu_seconds']:.0f} s of CPU"
    return f"{run['env']}, {run['seed']}: {run['trained_by']}, {took}"


def _played(result: Entry) -> Iterator[Entry]:
    for run in result["runs"]:
        yield from (played for played in run["driven"].values() if played is not None)
    for controls in result["controls"].values():
        if controls is not None:
            yield from (controls[policy] for policy in ("random", "control"))


def _teacher(run: Entry) -> tuple[str, str]:
    if run["compressed"] is None:
        return run["training"].get("hidden", "256x256"), ""
    size = run["compressed"]["teacher"]["size"]
    return size_name(tuple(size["hidden"])), f"{size['parameters']:,}"


def _driven(driven: Entry | None) -> tuple[str, str, str]:
    if driven is None:
        return "not played", "", ""
    parked = f" (parked {driven['successes']} of {driven['episodes']})" if driven["can_succeed"] else ""
    bound = f"{driven['crash_rate_upper_bound']:.3f}"
    return f"{driven['mean']:.2f}{parked}", f"{driven['crashes']} of {driven['episodes']}", bound


def _made(made: Entry | None) -> tuple[str, str, str]:
    if made is None:
        return "", "", ""
    entry = made["certificate"]
    retention, bound = (
        "none" if value is None else f"{value:.3f}" for value in (entry["retention"], entry["lower_bound"])
    )
    shown = f"{'yes' if made['certified'] else 'no'}, {entry['episodes']}"
    return f"{retention}, {bound}", shown, f"{made['cpu_seconds']:.0f} s"


def _board(firmware: Entry, own: Entry | None, host: Entry) -> list[str]:
    over = firmware["overflow_bytes"]
    if not firmware["fits"]:
        least = "at least " if firmware["at_least"] else ""
        much = " and ".join(f"{over[of]:,} B of {name}" for of, name in _MEMORIES if over[of])
        return [f"too large, by {least}{much}", "", "", "", ""]
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


def _stamp(result: Entry) -> str:
    return f"{stamp(result)}, " + ", ".join(f"{name} {found}" for name, found in result["packages"].items())
