"""Damaged files of every kind, read by everything that reads files: no crash, no hang, nothing written or imported.

    python benchmarks/fuzz.py                      # 20,000 inputs of each kind; goes on where a call has stopped
    python benchmarks/fuzz.py --count 5000         # the first 5,000 of each
    python benchmarks/fuzz.py --kinds brax,onnx    # these kinds alone
    python benchmarks/fuzz.py --only brax/4711     # one input again, with all that was found; its file is kept
    python benchmarks/fuzz.py --again findings     # also what had findings; older: also what older code has read
    python benchmarks/fuzz.py --collect            # benchmarks/results/fuzz.json, with what is finished of each kind

Kinds are the readers of policy files, and what else is read (statistics, checkpoints and configurations of a run). An
input is a sound file with one to five mutations that know its structure; it depends on the seed, its kind and its
number alone. A finding is: an exception that is no PrunekitError, an error that is not one line, control characters in
what is printed, a crash, more than 10 s, more than 1 GiB of resident memory above what the process had, a file written
outside the run's folder, an import, a command. Memory is measured as resident memory, as an address range that nothing
touches costs nothing. ``fuzzing/watch.py`` says how inputs are watched.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from fuzzing.inputs import Input, make_input
from fuzzing.reader import Reader
from fuzzing.sound import Sound, make_sound_files
from fuzzing.state import chunks_of, code_digest, files_digest, pending, summary, together
from fuzzing.targets import KINDS
from fuzzing.watch import Limits, watched
from fuzzing.zips import packed_bomb
from record import write_result

SEED = 0
COUNT = 20_000
STATE = Path("runs/fuzz")
CHUNK = 100
"""Inputs per reader process, and per line of the state file."""


def warm_up(files: Sequence[Sound], folder: Path) -> None:
    """Read every sound file once in this process, so that what is imported late is there; all must be read."""
    reader = Reader(folder)
    for sound in files:
        for content in (sound.content, sound.content[: len(sound.content) // 2], b"", b"noise"):
            found = reader.read(Input(number=-1, sound=sound, done=(), content=content), strict=False)
            if content == sound.content and _not_read(sound, found):
                raise RuntimeError(f"the sound {sound.kind} '{sound.name}' is not read as it should be: {found}")


def _not_read(sound: Sound, found: dict[str, Any]) -> bool:
    """Whether a sound file was refused that should not be: not where it is of no kind, or its user has to say more."""
    allowed: set[str] = set() if sound.kind in ("model", "onnx") else {"inspect", "layers"}
    if sound.kind == "torchscript" and sound.name == "recurrent":
        allowed = {"teach"}  # compress imitates no recurrent policy
    refused = {one.split(":")[0] for one in found["outcomes"] if one.endswith(": refused")}
    return bool(refused - allowed - ({"read"} if sound.kind == "unread" else set())) or any(
        "exception" in one for one in found["troubles"]
    )


def run_chunk(
    kind: str, first: int, count: int, seed: int, files: Sequence[Sound], limits: Limits, folder: Path
) -> dict[str, Any]:
    """Return the line of the state file for ``count`` inputs of ``kind`` from ``first`` on."""
    reader, began = Reader(folder), time.monotonic()

    counts: Counter[str] = Counter()
    findings, seconds, memory = [], 0.0, 0
    make, numbers = partial(make_input, kind, seed=seed, files=files), range(first, first + count)
    for report in watched(numbers, make, reader.read, limits, described):
        counts[f"{report.about['kind']}/{report.outcome}"] += 1
        if report.troubles:
            told = asdict(report)
            findings.append(told | told.pop("about"))
        else:
            seconds, memory = max(seconds, report.seconds), max(memory, report.memory)
    return {
        "first": first,
        "count": count,
        "counts": counts,
        "findings": findings,
        "seconds": seconds,
        "memory": memory,
        "elapsed": round(time.monotonic() - began, 2),
    }


def described(item: Input) -> dict[str, Any]:
    """Return what a finding says of its input."""
    return {"kind": item.sound.kind, "file": item.sound.name, "done": item.done}


def work(
    mine: Sequence[tuple[str, int]], count: int, seed: int, files: Sequence[Sound], limits: Limits, state: Path
) -> None:
    """Run chunks (kind, first), one after another, and add their lines to the state files in the folder ``state``."""
    with tempfile.TemporaryDirectory(prefix="prunekit-fuzz-") as folder:
        parent, code = os.getppid(), code_digest()
        for kind, first in mine:
            if os.getppid() != parent:  # it was killed
                return
            size = min(CHUNK, count - first)
            chunk = run_chunk(kind, first, size, seed, files, limits, Path(folder) / "inner")
            chunk["code"] = code
            with state_file(state, kind, seed).open(
                "a"
            ) as file:  # one short write: lines of several workers do not mix
                file.write(json.dumps(chunk) + "\n")


def state_file(folder: Path, kind: str, seed: int) -> Path:
    """Return where what is known of the inputs of ``kind`` is kept."""
    return folder / f"{kind}-seed-{seed}.jsonl"


def known_of(kinds: Sequence[str], seed: int, folder: Path, count: int) -> dict[str, Any]:
    """Return what is known of the first ``count`` inputs of each of ``kinds``."""
    return together({kind: summary(chunks_of(state_file(folder, kind, seed)), count) for kind in kinds})


def run(
    kinds: Sequence[str], count: int, seed: int, workers: int, limits: Limits, folder: Path, again: str | None
) -> dict[str, Any]:
    """Run what is not finished yet with ``workers`` processes, all kinds in turn, and return what is known of all."""
    torch.set_num_threads(1)
    files = make_sound_files(folder / "sound.pkl")
    left = {kind: pending(chunks_of(state_file(folder, kind, seed)), count, CHUNK, again) for kind in kinds}
    wanted = sorted(((kind, first) for kind in kinds for first in left[kind]), key=lambda chunk: chunk[1])
    children = []
    for index in range(workers):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                warm_up_here(files)
                work(wanted[index::workers], count, seed, files, limits, folder)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    while children:
        child, status = os.wait()
        children.remove(child)
        if status:
            raise SystemExit(f"a worker ended with {os.waitstatus_to_exitcode(status)}")
    return known_of(kinds, seed, folder, count)


def warm_up_here(files: Sequence[Sound]) -> None:
    """Warm up without leaving this process's streams and folder changed: a child of it reads, its imports stay."""
    with tempfile.TemporaryDirectory(prefix="prunekit-fuzz-") as folder:
        streams, here = [os.dup(number) for number in (1, 2)], Path.cwd()
        environment, path = dict(os.environ), list(sys.path)
        warm_up(files, Path(folder) / "warm")
        for number, stream in enumerate(streams, start=1):
            os.dup2(stream, number)
            os.close(stream)
        os.environ.clear()
        os.environ.update(environment)
        sys.path[:] = path
        os.chdir(here)
    packed_bomb()
    gc.collect()
    gc.freeze()  # readers then neither walk through what they share with this process nor copy it


