"""1,000 kills: training, compressing, exporting and shrinking, ended by SIGKILL, SIGTERM, SIGINT and SIGHUP.

    python benchmarks/kills.py                    # all of them; goes on where an earlier call has stopped
    python benchmarks/kills.py --only sac -n 20   # some of one scenario
    python benchmarks/kills.py --collect          # benchmarks/results/kills.json

Victims are forked from this process, which has imported everything (``killing/victims.py``), and run the command line
with arguments, session and streams of their own. SIGINT and SIGHUP go to the whole group of processes, as from a
terminal, the others to the command alone. Moments are random, by the clock; a share of them is aimed: the signal is
sent as soon as a temporary file of what is being written is seen.

A kill is in order where the command ends with the signal or with 128 + its number, without a traceback, no process of
it is left after ten seconds, every file is whole and fits the others, and the command, run again, leaves no temporary
file. Training goes on after every kill, and what it leaves in the end must be, bit for bit, what a run leaves that was
never killed: tensors, provenance and metrics, all but times and dates.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from killing.compressions import kill_compression
from killing.outputs import COMMANDS, kill_output
from killing.trainings import TRAININGS, kill_training
from record import write_result

SEED = 0
STATE = Path("runs/kills")
PLAN = {**dict.fromkeys(TRAININGS, 160), "compress": 100, **dict.fromkeys(COMMANDS, 65)}
"""Kills per scenario, a thousand in all."""
TROUBLES = {
    "orphans": ("orphan:",),
    "half_or_mixed_files": ("torn:", "mixed:", "gone:"),
    "temporary_files_left": ("left:",),
    "runs_that_ended_otherwise": ("ended otherwise:",),
    "tracebacks": ("printed:",),
    "exit_codes": ("exit code",),
}
"""Kinds of trouble, and how what is said of them begins."""


def kills_of(name: str, folder: Path, begin_at: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the kills of a scenario."""
    if name in TRAININGS:
        return kill_training(name, folder, begin_at, seed)
    return kill_output(name, folder, begin_at, seed) if name in COMMANDS else kill_compression(folder, begin_at, seed)


def known(state: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the records so far, by scenario; a line that was cut off does not count."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in PLAN}
    for line in state.read_text().splitlines() if state.is_file() else ():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        found[record["scenario"]].append(record)
    return found


def run(names: list[str], count: int | None, seed: int, folder: Path) -> None:
    """Kill until every scenario of ``names`` has had its share, always in the one that lacks the most of it."""
    torch.set_num_threads(1)
    state = folder / f"seed-{seed}.jsonl"
    done = {name: _kills(known(state)[name]) for name in names}
    wanted = {name: PLAN[name] if count is None else count for name in names}
    kills = {name: kills_of(name, folder, done[name], seed) for name in names}
    seconds: dict[str, float] = dict.fromkeys(names, 0.0)
    while open_names := [name for name in names if done[name] < wanted[name]]:
        name = min(open_names, key=lambda name: done[name] / wanted[name])
        began = time.monotonic()
        record = next(kills[name])
        seconds[name] += time.monotonic() - began
        with state.open("a") as file:
            file.write(json.dumps({"scenario": name, "number": done[name], **record}) + "\n")
        done[name] += record["signal"] != 0
        if record["troubles"]:
            print(name, record, flush=True)
        if done[name] >= wanted[name]:
            print(f"{name}: {done[name]} kills, {seconds[name]:.0f} s", flush=True)


def summary(records: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return counts per scenario: signals, exit codes, aimed kills, runs compared, states of files, troubles."""
    scenarios, troubles = {}, []
    for name, found in records.items():
        if not found:
            continue
        compared = [record["equal"] for record in found if "equal" in record]
        ends = Counter(f"{_signal(record['signal'])} -> {record['code']}" for record in found)
        entry: dict[str, Any] = {
            "kills": _kills(found),
            "aimed_into_a_write": sum(record["inside"] for record in found),
            "ends": dict(sorted(ends.items())),
            "troubles": _counted([text for record in found for text in record["troubles"]]),
        }
        if compared:
            entry |= {"runs_compared": len(compared), "runs_equal": sum(compared)}
        if any("state" in record for record in found):
            entry["files"] = dict(sorted(Counter(record["state"] for record in found).items()))
        scenarios[name] = entry
        for record in found:
            if record["troubles"]:
                told = [_without_places(text) for text in record["troubles"]]
                troubles.append({"scenario": name, **record, "troubles": told})
    return {"kills": sum(entry["kills"] for entry in scenarios.values()), "scenarios": scenarios, "troubles": troubles}


def _without_places(text: str) -> str:
    """Return ``text`` without where this machine keeps Python and its packages."""
    return text.replace(sys.prefix, ".venv").replace(sys.base_prefix, "python")


def _counted(troubles: list[str]) -> dict[str, int]:
    """Return how many of the troubles there are of each kind."""
    counts = {kind: sum(text.startswith(beginnings) for text in troubles) for kind, beginnings in TROUBLES.items()}
    return {**counts, "others": len(troubles) - sum(counts.values())}


def _kills(records: list[dict[str, Any]]) -> int:
    """Return how many of the records are kills; the others are runs that ended before their signal."""
    return sum(record["signal"] != 0 for record in records)


def _signal(number: int) -> str:
    return signal.Signals(number).name if number else "none"


def main() -> None:
    """Parse and go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(PLAN), help="one scenario")
    parser.add_argument("-n", type=int, help="kills per scenario, in place of its share of a thousand")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--state", type=Path, default=STATE, help="folder of runs and of what is known so far")
    parser.add_argument("--collect", action="store_true", help="write the result file")
    arguments = parser.parse_args()
    folder = arguments.state.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    if not arguments.collect:
        run([arguments.only] if arguments.only else list(PLAN), arguments.n, arguments.seed, folder)
    total = summary(known(folder / f"seed-{arguments.seed}.jsonl"))
    if arguments.collect:
        if total["kills"] < sum(PLAN.values()):
            raise SystemExit(f"{total['kills']} of {sum(PLAN.values())} kills are done; run the rest first")
        command = "python benchmarks/kills.py; python benchmarks/kills.py --collect"
        print(write_result("kills", command, {"seed": arguments.seed, **total}))
    else:
        print(json.dumps({name: value for name, value in total.items() if name != "troubles"}, indent=1))
    raise SystemExit(1 if total["troubles"] else 0)


if __name__ == "__main__":
    main()
