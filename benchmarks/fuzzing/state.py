"""What is known of a run: a file to which a line is added per hundred inputs, and what its lines say together."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import prunekit
from fuzzing.sound import Sound

Chunk = dict[str, Any]
"""A line: the first input, how many, counts of outcomes, findings, extremes, seconds in all, and the code that read."""


def code_digest() -> str:
    """Return what names the sources of prunekit as they are now."""
    folder = Path(prunekit.__file__).parent
    sources = sorted((str(path.relative_to(folder)), path.read_bytes()) for path in folder.rglob("*.py"))
    return _digest(part for name, content in sources for part in (name.encode(), content))


def files_digest(files: Sequence[Sound]) -> str:
    """Return what names the sound files, on which inputs depend beside the seed."""
    return _digest(sound.content for sound in files)


def _digest(parts: Iterable[bytes]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "little") + part)
    return found.hexdigest()[:12]


def chunks_of(state: Path) -> list[Chunk]:
    """Return the lines of the state file in order; the last may be cut off, and is left out then."""
    found = []
    for line in state.read_text().splitlines() if state.is_file() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def latest(chunks: Iterable[Chunk]) -> dict[int, Chunk]:
    """Return the last line for every first input."""
    return {chunk["first"]: chunk for chunk in chunks}


def pending(chunks: Sequence[Chunk], count: int, size: int, again: str | None) -> list[int]:
    """Return the first inputs of what is to be read.

    That is what was not read yet, and with ``again`` what had "findings" or was read by "older" code, too.
    """
    known, code = latest(chunks), code_digest()
    found = []
    for first in range(0, count, size):
        chunk = known.get(first, {})
        missing = chunk.get("count", 0) < min(size, count - first)
        repeated = {None: False, "findings": chunk.get("findings"), "older": chunk.get("code") != code}[again]
        if missing or repeated:
            found.append(first)
    return found


def summary(chunks: Sequence[Chunk], count: int) -> dict[str, Any]:
    """Return counts, findings and extremes of the inputs of one kind below ``count``.

    ``mended`` are findings that were gone when the same input was read again by the code named with them.
    """
    known = {first: chunk for first, chunk in sorted(latest(chunks).items()) if first < count}
    counts: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    for chunk in known.values():
        codes[chunk["code"]] += chunk["count"]
        for name, number in chunk["counts"].items():
            counts[name.split("/")[1]] += number
    findings = [finding for chunk in known.values() for finding in chunk["findings"]]
    open_numbers = {finding["number"] for finding in findings}
    mended: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for finding in chunk["findings"] if chunk["first"] in known else ():
            if finding["number"] not in open_numbers:
                mended[finding["number"]] = {**finding, "mended_in": known[chunk["first"]]["code"]}
    return {
        "inputs": sum(codes.values()),
        "counts": dict(sorted(counts.items())),
        "memory": max((chunk["memory"] for chunk in known.values()), default=0),
        "seconds": max((chunk["seconds"] for chunk in known.values()), default=0.0),
        "elapsed": sum(chunk["elapsed"] for chunk in known.values()),
        "codes": codes,
        "findings": findings,
        "mended": [mended[number] for number in sorted(mended)],
    }


def together(kinds: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return what the summaries of all ``kinds`` say together."""
    inputs, elapsed = (sum(found[name] for found in kinds.values()) for name in ("inputs", "elapsed"))
    codes: Counter[str] = Counter()
    for found in kinds.values():
        codes += found["codes"]
    return {
        "inputs": inputs,
        "counts": {kind: {"inputs": found["inputs"], **found["counts"]} for kind, found in kinds.items()},
        "largest_memory_bytes": max(found["memory"] for found in kinds.values()),
        "longest_seconds": round(max(found["seconds"] for found in kinds.values()), 2),
        "inputs_per_second_of_a_worker": round(inputs / elapsed, 1) if elapsed else None,
        "inputs_by_code": dict(codes),
        "findings": [finding for found in kinds.values() for finding in found["findings"]],
        "mended": [finding for found in kinds.values() for finding in found["mended"]],
    }
