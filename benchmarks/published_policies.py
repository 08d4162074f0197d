"""Policy files that others published, tried as a new user would: inspect, ONNX, C, and their actions held to their own.

    python benchmarks/published_policies.py FOLDER

``FOLDER`` has ``manifest.json`` (a list of ``file``, ``kind``, and where needed ``layers``, ``activation``, ``case``,
``stochastic``), ``files/`` and ``cases/FILE.npz``: inputs ``in_...`` and outputs ``out_...`` of steps in a row, made by
the program that each file is of. None of these files is part of this project; figures alone are kept.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from record import write_result

from prunekit.export.session import onnxruntime

_CLOSE = 1e-4
_SECONDS = 300
_STRICT = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Wdouble-promotion", "-pedantic", "-Werror", "-c"]


def tried(folder: Path, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return what became of one file."""
    file = folder / "files" / entry["file"]
    words = _words(entry, file)
    row: dict[str, Any] = {"file": entry["file"], "kind": entry["kind"]}
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        row["inspect"], _ = _run("inspect", file, "--json", out / "facts.json", "-q", *words)
        facts = json.loads((out / "facts.json").read_text()) if row["inspect"] == 0 else {}
        row |= {key: facts[key] for key in ("recognised", "hidden", "parameters") if key in facts}
        row["onnx"], said = _run("export", file, "--out", out / "onnx", "-q", *words)
        row["c"], said_of_c = _run("export", file, "--format", "c", "--out", out / "c", "-q", *words)
        written = sorted((out / "onnx").glob("*.onnx")) if row["onnx"] == 0 else []
        case = folder / "cases" / f"{entry['file'].replace('/', '_')}.npz"
        row["difference"] = _difference(written[0], case) if written and case.exists() else None
        sources = sorted((out / "c").glob("*.c")) if row["c"] == 0 else []
        row["compiles"] = bool(sources) and all(_compiles(source) for source in sources)
    if row["onnx"] or row["c"]:
        row["refused"] = (said if row["onnx"] else said_of_c).replace(str(file), entry["file"])
    row["expected"] = "refused" if entry.get("stochastic") else "read"
    return row | {"good": _is_good(row)}


def _is_good(row: Mapping[str, Any]) -> bool:
    if row["expected"] == "refused":
        return bool(row["onnx"] == 2)
    exact = row["difference"] is None or row["difference"] <= _CLOSE
    return bool(row["inspect"] == 0 and row["onnx"] == 0 and row["c"] == 0 and exact and row["compiles"])


def _words(entry: Mapping[str, Any], file: Path) -> list[str]:
    words = []
    if "layers" in entry:
        words += ["--layers", ",".join(entry["layers"]), "--activation", entry["activation"]]
    if entry["kind"] == "sb3" and not (file.parent / file.stem / "vecnormalize.pkl").exists():
        words.append("--no-normalizer")
    return words


def _run(*words: object) -> tuple[int, str]:
    command = [sys.executable, "-m", "prunekit", *map(str, words)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return 124, f"no answer in {_SECONDS} s"
    lines = done.stderr.strip().splitlines() or [""]
    return done.returncode, lines[-1].removeprefix("prunekit: ")


def _compiles(source: Path) -> bool:
    command = ["gcc", *_STRICT, str(source), "-o", str(source.with_suffix(".o"))]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _difference(path: Path, case: Path) -> float | None:
    """Return the largest difference from the file's own outputs, over the largest of them where that is above 1."""
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    kept = np.load(case)
    given = [kept[name] for name in sorted(kept) if name.startswith("in_")]
    wanted = [kept[name] for name in kept if name.startswith("out_")]
    outputs = [entry.name for entry in session.get_outputs()]
    states = {
        entry.name: np.zeros((1, *entry.shape[1:]), np.float32)
        for entry in session.get_inputs()
        if f"{entry.name}_out" in outputs
    }
    entries = [entry for entry in session.get_inputs() if entry.name not in states]
    fields = _matched({entry.name: int(np.prod(entry.shape[1:])) for entry in entries}, given)
    found = []
    for values in zip(*fields.values(), strict=True):
        feed = {
            entry.name: value.reshape(1, *entry.shape[1:]).astype(np.float32)
            for entry, value in zip(entries, values, strict=True)
        }
        found.append(dict(zip(outputs, session.run(None, {**feed, **states}), strict=True)))
        states = {name: found[-1][f"{name}_out"] for name in states}
    best = [
        max(float(np.abs(step[name].ravel() - want[at].ravel()).max()) for at, step in enumerate(found))
        / max(1.0, float(np.abs(want).max()))
        for name in outputs
        for want in wanted
        if found[0][name].size == want[0].size and np.issubdtype(found[0][name].dtype, np.floating)
    ]
    return min(best, default=None)


def _matched(sizes: Mapping[str, int], given: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return what each input is given, by size: dummies that were left out have no input."""
    left = list(given)
    chosen = {}
    for name, size in sizes.items():
        at = next(at for at, value in enumerate(left) if value[0].size == size)
        chosen[name] = left.pop(at)
    return chosen


def main() -> None:
    """Try all files and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    entries = json.loads((arguments.folder / "manifest.json").read_text())
    with ThreadPoolExecutor(arguments.workers) as pool:
        rows = list(pool.map(lambda entry: tried(arguments.folder, entry), entries))
    for row in rows:
        print("good" if row["good"] else "BAD ", row["file"], row.get("recognised", row.get("refused", "")))
    print(f"{sum(row['good'] for row in rows)} of {len(rows)} good")
    write_result("published_policies", "python benchmarks/published_policies.py FOLDER", {"files": rows})


if __name__ == "__main__":
    main()
