"""What decided how the C is written: rounding of weights, inputs at a time, restrict, GCC's vectorizer of statements.

    python benchmarks/c_choices.py    # benchmarks/results/c_choices.json; needs what devices.py needs, after its train

Variants are made from the generated source. Instructions are those of a Cortex-M4, of one observation; times on this
machine are medians of interleaved samples of 100 calls in C. Rounding errors are root mean squares of the actions (or
shares of other discrete actions) on every second of the recorded observations, the others having been fitted on.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from devices import PROBE, observed, program_of, written
from host_rivals import c_loop
from numpy.typing import NDArray
from record import write_result

from prunekit.devices.build import build
from prunekit.devices.emulator import count
from prunekit.devices.targets import TARGETS
from prunekit.export import quantize as quantizing
from prunekit.export.c_code import CCode
from prunekit.export.quantize import quantize, run_quantized
from prunekit.policy.oracle import run_oracle

KERNELS = (PROBE, "Hopper-v5 dense", "Hopper-v5 compact")
ROUNDED = tuple(f"{env_id} compact" for env_id in ("Hopper-v5", "Walker2d-v5", "HalfCheetah-v5", "LunarLander-v3"))
ROUNDED = (*ROUNDED, "Hopper-v5 dense", "LunarLander-v3 dense")
SAMPLES = 200


def block(size: int) -> str:
    """Return the loop that adds ``size`` inputs at a time."""
    weights = ["weight", *(f"w{index}" for index in range(1, size))]
    pointers = "".join(f"        const float *const {own} = {before} + outputs;\n" for before, own in pairwise(weights))
    inputs = ", ".join(f"x{index} = x[{index}]" for index in range(size))
    sums = "".join(f"            sum += x{i} * POLICY_FLOAT(&{own}[o]);\n" for i, own in enumerate(weights))
    return (
        f"    for (; n >= {size}; n -= {size}) {{\n{pointers}        const float {inputs};\n"
        f"        for (o = 0; o < outputs; ++o) {{\n            float sum = y[o];\n{sums}"
        f"            y[o] = sum;\n        }}\n        weight = {weights[-1]} + outputs;\n        x += {size};\n"
        "    }\n"
    )


def with_block(size: int) -> Callable[[str], str]:
    """Return what puts ``size`` inputs at a time into a source."""

    def changed(source: str) -> str:
        assert block(6) in source
        return source.replace(block(6), block(size))

    return changed


def without(text: str) -> Callable[[str], str]:
    """Return what takes ``text`` out of a source, once."""

    def changed(source: str) -> str:
        assert text in source
        return source.replace(text, "", 1)

    return changed


VARIANTS: dict[str, Callable[[str], str]] = {
    "as written": lambda source: source,
    **{f"{size} inputs at a time": with_block(size) for size in (4, 5, 7, 8)},
    "biases may overlap": lambda source: source.replace("*restrict bias", "*bias"),
    "vectorizer of statements on": without(', "no-tree-slp-vectorize"'),
}


def kernels() -> dict[str, Any]:
    """Return instructions, flash and nanoseconds of every variant of every policy."""
    found: dict[str, Any] = {}
    loops: dict[tuple[str, str], Callable[[int], float]] = {}
    with tempfile.TemporaryDirectory() as name:
        for policy in KERNELS:
            program, seen = program_of(policy), observed("Hopper-v5 compact")
            plain = written(program, "float32", seen)
            for variant, change in VARIANTS.items():
                code = replace(plain, source=change(plain.source))
                image = build(code, TARGETS["cortex-m4"])
                taken = int(count(image, seen[:1]).per_inference[0])
                entry = {"cortex-m4 instructions": taken, "cortex-m4 flash bytes": image.flash_bytes}
                found.setdefault(policy, {})[variant] = entry
                loops[policy, variant] = _loop(code, Path(name) / f"{len(loops)}")
        samples: dict[tuple[str, str], list[float]] = {key: [] for key in loops}
        for _ in range(SAMPLES):
            for key, loop in loops.items():
                samples[key].append(loop(100))
    for (policy, variant), own in samples.items():
        found[policy][variant]["host ns"] = round(float(np.median(own)), 1)
    return found


def _loop(code: CCode, folder: Path) -> Callable[[int], float]:
    (folder / "loop").mkdir(parents=True)
    code.write(folder)
    call = f"{code.name}_action(observation, action)"
    sizes = code.inputs, code.outputs or 1
    return c_loop(folder / "loop", folder / f"{code.name}.c", f'#include "{code.name}.h"', call, sizes)[1]


def _plain(weight: NDArray[np.float64], _: Any, most: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    return np.clip(np.floor(weight + 0.5), -most, most).astype(np.int64), np.zeros(len(weight))


def rounding() -> dict[str, Any]:
    """Return the error of w8a16 as written and with each weight rounded for itself."""
    found = {}
    for policy in ROUNDED:
        program, seen = program_of(policy), observed(policy)
        fitted, fresh = seen[::2], seen[1::2]
        wanted = run_oracle(program, fresh.astype(np.float64))[0]
        errors = {"as written": _error(run_quantized(quantize(program, fitted), fresh)[0], wanted)}
        with (
            patch.object(quantizing, "rounded_to", _plain),
            patch.object(quantizing, "refitted", lambda weight, bias, *_: (weight, bias)),
        ):
            errors["each for itself"] = _error(run_quantized(quantize(program, fitted), fresh)[0], wanted)
        found[policy] = errors
    return found


def _error(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    if wanted.dtype == np.int64:
        return float((found != wanted).mean())
    return float(np.sqrt(((found - wanted) ** 2).mean()))


def main() -> None:
    """Measure and write."""
    entries = {"kernels": kernels(), "rounding": rounding()}
    print(write_result("c_choices", "python benchmarks/c_choices.py", entries))


if __name__ == "__main__":
    main()
