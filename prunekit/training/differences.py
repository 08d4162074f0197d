"""Differences between two JSON values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from textwrap import shorten
from typing import Any

from prunekit.formats.text import shown


def first_difference(name: str, before: Any, now: Any) -> str:
    """Return the first difference, by dotted name, between two JSON values; empty text if they are equal."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        names = sorted({*map(str, before), *map(str, now)})
        found = (first_difference(f"{name}.{key}".lstrip("."), before.get(key), now.get(key)) for key in names)
        return next(filter(None, found), "")
    texts = [_text(value) for value in (before, now)]
    was, is_ = (shorten(text, 60, placeholder=" ...") for text in texts)
    return "" if texts[0] == texts[1] else f"{shown(name)} differs: it was {was} and is {is_} now"


def _text(value: Any) -> str:
    try:
        return json.dumps(value, sort_keys=True, default=str)
    except RecursionError:
        return "what nests too deeply"
