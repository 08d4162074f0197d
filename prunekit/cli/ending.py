"""How a command ends that cannot go on: one line, and an exit code."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

INTERRUPTED = 130


def fail(message: str, code: int) -> NoReturn:
    """Print ``message`` as one line on standard error, and exit with ``code``."""
    typer.echo(f"prunekit: {' '.join(message.split())}", err=True)
    sys.exit(code)
