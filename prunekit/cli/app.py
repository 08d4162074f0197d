"""The application with all commands, and the handling of their errors.

Heavy packages are imported inside the commands, so ``prunekit --help`` is fast.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from typer.exceptions import TyperException

from prunekit.cli.bench import bench
from prunekit.cli.certify import certify
from prunekit.cli.compress import compress
from prunekit.cli.ending import (
    INTERRUPTED,
    ended_by,
    extra_environment,
    fail,
    no_number,
    number_of,
    require_words,
    said_of,
)
from prunekit.cli.export import export
from prunekit.cli.inspect import inspect
from prunekit.cli.report import report
from prunekit.cli.shrink import shrink
from prunekit.cli.signals import Signals, Terminated
from prunekit.cli.streams import steady_streams
from prunekit.cli.sweep import sweep
from prunekit.cli.train import train

app = typer.Typer(
    help="Make reinforcement-learning policies small enough to deploy, and prove that they still work.",
    rich_markup_mode="rich",
    epilog="Exit code 0: good; 1: a claim or check failed; 2: bad input; 130: interrupted; 128 + N: ended by signal N. "
    "--debug shows tracebacks.",
)
for command in (train, shrink, compress, certify, export, bench, inspect, sweep, report):
    app.command()(command)
_DEBUG = "--debug"


def run(signals: Signals) -> NoReturn:
    """Run the command line and exit with its code, also after one of ``signals``."""
    with steady_streams(), _no_windows():
        arguments = [argument for argument in sys.argv[1:] if argument != _DEBUG]
        debug = len(arguments) != len(sys.argv) - 1
        try:
            require_words(arguments)
            code = app(arguments or ["--help"], prog_name="prunekit", standalone_mode=False) or 0
            if code == INTERRUPTED:  # typer makes this of Ctrl-C, without a word
                signals.over = True
                fail("interrupted", code)
            sys.exit(code)
        except TyperException as error:
            fail(_usage(error), error.exit_code)
        except (typer.Abort, KeyboardInterrupt, Terminated) as error:
            fail(*ended_by(number_of(error)))
        except Exception as error:
            if signals.came:  # a library has made an error of its own of it
                signals.over = True
                fail(*ended_by(signals.came[0]))
            if debug:
                raise
            fail(*said_of(error))


def _usage(error: TyperException) -> str:
    """Return what is wrong with the arguments, and where the valid ones are listed."""
    context = getattr(error, "ctx", None)
    told = no_number(error) or extra_environment(error) or error.format_message().rstrip(".")
    return error.format_message() if context is None else f"{told} (see {context.command_path} --help)"


@contextmanager
def _no_windows() -> Iterator[None]:
    """Ignore a matplotlib backend for windows that the environment sets, because a notebook's is often not installed
    here.
    """
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        yield
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend


def _print_version(wanted: bool) -> None:
    if wanted:
        from prunekit.versions import installed_versions

        Console().print(f"prunekit {installed_versions(('prunekit',))['prunekit']}", highlight=False)
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take the options that belong to no command."""
