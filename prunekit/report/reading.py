"""Reading of JSON results as untrusted files: limited size, checked value by value, and errors with names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prunekit.errors import ArtifactError
from prunekit.training.schema import Check, WrongValueError, record

MAX_BYTES = 256 * 2**20
_LARGEST = 1e300
_LONGEST = 5_000


def read_json(path: Path, check: Check, *, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Return the JSON object in ``path``; raises ArtifactError, naming it, if ``check`` refuses it or if it is not an
    object.

    A file of more than ``max_bytes`` is not read.
    """
    try:
        if path.stat().st_size > max_bytes:
            raise ValueError(f"it has more than {max_bytes} bytes")
        found = json.loads(path.read_bytes())
        check("", found)
    except RecursionError as error:
        raise ArtifactError(f"{path}: cannot be read (it nests too deeply); write it again") from error
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error}); write it again") from error
    except WrongValueError as error:
        raise ArtifactError(f"{path}: {error}; write it again") from error
    return dict(found)


def at_least(needed: dict[str, Check], optional: dict[str, Check] | None = None) -> Check:
    """Return a check for an object with the keys ``needed`` and possibly ``optional``; other keys are ignored."""

    def check(name: str, value: object) -> None:
        known = {**needed, **(optional or {})}
        others = dict.fromkeys((key for key in value if key not in known), _anything) if isinstance(value, dict) else {}
        record(needed, {**(optional or {}), **others})(name, value)

    return check


def by_name(names: Check, values: Check) -> Check:
    """Return a check for an object with keys that ``names`` accepts and values that ``values`` accepts."""

    def check(name: str, value: object) -> None:
        keys = list(value) if isinstance(value, dict) else []
        for key in keys:
            names(f"a name in {name}", key)
        record({}, dict.fromkeys(keys, values))(name, value)

    return check


def real(name: str, value: object) -> None:
    """Check that ``value`` is a finite number."""
    if type(value) not in (int, float) or not -_LARGEST <= value <= _LARGEST:  # type: ignore[operator]
        raise WrongValueError(f"{name} must be a finite number")


def sentence(name: str, value: object) -> None:
    """Check that ``value`` is text of at most 5,000 characters."""
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise WrongValueError(f"{name} must be a text of at most {_LONGEST} characters")


def _anything(_: str, __: object) -> None:
    return None