def show_one(name: str, seed: int, limits: Limits, folder: Path) -> bool:
    """Read one input as the whole run would, print what came of it, and keep its file; whether nothing was found."""
    kind, number = name.split("/")[0], int(name.split("/")[1])
    files = make_sound_files(folder / "sound.pkl")
    warm_up_here(files)
    item = make_input(kind, number, seed=seed, files=files)
    kept = folder / f"input-{kind}-{number}{Path(item.sound.subject).suffix}"
    kept.write_bytes(item.content)
    print(f"{name}: {item.sound.kind} '{item.sound.name}', {', '.join(item.done)}; kept as {kept}")
    with tempfile.TemporaryDirectory(prefix="prunekit-fuzz-") as scratch:
        chunk = run_chunk(kind, number, 1, seed, files, limits, Path(scratch) / "inner")
    print(json.dumps(chunk, indent=1))
    return not chunk["findings"]


def main() -> None:
    """Parse and go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=COUNT, help="how many inputs of each kind")
    parser.add_argument("--kinds", default=",".join(KINDS), help="kinds of files, with commas between them")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=Limits().seconds, help="limit per input")
    parser.add_argument("--state", type=Path, default=STATE, help="folder of what is known so far")
    parser.add_argument("--only", metavar="KIND/NUMBER", help="read this input alone")
    parser.add_argument("--again", choices=("findings", "older"), help="read again what had findings, or older code")
    parser.add_argument("--collect", action="store_true", help="write the result file")
    parser.add_argument("--note", action="append", default=[], help="what became of findings, for the result file")
    arguments = parser.parse_args()
    folder = arguments.state.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    limits = Limits(seconds=arguments.seconds)
    if arguments.only is not None:
        raise SystemExit(0 if show_one(arguments.only, arguments.seed, limits, folder) else 1)
    kinds = arguments.kinds.split(",")
    if arguments.collect:
        total = known_of(kinds, arguments.seed, folder, arguments.count)
        command = "python benchmarks/fuzz.py; python benchmarks/fuzz.py --collect"
        files = make_sound_files(folder / "sound.pkl")
        digests = {kind: files_digest([one for one in files if one.kind == kind]) for kind in kinds}
        made = {"seed": arguments.seed, "wanted_of_each": arguments.count, "sound_files": digests}
        print(write_result("fuzz", command, {**made, "limits": asdict(limits), **total, "notes": arguments.note}))
    else:
        again, workers = arguments.again, arguments.workers
        total = run(kinds, arguments.count, arguments.seed, workers, limits, folder, again)
        shown = {name: value for name, value in total.items() if name not in ("findings", "mended")}
        print(json.dumps(shown, indent=1))
    for found in total["findings"][:50]:
        print(found["number"], found["kind"], found["done"], found["outcome"], found["troubles"])
    raise SystemExit(1 if total["findings"] else 0)


if __name__ == "__main__":
    main()
