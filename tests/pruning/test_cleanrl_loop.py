"""Two lines attach prunekit to a PPO loop that knows nothing of it, and the loop's policy gets small and stays good."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import prunekit

pytestmark = pytest.mark.xdist_group("cleanrl_loop")

LOOP = Path(__file__).parents[2] / "examples" / "cleanrl_ppo.py"
REPORT = Path(__file__).with_name("cleanrl_report.py")


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What the loop reports, run in a process of its own so that it can say which packages it loaded."""
    environment = {**os.environ, "PYTHONPATH": str(Path(prunekit.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(REPORT), "4"], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_two_lines_attach_prunekit() -> None:
    loop = LOOP.read_text().partition("def train(")[2].partition("def main(")[0]
    lines = [line.partition("  #")[0].strip() for line in loop.splitlines()[1:] if "prunekit." in line]
    assert lines == [
        "pruner = prunekit.Pruner(agent.actor, optimizer, total_steps=ITERATIONS * EPOCHS * MINIBATCHES)",
        "small = prunekit.shrink(agent.actor, pruner.masks)",
    ]


def test_no_other_library_is_involved(found: dict[str, Any]) -> None:
    assert found["knows_stable_baselines3"] is False


def test_exactly_the_default_target_is_removed_from_the_actor_alone(found: dict[str, Any]) -> None:
    assert sum(found["masked_units"]) == math.ceil(0.93 * 128)
    assert found["small_widths"] == [64 - dead for dead in found["masked_units"]] + [2]
    assert found["critic_zeros"] == 0


def test_the_shrunk_network_computes_what_the_masked_one_does(found: dict[str, Any]) -> None:
    assert found["scale"] > 0.1
    assert found["largest_difference"] <= 1e-5 * found["scale"]


def test_the_small_policy_has_learned_its_task(found: dict[str, Any]) -> None:
    # over twelve seeds the worst return was 211, and a random policy's is 18
    assert found["small_return"] > 100.0
    assert found["random_return"] < 40.0
