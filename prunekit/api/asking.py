"""Errors that ask for an argument of ``load``, in functions that take files but not this argument."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from prunekit.errors import InputError
from prunekit.readers.policy_file import OPTION_WORDS

_NAMES = sorted(name for name in OPTION_WORDS if name != "without_normalizer")
_ASKED = re.compile(f"`({'|'.join(_NAMES)})(=False)?`")


@contextmanager
def load_named() -> Iterator[None]:
    """Add to an InputError that asks for an argument of ``load`` how to give it.

    A file of which something is missing goes through ``load``, because one argument for several files could reach the
    wrong one: a normalizer fits every policy of the same environment.
    """
    try:
        yield
    except InputError as error:
        asked = _ASKED.search(str(error))
        if asked is None:
            raise
        raise type(error)(
            f"{error}; prunekit.load takes this: give prunekit.load(path, {asked[1]}=...) in place of the file"
        ) from error
