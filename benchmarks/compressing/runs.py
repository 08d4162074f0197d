"""One compression: what is asked, what it came to, and which search made it."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from compressing.measuring import busy_processes, commit_of, run_measured, said_last
from compressing.teachers import name_of
from prunekit.files import write_atomically

KEEP, MINUTES, SEEDS = 0.95, 5.0, (0, 1, 2)
ROOT = Path(__file__).parents[2]
# What decides what a search finds; ``compress`` is what the first of them was called once.
_SEARCH_PARTS = ("compression", "compress", "optim", "adapters/sb3_tuning.py")
# Functions of these that decide only which network is tested after the first one failed.
_AFTER_FAILURE = {"compression/confirm.py": ("dependable",)}
# Modules of these that read options, or show and write what was found, and so decide nothing.
_SHOWING = {"command.py", "picture.py", "progress.py", "result.py"}
_ABLATED = Path(__file__).with_name("ablated.py")


@final
@dataclass(frozen=True, kw_only=True)
class Search:
    """Which search it is: the ``digest`` of the code that decides what it finds, and a commit that has it.

    ``after_failure`` is the digest of what decides only which network is tested after the first one failed. Comments,
    docstrings and modules that only show or write results do not count.
    """

    digest: str
    commit: str | None
    after_failure: str = ""


@final
@dataclass(frozen=True, kw_only=True)
class Asked:
    """A compression: whose, by which code, in how many minutes, where it is kept.

    ``called`` is what results call the teacher, if that does not follow from the environment. ``settings`` are fields
    of SearchSettings that differ from the default; so many ``busy`` processes run beside it, which are there already if
    ``is_loaded``.
    """

    env_id: str
    seed: int
    teacher: Path
    folder: Path
    search: Search
    minutes: float = MINUTES
    code: Path = ROOT
    settings: str = ""
    busy: int = 0
    is_loaded: bool = False
    called: str = ""

    @property
    def name(self) -> str:
        """What it is called where it is missing."""
        return self.folder.name

    @property
    def command(self) -> list[str]:
        """The program that does it."""
        program = [str(_ABLATED), "--settings", self.settings] if self.settings else ["-m", "prunekit", "compress"]
        options = {"env": self.env_id, "seed": self.seed, "keep": KEEP, "minutes": self.minutes, "out": self.folder}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        return [sys.executable, "-P", *program, str(self.teacher), *words]


def search_in(code: Path, commit: str | None = None) -> Search:
    """Return which search the package in ``code`` has."""
    package, seen, later = code / "prunekit", hashlib.sha256(), hashlib.sha256()
    for part in _SEARCH_PARTS:
        path = package / part
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            if file.name in _SHOWING:
                continue
            place = str(file.relative_to(package))
            always, after_failure = _parted(_without_words(file.read_text()), _AFTER_FAILURE.get(place, ()))
            seen.update(f"{place}\n{ast.unparse(always)}\n".encode())
            later.update(ast.unparse(after_failure).encode())
    digests = (one.hexdigest()[:12] for one in (seen, later))
    return Search(digest=next(digests), commit=commit or commit_of(code), after_failure=next(digests))


def _parted(tree: ast.Module, names: Sequence[str]) -> tuple[ast.Module, ast.Module]:
    """Return a module without its functions of these ``names``, and one of them alone."""
    chosen = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in names]
    rest = [node for node in tree.body if node not in chosen]
    return ast.Module(body=rest, type_ignores=[]), ast.Module(body=[*chosen], type_ignores=[])


def _without_words(source: str) -> ast.Module:
    """Return code without comments and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:] or [ast.Pass()]
    return tree


def entry_of(asked: Asked) -> dict[str, Any] | None:
    """Return what a compression came to that lies in its folder; None where it did not end with a certificate.

    The certificate of nothing is one too: ``certified`` is false then.
    """
    certificate, beginning = asked.folder / "certificate.json", asked.folder / "asked.json"
    if not (certificate.is_file() and beginning.is_file()):
        return None
    text = certificate.read_text()
    name = json.dumps(json.loads(text)["teacher"]["name"])[1:-1]  # a place on this machine, maybe
    found = json.loads(text.replace(name, asked.called or name_of(asked.env_id)))
    kept = {name: value for name, value in found.items() if name not in ("versions", "certificate")}
    kept["tested"] = [{name: one[name] for name in one if name != "selection"} for one in kept["tested"]]
    measured = asked.folder / "measured.json"
    machine = json.loads(measured.read_text()) if measured.is_file() else None
    return {**kept, **json.loads(beginning.read_text()), "machine": machine}


def is_of(entry: dict[str, Any] | None, asked: Asked) -> bool:
    """Return whether an entry is what is asked: by the same search, in as many minutes.

    What decides only after a first test failed does not matter where none did.
    """
    return entry is not None and is_by(entry, asdict(asked.search)) and bool(entry["minutes"] == asked.minutes)


def is_by(entry: Mapping[str, Any], search: Mapping[str, Any] | None) -> bool:
    """Return whether an entry is by this ``search``, as far as its parts were reached."""
    known = entry.get("search")
    if known is None or search is None or known["digest"] != search["digest"]:
        return False
    return known.get("after_failure") == search.get("after_failure") or not failed_first(entry)


def failed_first(entry: Mapping[str, Any]) -> bool:
    """Return whether a network was tested after one that failed; true where the entry does not say."""
    if "tested" in entry:
        return any(one.get("verdict") != "certified" for one in entry["tested"][:-1])
    return bool(entry.get("failed_first", True))


def carry_out(asked: Asked) -> str:
    """Compress unless that is done; return what went wrong, in words, where there is no certificate then.

    A run of another search or of other minutes is put aside.
    """
    if is_of(entry_of(asked), asked):
        return ""
    put_aside(asked.folder)
    asked.folder.mkdir(parents=True)
    beginning = {
        "env": asked.env_id,
        "seed": asked.seed,
        "minutes": asked.minutes,
        "search": asdict(asked.search),
        "busy_processes": asked.busy,
        "busy_already": asked.is_loaded,
        "cores": len(os.sched_getaffinity(0)),
        "begun": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    write_atomically(asked.folder / "asked.json", json.dumps(beginning).encode())
    log = asked.folder / "log"
    with busy_processes(0 if asked.is_loaded else asked.busy):
        code, measured = run_measured(asked.command, log, asked.code)
    write_atomically(asked.folder / "measured.json", json.dumps(measured).encode())
    entry = entry_of(asked)
    if entry is None:
        return f"{asked.folder}: exit code {code}: {said_last(log)}"
    print(time.strftime("%H:%M:%S"), asked.folder, _told(entry, measured), flush=True)
    return ""


def _told(entry: dict[str, Any], measured: dict[str, float | None]) -> str:
    hidden = "x".join(map(str, entry["hidden"])) or "linear"
    certified = "certified" if entry["certified"] else "not certified"
    took = f"{measured['wall_seconds']} s, {measured['cpu_seconds']} s of processors"
    return f"{hidden}, {entry['parameters']} parameters, {certified}, {took}, others {measured['others_cores']} cores"


def put_aside(folder: Path) -> None:
    """Keep a run that is done under another name; one that was interrupted is nothing."""
    if not (folder / "certificate.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        return
    beginning = folder / "asked.json"
    known = json.loads(beginning.read_text()) if beginning.exists() else {}
    called = known.get("search", {}).get("digest", "unknown")
    number = 0
    while (place := folder.parent / "earlier" / f"{folder.name}-{called}-{number}").exists():
        number += 1
    place.parent.mkdir(exist_ok=True)
    folder.rename(place)
