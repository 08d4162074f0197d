"""``shrink`` and ``export`` over the files of an older model: what is left is whole, and fits together."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from killing.victims import after, killed, on_sight, run, signal_of
from prunekit.policy.actor import Actor, Normalizer
from prunekit.policy.artifact import make_artifact, save
from prunekit.policy.heads import ArgmaxHead

COMMANDS: dict[str, list[str]] = {
    "shrink": ["shrink"],
    "export onnx": ["export", "--format", "onnx"],
    "export c": ["export", "--format", "c"],
    "export arduino": ["export", "--format", "c", "--arduino"],
}


def kill_output(name: str, folder: Path, begin_at: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield a record per kill, for ever, the first of them number ``begin_at``.

    A model is replaced by another one of other widths, whose files are then written over those of the first.
    """
    words = COMMANDS[name]
    home = folder / name.replace(" ", "-")
    shutil.rmtree(home, ignore_errors=True)
    old, new = (_made(home / which, words, width) for which, width in (("old", 12), ("new", 20)))
    names, number, misses = sorted(new), begin_at, 0
    if sorted(old) != names:
        raise RuntimeError(f"{name}: {sorted(old)} and {names} are not the same files")
    output = home / "output"
    while True:
        generator = random.Random(f"{seed}/{name}/{number}/{misses}")
        sent = signal_of(number)
        shutil.rmtree(output, ignore_errors=True)
        for path, content in old.items():
            (output / path).parent.mkdir(parents=True, exist_ok=True)
            (output / path).write_bytes(content)
        inside = generator.random() < 0.7
        later = generator.choice((0.0, generator.uniform(0.0, 0.003)))
        moment = on_sight(output, "**/.*", later) if inside else after(generator.uniform(0.0, 0.08))
        command = [*words, home / "new" / "model.pt", "--out", output, "-q"]
        ended = killed(command, home, sent, moment)
        troubles = ended.troubles(sent)
        kept = {path: (output / path).read_bytes() for path in names if (output / path).is_file()}
        state = state_between(kept, old, new)
        if state in ("mixed", "torn"):
            troubles.append(f"{state}: {[(path, _which(path, kept, old, new)) for path in names]}")
        again = run(command, home)
        troubles += again.troubles(None)
        found = {str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()}
        troubles += [f"left: {path}" for path in sorted(found - set(names))]
        troubles += [f"not written again: {path}" for path in names if (output / path).read_bytes() != new[path]]
        if ended.hit:
            yield {"code": ended.code, "inside": inside, "troubles": troubles, "signal": sent, "state": state}
            number, misses = number + 1, 0
        else:
            misses += 1


def _made(folder: Path, words: list[str], width: int) -> dict[str, bytes]:
    """Make a model, run the command, and return the files that it wrote, by path in their folder."""
    torch.manual_seed(width)
    network = nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 2))
    keep = torch.arange(width) < width - 3
    actor = Actor(network, ArgmaxHead(), Normalizer([0.5] * 4, [2.0] * 4, 5.0))
    save(make_artifact(actor, {"0": keep}, {"env": {"id": "CartPole-v1", "kwargs": {}}}), folder / "model.pt")
    output = folder / "output"
    ended = run([*words, folder / "model.pt", "--out", output, "-q"], folder)
    if ended.code != 0:
        raise RuntimeError(f"{words} failed: {ended.said}")
    return {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}


def _which(path: str, kept: dict[str, bytes], old: dict[str, bytes], new: dict[str, bytes]) -> str:
    if path not in kept:
        return "missing"
    if old[path] == new[path] == kept[path]:
        return "both"
    return "old" if kept[path] == old[path] else "new" if kept[path] == new[path] else "torn"


def state_between(kept: dict[str, bytes], old: dict[str, bytes], new: dict[str, bytes]) -> str:
    """Return whether the files are all old, all new, a mixture, or torn; ``incomplete`` where some are missing."""
    found = {_which(path, kept, old, new) for path in new} - {"both"}
    if "torn" in found:
        return "torn"
    if {"old", "new"} <= found:
        return "mixed"
    return "incomplete" if "missing" in found else "new" if "new" in found else "old"
