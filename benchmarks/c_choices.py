"""What decided how the C is written: inputs at a time, the order of sums, what GCC is asked for, rounding of weights.

    python benchmarks/c_choices.py    # benchmarks/results/c_choices.json; needs what devices.py needs, after its train

Variants come from the generator, or are made from the source that it writes. Instructions are those of a Cortex-M4, of
one observation; times on this machine are medians of interleaved samples of 100 calls in C. Rounding errors are root
mean squares of the actions (or shares of other discrete actions) on every second of the recorded observations, the
others having been fitted on.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from devices import PROBE, observed, program_of, written
from host_rivals import c_loop
from numpy.typing import NDArray
from record import write_result
from untrained import untrained

from prunekit.console import size_name
from prunekit.devices.build import build
from prunekit.devices.cores import CORES
from prunekit.devices.emulator import count
from prunekit.export.c_code import CCode
from prunekit.export.c_float import float_to_c
from prunekit.graph.c.layers import AT_A_TIME
from prunekit.policy.graphs import graph_of
from prunekit.policy.program import Program
from prunekit.runtimes.native import vector_flags

KERNELS = (PROBE, "Hopper-v5 dense", "Hopper-v5 compact")
SAMPLES = 200
SHAPES = ((24, 24), (64, 64), (100, 100), (128, 128), (200, 200), (256, 256), (300, 400), (400, 300), (512, 512))
VECTORS = ("256", "512")


# The loop over blocks with the inputs that are left over last and one by one, and biases copied first.
_SINGLY = """static void policy_singly(
    const float *restrict x, float *restrict y, const float *weight, const float *restrict bias,
    int inputs, int outputs)
{
    const int blocks = inputs / SIZE;
    int n, o;
    for (o = 0; o < outputs; ++o)
        y[o] = POLICY_FLOAT(&bias[o]);
    if (blocks > 0)
        policy_add(x, y, weight, blocks, outputs);
    for (n = SIZE * blocks; n < inputs; ++n)
        for (o = 0; o < outputs; ++o)
            y[o] += x[n] * POLICY_FLOAT(&weight[n * outputs + o]);
}

