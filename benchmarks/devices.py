"""Policies on every emulated core: the same bits everywhere, sizes, costs, and returns with the processor in the loop.

    python benchmarks/devices.py train     # a policy with a tanh head (SAC on Pendulum-v1); a few minutes
    python benchmarks/devices.py run       # resumable, one process a core; needs the compilers and emulators of README
    python benchmarks/devices.py loop      # whole episodes in the emulators beside the same C on the host
    python benchmarks/devices.py int8      # what integers keep of the return
    python benchmarks/devices.py noise     # what float32 keeps under noise of that size, the control
    python benchmarks/devices.py more      # 1,000 episodes more of the policies of which 100 say least
    python benchmarks/devices.py collect   # benchmarks/results/devices.json

Shipped policies, dense and compact, and one of untrained weights in the shape 11-18-18-3. Actions on observations of
the policies' own episodes are held, bit for bit, against those of the twin in NumPy and of the same C on this machine:
1,000 observations of a compact policy, 64 of a dense one. ``runs/devices`` keeps what is done; ``collect`` takes what
it lacks from the committed result. Run it from the project's root.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from integer_returns import NOISE_SEEDS, by_integers, kept_over_more, over_more, random_over_more, under_noise
from numpy.typing import NDArray
from record import read_result, write_result
from untrained import untrained

from prunekit.benching.compare import run_bench
from prunekit.benching.settings import BenchSettings
from prunekit.devices import devices_named
from prunekit.devices.board import beyond_avr
from prunekit.devices.build import build
from prunekit.devices.cores import CORES, Core
from prunekit.devices.emulator import count
from prunekit.devices.toolchain import tool_versions
from prunekit.errors import TooLargeError
from prunekit.export.c import CSettings, c_code
from prunekit.export.c_code import CCode
from prunekit.export.c_float import run_float32
from prunekit.export.quantize import Bits, quantize, run_quantized
from prunekit.export.recording import recorded_observations, spread_over
from prunekit.files import write_atomically
from prunekit.policy.artifact import load
from prunekit.policy.graphs import graph_of
from prunekit.policy.program import Program, lower
from prunekit.runtimes.native import NativePolicy

RUNS, SHIPPED = Path("runs/devices"), Path("models")
TANH_RUN = RUNS / "Pendulum-v1-sac"
TANH_STEPS = 20_000
PROBE = "11-18-18-3"
STAGES = ("train", "run", "loop", "int8", "noise", "more", "collect")
FORMS: dict[str, Bits | None] = {"float32": None, "w8a16": 16, "w8a8": 8}
FLOAT, ALL = ("float32",), tuple(FORMS)
# What is measured, in which forms.
POLICIES = {
    "Hopper-v5 dense": ALL,
    "Hopper-v5 compact": ALL,
    PROBE: ALL,
    "Walker2d-v5 dense": FLOAT,
    "Walker2d-v5 compact": ALL,
    "HalfCheetah-v5 dense": FLOAT,
    "HalfCheetah-v5 compact": ALL,
    "LunarLander-v3 dense": FLOAT,
    "LunarLander-v3 compact": ALL,
    "CartPole-v1 dense": FLOAT,
    "CartPole-v1 compact": ALL,
    "Pendulum-v1 compact": ALL,
}
EPISODES, COMPACT_ROWS, DENSE_ROWS = 5, 1_000, 64
LOOPS = {"Hopper-v5": ("cortex-m4", "avr-uno"), "CartPole-v1": ("cortex-m4", "avr-uno")}
LOOP_EPISODES = 10
KEPT_ON = ("Hopper-v5", "Walker2d-v5", "LunarLander-v3")
KEPT = tuple(f"{env_id} {kind}" for env_id in KEPT_ON for kind in ("dense", "compact"))
MORE, MORE_FORMS = ("Hopper-v5 dense", "Hopper-v5 compact"), ("random", "float32", "w8a16")


def file_of(policy: str) -> Path:
    """Return where a policy lies."""
    env_id, kind = policy.split()
    if env_id == "Pendulum-v1":
        return TANH_RUN / "model.compact.pt"
    return SHIPPED / f"{env_id}-ppo" / f"{kind}.pt"


def program_of(policy: str) -> Program:
    """Return a policy's program; the untrained one sees what the compact one of Hopper-v5 sees."""
    if policy != PROBE:
        return lower(load(file_of(policy)).actor)
    widths = tuple(int(width) for width in PROBE.split("-"))
    return untrained(widths, load(file_of("Hopper-v5 compact")).actor.normalizer)


def observed(policy: str) -> NDArray[np.float32]:
    """Return what a policy sees in five episodes, float32 [n, inputs], once recorded."""
    seen_by = "Hopper-v5 compact" if policy == PROBE else policy
    kept = RUNS / f"{seen_by.replace(' ', '-')}.npy"
    if not kept.exists():
        seen = recorded_observations(graph_of(program_of(seen_by)), seen_by.split()[0], {}, EPISODES)
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, seen)
    return np.asarray(np.load(kept))


