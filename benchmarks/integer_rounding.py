"""What the rounding of weights costs w8a16: each for itself, with one step a row and 1% damping, and as it is.

    python benchmarks/integer_rounding.py [FOLDER]

Shipped policies are fitted on every other observation of their own episodes and judged on the rest; what compact ones
keep of their return is that of 100 episodes, fitted on all. ``FOLDER`` is one of ``published_policies.py``: its
policies of legged robots are fitted on 2,000 normal observations, or on ones that say twelve things, and judged on
1,000 others, and their golden inputs. None of these files is part of this project; figures alone are kept.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from devices import observed, program_of
from integer_returns import SEEDS
from numpy.typing import NDArray
from record import write_result

from prunekit.environments import make_environment
from prunekit.export.c_int8 import int8_to_c
from prunekit.export.quantize import quantize, run_quantized
from prunekit.export.rounding import Rounding
from prunekit.graph.graph import Graph
from prunekit.graph.reference import run_step
from prunekit.policy.graphs import graph_of
from prunekit.readers.policy_file import PolicyOptions
from prunekit.readers.read import read_policy
from prunekit.rollouts import episode_return, random_returns
from prunekit.runtimes.native import NativePolicy, load_native
from prunekit.stats.bootstrap import bootstrap_bound, retention

WAYS = {
    "each for itself": Rounding(max_inputs=0),
    "before": Rounding(steps=(1.0,), damping=0.01),
    "now": Rounding(),
}
COMPACT = tuple(f"{env_id} compact" for env_id in ("Hopper-v5", "Walker2d-v5", "HalfCheetah-v5", "LunarLander-v3"))
SHIPPED = (*COMPACT, "Hopper-v5 dense", "LunarLander-v3 dense")
PUBLISHED = (
    "rlsar/go2_robot_lab/policy.pt",
    "rlsar/go2w_robot_lab/policy.pt",
    "playground_go1.onnx",
    "playground_apollo.onnx",
    "playground_g1.onnx",
    "unitree_rl_lab_g1_velocity.onnx",
    "spot_isaaclab.onnx",
    "bdx_duck.onnx",
)
Rows = NDArray[np.float32]


def errors_of(policy: str, graph: Graph, fitted_on: str, fitted: Rows, judged_on: str, judged: Rows) -> dict[str, Any]:
    """Return the errors of the actions of ``graph`` under every way of rounding."""
    (port,) = graph.inputs
    given = {port.name: judged.astype(np.float64).reshape(-1, *port.shape)}
    wanted = run_step(graph, given, {})[0]["action"].reshape(len(judged), -1)
    choices = wanted.dtype == np.int64
    ways = {}
    for way, rounding in WAYS.items():
        found = run_quantized(quantize(graph, fitted, 16, rounding), judged)[0].reshape(wanted.shape)
        if choices:
            ways[way] = {"share": float((found != wanted).any(axis=1).mean())}
            continue
        error = found - wanted
        ways[way] = {"rms": float(np.sqrt((error**2).mean())), "largest": float(np.abs(error).max())}
    unit = "share of other actions" if choices else "action"
    largest = None if choices else float(np.abs(wanted).max())
    entry = {"policy": policy, "fitted on": fitted_on, "judged on": judged_on, "unit": unit, "largest action": largest}
    print(json.dumps(entry | {"ways": ways}), flush=True)
    return entry | {"ways": ways}


def published(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the errors of published policies."""
    for name in PUBLISHED:
        graph = read_policy(_file(folder, name), PolicyOptions()).graph
        inputs = math.prod(graph.inputs[0].shape)
        golden = _golden(folder, name, inputs)
        random = np.random.default_rng(0)
        white = random.standard_normal((3_000, inputs)).astype(np.float32)
        mix = random.standard_normal((12, inputs)) / 12**0.5
        own = 0.1 * random.standard_normal((3_000, inputs))
        few = (random.standard_normal((3_000, 12)) @ mix + own).astype(np.float32)
        called = name.removesuffix(".onnx").removesuffix(".pt").replace("/", " ")
        yield errors_of(called, graph, "2,000 normal ones", white[:2_000], "1,000 others", white[2_000:])
        yield errors_of(called, graph, "2,000 of twelve things", few[:2_000], "1,000 others", few[2_000:])
        yield errors_of(called, graph, "2,000 normal ones", white[:2_000], "its 16 golden ones", golden)
        yield errors_of(called, graph, "its 16 golden ones", golden, "the same", golden)


def _file(folder: Path, name: str) -> Path:
    entries = json.loads((folder / "manifest.json").read_text())
    named = [str(entry["file"]) for entry in entries]
    return folder / "files" / next(one for one in named if one.replace("/", "_") == name.replace("/", "_"))


def _golden(folder: Path, name: str, inputs: int) -> Rows:
    case = np.load(folder / "cases" / f"{name.replace('/', '_')}.npz")
    given = [case[key] for key in sorted(case) if key.startswith("in_")]
    golden: Rows = next(one for one in given if math.prod(one.shape[1:]) == inputs).reshape(-1, inputs).astype("f4")
    return golden


def kept_by(policy: str) -> dict[str, Any]:
    """Return what w8a16 of a compact policy keeps of its return in float32, before and now."""
    graph, seen, env_id = graph_of(program_of(policy)), observed(policy), policy.split()[0]
    environment = make_environment(env_id, {})

    def played(act: Any) -> NDArray[np.float64]:
        return np.asarray([episode_return(environment, act, seed) for seed in SEEDS])

    float32 = played(load_native(Path("models") / f"{env_id}-ppo" / "compact.pt").act)
    random = np.asarray(random_returns(make_environment(env_id, {}), SEEDS))
    found: dict[str, Any] = {"policy": policy, "seeds": [SEEDS[0], SEEDS[-1]]}
    for way in ("before", "now"):
        returns = played(NativePolicy(int8_to_c(quantize(graph, seen, 16, WAYS[way]), "policy", {})).act)
        bound = bootstrap_bound(returns, float32, random, np.random.default_rng(0))
        kept = retention(returns, float32, random, np.random.default_rng(0)).to_dict()
        found[way] = {**kept, "lower95": bound, "returns": returns.tolist()}
        print(policy, way, kept["estimate"], bound, flush=True)
    return found


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, nargs="?")
    folder = parser.parse_args().folder
    errors = []
    for policy in SHIPPED:
        seen = observed(policy)
        errors.append(
            errors_of(policy, graph_of(program_of(policy)), "every other one", seen[::2], "the rest", seen[1::2])
        )
    errors += [] if folder is None else list(published(folder))
    entries: Mapping[str, Any] = {"errors": errors, "returns": [kept_by(policy) for policy in COMPACT]}
    words = "python benchmarks/integer_rounding.py" + ("" if folder is None else " FOLDER")
    print(write_result("integer_rounding", words, entries))


if __name__ == "__main__":
    main()
