"""What an installation takes: megabytes on the disk, packages, and the CPU seconds of ``prunekit inspect``.

python benchmarks/installation.py --before REVISION

Every form goes into an environment made from nothing, with the versions of constraints.txt; what an empty one takes is
not counted. ``--before`` measures the plain installation of an earlier revision beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from record import table, write_result

ROOT = Path(__file__).parents[1]
SMALL = ("numpy", "onnx", "onnxruntime", "typer", "rich")
_RUNS = 5


def _run(*command: object, folder: Path = ROOT) -> str:
    words = [str(word) for word in command]
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # what was installed runs
    return subprocess.run(words, check=True, cwd=folder, env=own, stdout=subprocess.PIPE, text=True).stdout


def _megabytes(folder: Path) -> float:
    return int(_run("du", "-s", "--block-size=1", folder).split()[0]) / 1e6


def measure(name: str, source: Path, work: Path, first: tuple[str, ...], options: tuple[str, ...]) -> dict[str, Any]:
    """Return size, packages and the least CPU time of five ``prunekit inspect`` of what is installed."""
    place = work / name
    _run(sys.executable, "-m", "venv", place)
    empty, pip = _megabytes(place), (place / "bin" / "pip", "install", "--quiet")
    constraints = ("--constraint", source / "constraints.txt")
    if first:
        _run(*pip, *constraints, *first)
    _run(*pip, *constraints, *options, source)
    seconds = []
    for _ in range(_RUNS):
        begin = os.times()
        policy = ROOT / "models" / "Hopper-v5-ppo" / "compact.onnx"
        _run(place / "bin" / "prunekit", "inspect", policy, "--quiet", folder=work)
        end = os.times()
        taken = end.children_user - begin.children_user + end.children_system - begin.children_system
        seconds.append(taken)
    packages = json.loads(_run(place / "bin" / "pip", "list", "--format", "json"))
    own = [entry["name"] for entry in packages if entry["name"] not in ("pip", "setuptools")]
    return {
        "megabytes": round(_megabytes(place) - empty, 1),
        "packages": len(own),
        "inspect_cpu_seconds": round(min(seconds), 3),
    }


def installation_table(result: Mapping[str, Any]) -> str:
    """Return a row per installation."""
    rows = [
        [name, f"{found['megabytes']:,.0f} MB", str(found["packages"]), f"{found['inspect_cpu_seconds']:.2f} s"]
        for name, found in result["installations"].items()
    ]
    told = f"`{result['command']}`, {result['date']}, torch {result['versions']['torch']}."
    head = ["installation", "on the disk", "packages", "CPU time of `prunekit inspect` of an ONNX file"]
    return f"{table(head, rows)}\n\n{told}"


def main() -> None:
    """Install, measure, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", help="a revision to compare with")
    before = parser.parse_args().before
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name, revision in (("before", before), ("now", "HEAD")):
            if revision:
                (work / f"{name}-source").mkdir()
                archive = subprocess.run(["git", "archive", revision], check=True, cwd=ROOT, stdout=subprocess.PIPE)
                subprocess.run(["tar", "x"], check=True, cwd=work / f"{name}-source", input=archive.stdout)
        now = work / "now-source"
        if before:
            found["plain, before there were extras"] = measure("before", work / "before-source", work, (), ())
        found["plain"] = measure("plain", now, work, (), ())
        found["ONNX files alone"] = measure("small", now, work, SMALL, ("--no-deps",))
    words = " ".join(["python benchmarks/installation.py", *sys.argv[1:]])
    write_result("installation", words, {"installations": found})


if __name__ == "__main__":
    main()
