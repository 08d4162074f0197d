"""``prunekit sweep``: parse, call, print. What is heavy is imported when the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from prunekit.cli.options import JsonOption, QuietOption
from prunekit.console import say, tell, write_json
from prunekit.errors import CheckError

MAX_JOBS = 4096


def sweep(
    file: Annotated[Path, typer.Argument(help="SWEEP.toml: environments, algorithms, methods, seeds.")],
    out: Annotated[
        str, typer.Option(help="Folder of the sweep, or an fsspec address; an interrupted sweep continues.")
    ],
    engine: Annotated[str, typer.Option(help="Where cells run: local (single-threaded processes) or ray.")] = "local",
    jobs: Annotated[int | None, typer.Option(help="Number of cells at a time; one per core by default.")] = None,
    address: Annotated[
        str | None, typer.Option(help="With --engine ray: address of the cluster; this machine by default.")
    ] = None,
    known: Annotated[
        list[Path] | None, typer.Option(help="results.json of another sweep, whose cells are not run again.")
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Run failed cells again.")] = False,
    json_file: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Train, shrink and measure a grid of environments, algorithms, methods and seeds."""
    from prunekit.errors import InputError
    from prunekit.executors import executor_named
    from prunekit.outputs import require_apart
    from prunekit.sweep.file import read_sweep
    from prunekit.sweep.mirror import is_address
    from prunekit.sweep.progress import TerminalDisplay
    from prunekit.sweep.run import run_sweep

    if engine not in ("local", "ray"):
        raise InputError(f"--engine {engine} is unknown; choose local or ray")
    if jobs is not None and not 1 <= jobs <= MAX_JOBS:
        raise InputError(f"--jobs must be from 1 to {MAX_JOBS}, got {jobs}")
    if address is not None and engine != "ray":
        raise InputError("--address needs --engine ray")
    found = read_sweep(file)
    require_apart([file, *(known or [])], [], json_file, [] if is_address(out) else [Path(out)])
    console = Console(quiet=quiet)
    with TerminalDisplay(console, found.title) as display:
        outcome = run_sweep(
            found,
            out,
            lambda: executor_named("processes" if engine == "local" else engine, jobs, address=address),
            [display],
            retry=retry,
            known=known or [],
            here=engine == "local",
        )
    write_json(json_file, outcome.results)
    cells = sum(len(outcome.results[kind]) for kind in ("cells", "failed", "missing"))
    say(console, f"{out.rstrip('/')}/results.json", f"{len(outcome.results['cells'])} of {cells} cells")
    for name, needed in outcome.blocked.items():
        tell(console, f"  {name}: not run, because {needed} failed")
    if outcome.failures:
        name, reason = next(iter(outcome.failures.items()))
        more = f" and {len(outcome.failures) - 1} more" if len(outcome.failures) > 1 else ""
        raise CheckError(f"{out}: {name}{more} failed ({reason}); --retry runs failed cells again")