def written(program: Program, form: str, seen: NDArray[np.float32]) -> CCode:
    """Return ``program`` as C in a form."""
    return c_code(program, CSettings(name="policy", activations=FORMS[form]), {}, seen)[0]


def expected(program: Program, form: str, seen: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[Any]:
    """Return the actions of the twin in NumPy on ``rows``; ``seen`` gives the ranges of integers."""
    bits = FORMS[form]
    if bits is None:
        return run_float32(graph_of(program), {"obs": rows})["action"]
    return run_quantized(quantize(graph_of(program), seen, bits), rows)[0]


def kept_at(policy: str, form: str, target: str) -> Path:
    """Return where a measurement is kept."""
    return RUNS / f"{policy.replace(' ', '-')}-{form}-{target}.json"


def measure_one(policy: str, form: str, target: Core) -> None:
    """Measure one policy on one core unless that is done."""
    kept = kept_at(policy, form, target.name)
    if kept.exists():
        return
    program, seen = program_of(policy), observed(policy)
    code = written(program, form, seen)
    entry: dict[str, Any] = {"policy": policy, "form": form, "device": target.name, "unit": target.unit}
    entry |= {"hidden": list(program.hidden), "parameters": program.parameters}
    image = None
    try:
        image = build(code, target)
        entry |= {"flash_bytes": image.flash_bytes, "static_ram_bytes": image.static_ram_bytes}
        entry |= {"harness_flash_bytes": image.harness_flash_bytes, "overflow_bytes": image.overflow}
    except TooLargeError:
        entry |= {"overflow_bytes": {"flash": beyond_avr(code, target.flash_bytes), "ram": 0}, "at_least": True}
    if image is not None and image.fits:
        most = DENSE_ROWS if policy.endswith("dense") else COMPACT_ROWS
        rows = spread_over(seen, most)
        counts = count(image, rows)
        wanted = expected(program, form, seen, rows).tobytes()
        native = NativePolicy(code)
        host = np.asarray([native.act(row) for row in rows], counts.actions.dtype).tobytes()
        entry |= {"observations": len(rows), "bits_of_twin": counts.actions.tobytes() == wanted}
        entry |= {"bits_of_host": counts.actions.tobytes() == host, "stack_bytes": counts.stack_bytes}
        taken = counts.per_inference
        entry |= {"p50": round(float(np.median(taken))), "most": int(taken.max())}
    entry["tools"] = tool_versions(target)
    write_atomically(kept, json.dumps(entry).encode())
    print(time.strftime("%H:%M:%S"), policy, form, target.name, entry.get("p50", "too large"), flush=True)


def run(workers: int) -> None:
    """Measure everything, in processes of their own, those that write C for one policy after the other."""
    RUNS.mkdir(parents=True, exist_ok=True)
    for policy in POLICIES:
        observed(policy)
    jobs = [(policy, form, target) for policy, forms in POLICIES.items() for form in forms for target in CORES]
    left = [job for job in jobs if not kept_at(*job).exists()]

    def one(job: tuple[str, str, str]) -> None:
        command = [sys.executable, __file__, "one", "--job", *job]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(one, left))


