"""How a command ends after an error: one line, and an exit code."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NoReturn

from typer.exceptions import TyperException

from prunekit.cli.signals import Terminated
from prunekit.cli.words import in_flags
from prunekit.console import printable
from prunekit.errors import InputError, PrunekitError
from prunekit.lazy import missing

INTERRUPTED = 130
_SIGNALLED = 128
# By the first word of pydantic's names for what is wrong.
_NUMBERS = {"float": "a number", "int": "a whole number"}
_MAX_VALUE = 60
# One word with a version, as ids of environments have.
_EXTRA = re.compile(r"Got unexpected extra argument(?:s|\(s\))? \(([^ ()]{1,100}-v[0-9]+)\)\.?")


def fail(message: str, code: int) -> NoReturn:
    """Print ``message``, if not empty, as one line on standard error, and exit with ``code``."""
    if sys.stderr is not None:
        sys.stderr.write(f"prunekit: {printable(' '.join(message.split()))}\n")
    sys.exit(code)


def ended_by(number: int) -> tuple[str, int]:
    """Return the message and the exit code for a command that the signal ``number`` ended."""
    word = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
    return word, _SIGNALLED + number


def number_of(error: BaseException) -> int:
    """Return the number of the signal that raised ``error``: that of Terminated, or SIGINT for Ctrl-C."""
    return error.number if isinstance(error, Terminated) else int(signal.SIGINT)


def said_of(error: Exception) -> tuple[str, int]:
    """Return the message for ``error`` in one line, and the exit code.

    Refusals by the system (a file, a disk, memory) count as bad input, wherever they occur.
    """
    match error:
        case PrunekitError():
            return in_flags(str(error)), 2 if isinstance(error, InputError) else 1
        case ModuleNotFoundError() if (told := missing(error.name)) is not None:
            return str(told), 2
        case OSError():
            named = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
            return f"{' and '.join(named) or 'the system'}: {error.strerror or error}", 2
        case UnicodeError():
            return f"text cannot be read or written: {error}", 2
        case MemoryError() | RuntimeError() if isinstance(error, MemoryError) or "allocate memory" in str(error):
            return "there is not enough memory for this; ask for less, or close other programs", 2
        case _:
            text = f"internal error: {type(error).__name__}: {error}"
            return f"{text}; run again with --debug for the traceback", 1


def no_number(error: TyperException) -> str | None:
    """Return the message for an option whose value is no number; None if ``error`` says something else.

    typer passes on the words of pydantic, which do not quote the value.
    """
    found, option = getattr(error.__cause__, "errors", None), getattr(error, "param", None)
    first: Mapping[str, Any] = next(iter(found()), {}) if callable(found) else {}
    wanted = _NUMBERS.get(str(first.get("type")).partition("_")[0])
    if wanted is None or option is None:
        return None
    value = str(first["input"])
    told = value if len(value) <= _MAX_VALUE else f"{value[:_MAX_VALUE]}..."
    return f"{max(option.opts, key=len)} must be {wanted}, got {told}"


def extra_environment(error: TyperException) -> str | None:
    """Return the message for an environment that was given without its option; None if ``error`` is about another."""
    found = _EXTRA.fullmatch(error.format_message())
    context = getattr(error, "ctx", None)
    options = [] if context is None else [option for entry in context.command.params for option in entry.opts]
    if found is None or "--env" not in options:
        return None
    return f"{found[0].rstrip('.')}; did you mean --env {found[1]}?"


def require_words(arguments: Sequence[str]) -> None:
    """Raise InputError for an argument that is empty or contains a NUL character."""
    for before, word in pairwise(["", *arguments]):
        name, assigned, value = word.partition("=")
        if word.startswith("--") and assigned:
            before, word = name, value
        what = before if before.startswith("--") else "an argument"
        if not word:
            raise InputError(f"{what} is empty; give it a value or leave it out")
        if "\0" in word:
            raise InputError(f"{what} holds a NUL character, which no name can contain")
