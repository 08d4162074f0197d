"""Errors for who calls from Python: what below is told by the options of commands is told by arguments here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from prunekit.errors import PrunekitError

_ARGUMENTS = {
    "--no-normalizer": "normalizer=False",
    "--normalizer": "normalizer=FILE",
    "--output NAME": "output=NAME",
    "--output": "output",
    "--inputs N": "inputs=N",
    "--inputs": "inputs",
    "--layers": "layers",
    "--activation": "activation",
    "--head": "head",
    "--path": "nesting",
    "without --int8": "without int8",
    "--int8": "int8=True",
}
_FLAG = re.compile("|".join(rf"(?<![\w/.-]){re.escape(flag)}(?![\w/.-])" for flag in _ARGUMENTS))


def in_python(text: str) -> str:
    """Return what an error says with arguments in place of options."""
    return _FLAG.sub(lambda found: _ARGUMENTS[found.group()], text)


@contextmanager
def python_words() -> Iterator[None]:
    """Raise what is raised inside with arguments in place of options."""
    try:
        yield
    except PrunekitError as error:
        told = in_python(str(error))
        if told == str(error):
            raise
        raise type(error)(told) from error