def train() -> None:
    """Train the policy with a tanh head unless it is there."""
    if file_of("Pendulum-v1 compact").exists():
        return
    asked = ["--env", "Pendulum-v1", "--algo", "sac", "--steps", str(TANH_STEPS), "--sparsity", "0.93"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    begin = [sys.executable, "-m", "prunekit"]
    subprocess.run([*begin, "train", *asked, "--out", str(TANH_RUN)], check=True, env=environment)
    subprocess.run([*begin, "shrink", str(TANH_RUN / "model.pt")], check=True, env=environment)


def loop() -> None:
    """Play whole episodes with the processor in the loop, beside compiled C and ONNX Runtime."""
    for env_id, boards in LOOPS.items():
        kept = loop_at(env_id)
        if kept.exists():
            continue
        paths = [file_of(f"{env_id} {kind}") for kind in ("dense", "compact")]
        settings = BenchSettings(episodes=LOOP_EPISODES, loop_episodes=LOOP_EPISODES)
        result = run_bench(paths, devices_named(["cpu-c", *boards]), settings, progress=print)
        write_atomically(kept, json.dumps(result.to_json()).encode())


def loop_at(env_id: str) -> Path:
    """Return where the episodes in the emulators are kept."""
    return RUNS / f"loop-{env_id}.json"


def int8() -> None:
    """Measure what w8a16 and w8a8 keep of the return of the same policy in float32, over 100 paired episodes."""
    for env_id in KEPT_ON:
        kept = int8_at(env_id)
        if not kept.exists():
            policies = [policy for policy in KEPT if policy.split()[0] == env_id]
            found = [by_integers(policy, program_of(policy), observed(policy), FORMS) for policy in policies]
            write_atomically(kept, json.dumps(found).encode())


def noise() -> None:
    """Measure what float32 keeps under noise of the size of w8a16's error; ``int8`` comes first, here or committed."""
    for policy in KEPT:
        known = done(int8_at(policy), "int8", policy=policy)
        if known is None:
            raise SystemExit(f"{policy}: measure int8 first")
        for seed in NOISE_SEEDS:
            if not noise_at(policy, seed).exists():
                found = under_noise(policy, program_of(policy), observed(policy), seed, known["returns"])
                write_atomically(noise_at(policy, seed), json.dumps(found).encode())


def more() -> None:
    """Play 1,000 other episodes of the policies of which 100 say least."""
    for policy in MORE:
        program, seen = program_of(policy), observed(policy)
        for form in MORE_FORMS:
            if not more_at(policy, form).exists():
                alone = form == "random"
                found = random_over_more(policy) if alone else over_more(policy, program, seen, FORMS[form])
                write_atomically(more_at(policy, form), json.dumps(found).encode())
                print(time.strftime("%H:%M:%S"), policy, form, np.mean(found), flush=True)


def int8_at(policy: str) -> Path:
    """Return where the episodes in integers of a policy's environment are kept."""
    return RUNS / f"int8-{policy.split()[0]}.json"


def noise_at(policy: str, seed: int) -> Path:
    """Return where a policy's episodes under noise are kept."""
    return RUNS / f"noise-{policy.replace(' ', '-')}-{seed}.json"


def more_at(policy: str, form: str) -> Path:
    """Return where a policy's 1,000 episodes in a form are kept."""
    return RUNS / f"more-{policy.replace(' ', '-')}-{form}.json"


def done(path: Path, part: str, **key: Any) -> dict[str, Any] | None:
    """Return the entry that has ``key``, of those at ``path``, or where there is no file of the committed part."""
    found = json.loads(path.read_text()) if path.exists() else committed(part)
    entries = found if isinstance(found, list) else [found]
    return next((dict(e) for e in entries if all(e[name] == value for name, value in key.items())), None)


def committed(part: str) -> list[dict[str, Any]]:
    """Return the entries of a part of the committed result."""
    return list((read_result("devices") or {}).get(part, []))


def done_more(policy: str) -> dict[str, Any] | None:
    """Return what a policy's 1,000 episodes came to, here or in the committed result."""
    paths = {form: more_at(policy, form) for form in MORE_FORMS}
    if not all(path.exists() for path in paths.values()):
        return next((entry for entry in committed("more") if entry["policy"] == policy), None)
    return kept_over_more(policy, {form: json.loads(path.read_text()) for form, path in paths.items()})


def collect() -> None:
    """Write the result from what is done here, else from the committed one; says what neither has."""
    before = read_result("devices") or {}
    loops = dict(before.get("loop", {}))
    loops |= {env_id: json.loads(loop_at(env_id).read_text()) for env_id in LOOPS if loop_at(env_id).exists()}
    jobs = [(policy, form, target) for policy, forms in POLICIES.items() for form in forms for target in CORES]
    found: dict[str, dict[str, dict[str, Any] | None]] = {
        "measured": {
            kept_at(*job).name: done(kept_at(*job), "measured", policy=job[0], form=job[1], device=job[2])
            for job in jobs
        },
        "int8": {f"int8-{policy}": done(int8_at(policy), "int8", policy=policy) for policy in KEPT},
        "noise": {
            noise_at(policy, seed).name: done(noise_at(policy, seed), "noise", policy=policy, noise_seed=seed)
            for policy in KEPT
            for seed in NOISE_SEEDS
        },
        "more": {f"more-{policy}": done_more(policy) for policy in MORE},
    }
    missing = [name for part in found.values() for name, entry in part.items() if entry is None]
    missing += [loop_at(env_id).name for env_id in LOOPS if env_id not in loops]
    parts = {part: [entry for entry in entries.values() if entry] for part, entries in found.items()}
    tools = dict(before.get("tools", {}))
    for entry in parts["measured"]:
        tools |= entry.pop("tools", {})
    command = "; ".join(f"python benchmarks/devices.py {stage}" for stage in STAGES)
    entries = {"tools": tools, "missing": missing, "measured": parts.pop("measured"), "loop": loops, **parts}
    print(write_result("devices", command, entries), f"{len(missing)} missing")


def main() -> None:
    """Parse and go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["one", *STAGES])
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="measurements at a time")
    parser.add_argument("--job", nargs=3, metavar=("POLICY", "FORM", "DEVICE"), help="of stage one")
    arguments = parser.parse_args()
    if arguments.stage == "one":
        policy, form, target = arguments.job
        measure_one(policy, form, CORES[target])
    elif arguments.stage == "run":
        run(arguments.workers)
    else:
        alone = {"train": train, "loop": loop, "int8": int8, "noise": noise, "more": more, "collect": collect}
        alone[arguments.stage]()


if __name__ == "__main__":
    main()
