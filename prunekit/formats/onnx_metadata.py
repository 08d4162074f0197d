"""prunekit's entries in an ONNX file's ``metadata_props``, read as plain data."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import onnx

from prunekit.errors import ArtifactError
from prunekit.formats.text import reason_of, shown

PREFIX = "prunekit."
_MAX_DEPTH = 32
_TOO_DEEP = f"it is nested deeper than {_MAX_DEPTH}"
_LONGEST_KEY = 100


def prunekit_metadata(model: onnx.ModelProto, called: str) -> dict[str, Any]:
    """Return the entries ``prunekit.<key>`` of ``model`` by key, from JSON; empty for foreign files.

    Raises ArtifactError, in one line that begins with ``called``, for entries that are no plain JSON (nested at most
    32 deep, finite numbers, text that is Unicode), and for keys that are there twice or hold brackets or control
    characters.
    """
    found: dict[str, Any] = {}
    for entry in model.metadata_props:
        key = entry.key.removeprefix(PREFIX)
        if key == entry.key:
            continue
        if not key.isprintable() or set("[]\\") & set(key) or not 0 < len(key) <= _LONGEST_KEY:
            raise _damaged(called, f"its key '{shown(key, _LONGEST_KEY)}' is not a plain word")
        if key in found:
            raise _damaged(called, f"'{key}' is there twice")
        try:
            found[key] = _plain(json.loads(entry.value, parse_constant=_refuse, parse_float=_finite))
        except RecursionError as error:
            raise _damaged(called, f"'{key}': {_TOO_DEEP}") from error
        except ValueError as error:
            raise _damaged(called, f"'{key}': {reason_of(error)}") from error
    return found


def _damaged(called: str, reason: str) -> ArtifactError:
    return ArtifactError(f"{called}: its prunekit metadata is damaged ({reason}); export the model again")


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{shown(text, 20)} is too large")
    return number


def _plain(value: Any, depth: int = 0) -> Any:
    if depth > _MAX_DEPTH:
        raise ValueError(_TOO_DEEP)
    if isinstance(value, str):
        value.encode()  # JSON can spell halves of characters, which no terminal and no file takes
    for entry in value.items() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ():
        _plain(entry, depth if isinstance(value, dict) else depth + 1)
    return value
