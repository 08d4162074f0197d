"""The benchmarks that are grids: sweep files in ``benchmarks/sweeps``, and their results as committed files.

    python benchmarks/sweeps.py masked_training             # runs what is missing, one cell per core; resumable
    python benchmarks/sweeps.py masked_training --collect   # keeps what is done by now, and runs nothing

``runs/sweeps/NAME`` keeps the runs, ``benchmarks/results/NAME.json`` the results of every cell; cells that are there
and were asked the same are not run again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from record import RESULTS, read_result
from rich.console import Console

from prunekit.executors import executor_named
from prunekit.files import write_atomically
from prunekit.sweep.cells import cells_of
from prunekit.sweep.collect import collected, to_text
from prunekit.sweep.file import read_sweep
from prunekit.sweep.folder import SweepFolder
from prunekit.sweep.progress import TerminalDisplay
from prunekit.sweep.records import known_results
from prunekit.sweep.run import run_sweep
from prunekit.sweep.schedule import loaded
from prunekit.sweep.spec import Sweep
from prunekit.versions import installed_versions

SWEEPS, RUNS = Path(__file__).parent / "sweeps", Path("runs/sweeps")


def sweep_named(name: str) -> Sweep:
    """Return the sweep of a benchmark."""
    return read_sweep(SWEEPS / f"{name}.toml")


def kept(name: str, results: Mapping[str, Any]) -> Path:
    """Write the committed result file; random returns that it knows already stay in it."""
    head = {
        "command": f"python benchmarks/sweeps.py {name}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "versions": installed_versions(),
    }
    before = read_result(name) or {}
    random = {**before.get("random", {}), **results["random"]} if before.get("format") == results["format"] else None
    path = RESULTS / f"{name}.json"
    content = {**head, **results, "random": random or results["random"]}
    write_atomically(path, (to_text(content) + "\n").encode())
    return path


def known_of(name: str) -> list[Path]:
    """Return the committed results, where there are any of a sweep."""
    found = read_result(name)
    return [RESULTS / f"{name}.json"] if found is not None and found.get("format") == "prunekit.sweep" else []


def collect(name: str) -> Path:
    """Keep what is done by now, while the sweep may go on."""
    sweep = sweep_named(name)
    cells = cells_of(sweep)
    schedule = loaded(SweepFolder(root=RUNS / name), cells, known_results(known_of(name), cells))
    return kept(name, collected(sweep, schedule))


def main() -> None:
    """Parse and go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(path.stem for path in SWEEPS.glob("*.toml")))
    parser.add_argument("--jobs", type=int, help="cells at a time; by default one per core")
    parser.add_argument("--retry", action="store_true", help="run cells again that failed")
    parser.add_argument("--collect", action="store_true", help="keep what is done by now, and run nothing")
    arguments = parser.parse_args()
    if arguments.collect:
        print(collect(arguments.name))
        return
    sweep = sweep_named(arguments.name)
    with TerminalDisplay(Console(), sweep.title) as display:
        outcome = run_sweep(
            sweep,
            RUNS / arguments.name,
            lambda: executor_named("processes", arguments.jobs),
            [display],
            retry=arguments.retry,
            known=known_of(arguments.name),
        )
    print(kept(arguments.name, outcome.results), f"{len(outcome.results['missing'])} cells missing")
    if outcome.failures:
        raise SystemExit(f"{len(outcome.failures)} cells failed: {next(iter(outcome.failures.values()))}")


if __name__ == "__main__":
    main()
