"""``compress`` with its worker processes: none outlives it, and a policy that was certified stays or is replaced."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from killing.victims import after, killed, on_sight, run, signal_of
from prunekit.benching.models import read_model
from prunekit.compression.run import FILES
from prunekit.policy.actor import Actor
from prunekit.policy.artifact import load, make_artifact, save
from prunekit.policy.heads import ArgmaxHead

_MINUTES = 0.1
_LONGEST = 11.0
_CLEANED_EVERY = 20


def kill_compression(folder: Path, begin_at: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield a record per kill, for ever, the first of them number ``begin_at``."""
    home = folder / "compress"
    first = home / "certified"
    teacher = home / "teacher.pt"
    words = ["compress", teacher, "--env", "CartPole-v1", "--no-tuning", "-q"]
    if not (first / FILES[-1]).exists():
        shutil.rmtree(home, ignore_errors=True)
        _save_teacher(teacher)
        ended = run([*words, "--minutes", 0.5, "--keep", 0.5, "--out", first], home)
        if ended.code != 0:
            raise RuntimeError(f"the compression that is never killed failed: {ended.said}")
    output, number, misses = home / "output", begin_at, 0
    words += ["--minutes", _MINUTES, "--keep", 0.5, "--out", output]
    shutil.rmtree(output, ignore_errors=True)
    while True:
        generator = random.Random(f"{seed}/compress/{number}/{misses}")
        sent = signal_of(number)
        if not (output / FILES[-1]).exists():
            shutil.rmtree(output, ignore_errors=True)
            shutil.copytree(first, output)
        inside = generator.random() < 0.25
        moment = on_sight(output, "**/.*.prunekit-*", generator.choice((0.0, generator.uniform(0.0, 0.03))))
        moment = moment if inside else after(generator.uniform(0.0, _LONGEST))
        ended = killed(words, home, sent, moment)
        troubles = ended.troubles(sent) if ended.hit or ended.code != 1 else []  # 1: too little time for a certificate
        state = state_of(output)
        troubles += [f"{state[0]}: {state[1]}"] if state[0] in ("mixed", "torn", "gone") else []
        if not ended.hit or number % _CLEANED_EVERY == _CLEANED_EVERY - 1:
            if ended.hit:
                run(words, home)
            troubles += [f"left: {path.name}" for path in output.rglob(".*")]
            shutil.rmtree(output)
        if ended.hit:
            yield {"code": ended.code, "inside": inside, "troubles": troubles, "signal": sent, "state": state[0]}
            number, misses = number + 1, 0
        else:
            misses += 1


def _save_teacher(path: Path) -> None:
    """Save a policy that pushes where the pole leans: twice as good as chance, with episodes of a few dozen steps."""
    lean = torch.zeros(8, 4)
    lean[:, 2] = torch.linspace(1.0, 3.0, 8)
    first, second = nn.Linear(4, 8), nn.Linear(8, 2)
    with torch.no_grad():
        first.weight.copy_(lean)
        first.bias.zero_()
        second.weight.copy_(torch.stack([-torch.ones(8), torch.ones(8)]))
        second.bias.zero_()
    actor = Actor(nn.Sequential(first, nn.Tanh(), second), ArgmaxHead())
    save(make_artifact(actor, None, {"env": {"id": "CartPole-v1", "kwargs": {}}}), path)


def state_of(folder: Path) -> tuple[str, str]:
    """Return whether the three files are of one policy, and what else is to be said."""
    present = [name for name in FILES if (folder / name).is_file()]
    if not present:
        return "gone", "none of the files is left"
    try:
        told = []
        for name in present:
            path = folder / name
            if name.endswith(".json"):
                told.append(json.loads(path.read_text())["certificate"])
            else:
                told.append(
                    (read_model(path).metadata if name.endswith(".onnx") else load(path).provenance)["certificate"]
                )
    except Exception as error:  # whatever a half-written file raises
        return "torn", f"{type(error).__name__}: {error}"
    if any(json.dumps(one, sort_keys=True) != json.dumps(told[0], sort_keys=True) for one in told):
        return "mixed", f"{present} are not of one policy"
    return ("whole" if len(present) == len(FILES) else "incomplete"), ", ".join(present)
