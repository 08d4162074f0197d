"""``compress`` with its worker processes: none outlives it, and a policy that was certified stays or is replaced."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from killing.victims import after, killed, on_sight, run, signal_of
from prunekit.bench.models import read_model
from prunekit.compress.run import FILES
from prunekit.policy.artifact import load

_MODEL = Path(__file__).parents[2] / "models" / "CartPole-v1-ppo" / "dense.pt"
_MINUTES = 0.1
_LONGEST = 16.0
_CLEANED_EVERY = 20


def kill_compression(folder: Path, begin_at: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield a record per kill, for ever, the first of them number ``begin_at``."""
    home = folder / "compress"
    first = home / "certified"
    words = ["compress", _MODEL, "--env", "CartPole-v1", "--no-tuning", "-q"]
    if not (first / FILES[-1]).exists():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        ended = run([*words, "--minutes", 0.5, "--keep", 0.5, "--out", first], home)
        if ended.code != 0:
            raise RuntimeError(f"the compression that is never killed failed: {ended.said}")
    output, number = home / "output", begin_at
    words += ["--minutes", _MINUTES, "--keep", 0.5, "--out", output]
    shutil.rmtree(output, ignore_errors=True)
    while True:
        generator = random.Random(f"{seed}/compress/{number}")
        sent = signal_of(number)
        if not (output / FILES[-1]).exists():
            shutil.rmtree(output, ignore_errors=True)
            shutil.copytree(first, output)
        inside = generator.random() < 0.25
        moment = on_sight(output, ".*", generator.choice((0.0, generator.uniform(0.0, 0.03))))
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
            number += 1


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