"""
Written = Callable[[Program, NDArray[np.float32]], CCode]


def plain(program: Program, seen: NDArray[np.float32]) -> CCode:
    """Return the C as it is written."""
    return written(program, "float32", seen)


def with_block(size: int) -> Written:
    """Return what writes ``size`` inputs at a time."""

    def made(program: Program, _: NDArray[np.float32]) -> CCode:
        return float_to_c(graph_of(program), "policy", {}, at_a_time=size)

    return made


def changed(change: Callable[[str], str]) -> Written:
    """Return what writes the C and applies ``change``, which has to change something, to its source."""

    def made(program: Program, seen: NDArray[np.float32]) -> CCode:
        code = plain(program, seen)
        source = change(code.source)
        assert source != code.source
        return replace(code, source=source)

    return made


def left_over_singly(source: str) -> str:
    """Return ``source`` with the inputs that are left over last and one by one."""
    call = r"policy_layer_(\d+)\((\w+, \w+, \w+, \w+), (?:(\d+), )?(\d+)\);"

    def singly(found: re.Match[str]) -> str:
        inputs = int(found[1]) + AT_A_TIME * int(found[3] or 0)
        return f"policy_singly({found[2]}, {inputs}, {found[4]});"

    source = re.sub(r"static void policy_layer_\d+\(.*?\n}\n", "", re.sub(call, singly, source), flags=re.DOTALL)
    before, action = source.split("void policy_action", 1)
    return f"{before}{_SINGLY.replace('SIZE', str(AT_A_TIME))}void policy_action{action}"


def in_trees(source: str) -> str:
    """Return ``source`` with the products of a block added in pairs, pairs of pairs, then to the sum: other bits."""

    def tree(terms: list[str]) -> str:
        if len(terms) == 1:
            return terms[0]
        half = (len(terms) + 1) // 2
        return f"({tree(terms[:half])} + {tree(terms[half:])})"

    def added(found: re.Match[str]) -> str:
        return f"{found[1]}sum += {tree(re.findall(r'sum [+]= (.*);', found[0]))};\n"

    return re.sub(r"( +)sum \+= .*;\n(?: +sum \+= .*;\n)+", added, source)


VARIANTS: dict[str, Written] = {
    "as written": plain,
    **{f"{size} inputs at a time": with_block(size) for size in (4, 5, 6, 8)},
    "inputs left over one by one": changed(left_over_singly),
    "products of a block added in pairs": changed(in_trees),
    "short loops unrolled early": changed(lambda source: source.replace("#pragma GCC unroll 1\n", "")),
    "only one side of a choice": changed(lambda source: source.replace(', "no-trapping-math"', "")),
    "biases may overlap": changed(lambda source: source.replace("*restrict bias", "*bias")),
    "vectorizer of statements on": changed(lambda source: source.replace(', "no-tree-slp-vectorize"', "")),
}


def kernels() -> dict[str, Any]:
    """Return instructions, flash and nanoseconds of every variant of every policy."""
    found: dict[str, Any] = {}
    loops: dict[tuple[str, str], Callable[[int], float]] = {}
    with tempfile.TemporaryDirectory() as name:
        for policy in KERNELS:
            program, seen = program_of(policy), observed("Hopper-v5 compact")
            for variant, write in VARIANTS.items():
                code = write(program, seen)
                image = build(code, CORES["cortex-m4"])
                taken = int(count(image, seen[:1]).per_inference[0])
                entry = {"cortex-m4 instructions": taken, "cortex-m4 flash bytes": image.flash_bytes}
                found.setdefault(policy, {})[variant] = entry
                loops[policy, variant] = _loop(code, Path(name) / f"{len(loops)}")
        samples = sampled(loops)
    for (policy, variant), own in samples.items():
        found[policy][variant]["host ns"] = round(float(np.median(own)), 1)
    return found


def vectors() -> dict[str, Any]:
    """Return bytes of constants, which width is chosen, and nanoseconds of untrained policies by width in bits."""
    found: dict[str, Any] = {}
    loops: dict[tuple[str, str], Callable[[int], float]] = {}
    with tempfile.TemporaryDirectory() as name:
        for hidden in SHAPES:
            code = plain(untrained((11, *hidden, 3), None), np.zeros((1, 11), np.float32))
            shape = size_name(hidden)
            found[shape] = {"bytes": sum(code.constant_bytes), "wide": code.wide}
            for bits in VECTORS:
                flags = (f"-mprefer-vector-width={bits}",)
                loops[shape, bits] = _loop(code, Path(name) / f"{len(loops)}", flags)
        samples = sampled(loops)
    for (shape, bits), own in samples.items():
        found[shape][f"ns, {bits} bits"] = round(float(np.median(own)), 1)
    return found


def sampled(loops: Mapping[tuple[str, str], Callable[[int], float]]) -> dict[tuple[str, str], list[float]]:
    """Return samples of all, interleaved; each comes after calls that fill the caches, which the one before emptied."""
    samples: dict[tuple[str, str], list[float]] = {key: [] for key in loops}
    for _ in range(SAMPLES):
        for key, loop in loops.items():
            loop(100)
            samples[key].append(loop(100))
    return samples


def _loop(code: CCode, folder: Path, flags: tuple[str, ...] | None = None) -> Callable[[int], float]:
    (folder / "loop").mkdir(parents=True)
    code.write(folder)
    call = f"{code.name}_action(observation, action)"
    sizes = code.inputs, code.outputs or 1
    own = vector_flags(wide=code.wide) if flags is None else flags
    return c_loop(folder / "loop", folder / f"{code.name}.c", f'#include "{code.name}.h"', call, sizes, own)[1]


def main() -> None:
    """Measure and write."""
    entries = {"kernels": kernels(), "vectors": vectors()}
    print(write_result("c_choices", "python benchmarks/c_choices.py", entries))


if __name__ == "__main__":
    main()
