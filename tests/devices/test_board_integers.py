"""Every function of integers on small cores: the bits of its twin, also where an int has 16 of them."""

from __future__ import annotations

import numpy as np
import pytest
from compiled_policy import with_wild_rows
from integer_graphs import affine, chain, free, kind
from numpy.typing import NDArray
from stub_policies import with_tools

from prunekit.devices.build import build
from prunekit.devices.cores import Core
from prunekit.devices.emulator import EmulatedPolicy
from prunekit.export.c_int8 import int8_to_c
from prunekit.export.quantize import Bits, quantize, run_quantized
from prunekit.graph.graph import Graph, Node, Port
from prunekit.graph.op import Op
from prunekit.ops.add import Add
from prunekit.ops.clip import Clip
from prunekit.ops.concat import Concat
from prunekit.ops.layer_norm import LayerNorm
from prunekit.ops.mul import Mul
from prunekit.ops.prelu import PReLU
from prunekit.ops.rms_norm import RMSNorm
from prunekit.ops.slice import Slice

CHAINS = {
    "elu": ["elu", "elu"],
    "even curves and softsign": ["silu", "gelu", "softsign"],
    "a curve of two sides, and slopes": ["mish", "prelu", "leaky"],
    "clips": ["clip", "selu", "hardsigmoid"],
}


def function(name: str, width: int) -> Op:
    if name == "prelu":
        return PReLU(slope=np.linspace(-3.0, 3.0, width, dtype=np.float32))
    if name == "clip":
        return Clip(low=-0.3, high=0.8)
    return kind("leaky_relu", 4.0) if name == "leaky" else kind(name)


@pytest.mark.parametrize("target", with_tools("avr-uno", "cortex-m4"))
@pytest.mark.parametrize("bits", [16, 8])
@pytest.mark.parametrize("names", CHAINS.values(), ids=CHAINS)
def test_a_core_gives_the_bits_of_the_twin(names: list[str], bits: Bits, target: Core) -> None:
    random = np.random.default_rng(4)
    ops: list[Op] = []
    for name in names:
        ops += [affine(random, 8 if ops else 4, 8, 3.0), function(name, 8)]
    same_on(target, chain([*ops, affine(random, 8, 2)], 4, free(2)), random.standard_normal((200, 4)), bits)


def same_on(target: Core, graph: Graph, observations: NDArray[np.float64], bits: Bits) -> None:
    seen = observations.astype(np.float32)
    quantized = quantize(graph, seen, bits)
    rows = with_wild_rows(np.concatenate([seen[:24], 5.0 * seen[:8]]))
    image = build(int8_to_c(quantized, "policy", {}), target)
    assert image.fits
    with EmulatedPolicy(image) as emulated:
        found = np.asarray([emulated.act(row) for row in rows], np.float32)
    assert found.tobytes() == run_quantized(quantized, rows)[0].tobytes()


@pytest.mark.parametrize("target", with_tools("avr-uno", "cortex-m4"))
@pytest.mark.parametrize("bits", [16, 8])
def test_a_core_gives_the_bits_of_the_twin_of_a_network_with_branches(bits: Bits, target: Core) -> None:
    """Residual sums, both norms (one after units have gone), a gate, slices and a concatenation."""
    random = np.random.default_rng(6)
    scale, shift = random.uniform(0.5, 1.5, 8).astype(np.float32), random.standard_normal(8).astype(np.float32)
    norms = LayerNorm(scale=scale, shift=shift, epsilon=1e-5, count=11), RMSNorm(scale=scale, epsilon=1e-6, count=8)
    odd, first = np.arange(8) % 2 == 1, np.arange(8) < 4
    steps: list[tuple[str, Op, tuple[str, ...]]] = [
        ("x", affine(random, 4, 8, 2.0), ("obs",)),
        ("n", norms[0], ("x",)),
        ("h", affine(random, 8, 8), ("n",)),
        ("e", kind("elu"), ("h",)),
        ("r", Add(), ("x", "e")),
        ("m", norms[1], ("r",)),
        ("g", kind("sigmoid"), ("m",)),
        ("p", Mul(), ("r", "g")),
        ("o", Slice(selected=odd), ("p",)),
        ("f", Slice(selected=first), ("p",)),
        ("c", Concat(parts=3), ("o", "obs", "f")),
        ("outputs", affine(random, 12, 2), ("c",)),
        ("action", free(2), ("outputs",)),
    ]
    nodes = tuple(Node(op=op, inputs=given, outputs=(name,)) for name, op, given in steps)
    graph = Graph(inputs=(Port(name="obs", shape=(4,)),), nodes=nodes, outputs=("action", "outputs"))
    same_on(target, graph, random.standard_normal((200, 4)), bits)
