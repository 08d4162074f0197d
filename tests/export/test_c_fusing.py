"""No compiler may fuse a multiplication with an addition in the generated C: a fused one rounds once, not twice."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from prunekit.export.c_float import float_to_c
from prunekit.graph.graph import Graph, Node, Port
from prunekit.ops.affine import Affine
from prunekit.ops.flatten import Flatten
from prunekit.ops.reshape import Reshape

# ARMv7's vmla is not among them: it rounds the product.
FUSED = re.compile(
    r"^\s+(vfn?m(add|sub)\w*|vfn?m[as]\S*|f?n?m(add|sub)\.s|fn?m(add|sub)|fml[as]|v?f?cmla|vcmul)\b", re.MULTILINE
)
# GCC 12 for x86 fuses in these without the pragma that forbids it.
SEEDS = (10, 11, 12, 14, 18, 20, 28, 31)
TARGETS = {
    "x86, AVX2": ("x86_64-linux-gnu-gcc", "-mavx2", "-mfma"),
    "x86, AVX-512": ("x86_64-linux-gnu-gcc", "-march=sapphirerapids"),
    "x86, FMA4": ("x86_64-linux-gnu-gcc", "-march=bdver2"),
    "AArch64": ("aarch64-linux-gnu-gcc",),
    "AArch64, complex": ("aarch64-linux-gnu-gcc", "-march=armv8.3-a"),
    "AArch64, SVE": ("aarch64-linux-gnu-gcc", "-march=armv8.6-a+sve"),
    "ARMv7": ("arm-linux-gnueabihf-gcc", "-mfpu=neon-vfpv4"),
    "Cortex-M7": ("arm-none-eabi-gcc", "-mcpu=cortex-m7", "-mfloat-abi=hard"),
    "Cortex-M55": ("arm-none-eabi-gcc", "-mcpu=cortex-m55", "-mfloat-abi=hard"),
    "RISC-V": ("riscv64-unknown-elf-gcc", "-ffreestanding", "-march=rv32imafdc", "-mabi=ilp32d"),
}


def over_rows(seed: int) -> Graph:
    """Return a layer over the rows of a matrix, whose weights are rotations: vectorizers look for their signs."""
    random = np.random.default_rng(seed)
    rows, width = int(random.integers(2, 9)), 2 * int(random.integers(1, 4))
    nodes = [Node(op=Reshape(shape=(rows, width)), inputs=("obs",), outputs=("rows",))]
    outputs = 2 * int(random.integers(1, 4))
    turns = random.normal(size=(outputs // 2, width // 2, 2))
    weight = np.block([[np.array([[a, -b], [b, a]]) for a, b in row] for row in turns]).astype(np.float32)
    bias = random.normal(size=outputs).astype(np.float32)
    nodes += [
        Node(op=Affine(weight=weight, bias=bias), inputs=("rows",), outputs=("layer",)),
        Node(op=Flatten(), inputs=("layer",), outputs=("outputs",)),
    ]
    inputs = (Port(name="obs", shape=(rows * width,), dtype="float32"),)
    return Graph(inputs=inputs, nodes=tuple(nodes), outputs=("outputs",), states=())


@pytest.mark.parametrize("target", TARGETS)
def test_no_target_fuses(target: str, tmp_path: Path) -> None:
    compiler, *flags = TARGETS[target]
    if shutil.which(compiler) is None:
        pytest.skip(f"needs {compiler}")
    names = [f"policy_{seed}" for seed in SEEDS]
    for seed, name in zip(SEEDS, names, strict=True):
        code = float_to_c(over_rows(seed), name, {})
        (tmp_path / f"{name}.h").write_text(code.header)
        (tmp_path / f"{name}.c").write_text(code.source)
    command = [compiler, "-O3", *flags, "-S", *(f"{name}.c" for name in names)]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=100)
    for name in names:
        assert not FUSED.findall((tmp_path / f"{name}.s").read_text()), name
