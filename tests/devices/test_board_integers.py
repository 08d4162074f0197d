"""Every function of integers on small cores: the bits of its twin, also where an int has 16 of them."""

from __future__ import annotations

import numpy as np
import pytest
from compiled_policy import with_wild_rows
from integer_graphs import affine, chain, free, kind
from stub_policies import with_tools

from prunekit.devices.build import build
from prunekit.devices.cores import Core
from prunekit.devices.emulator import EmulatedPolicy
from prunekit.export.c_int8 import int8_to_c
from prunekit.export.quantize import Bits, quantize, run_quantized
from prunekit.graph.op import Op
from prunekit.ops.clip import Clip
from prunekit.ops.prelu import PReLU

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
    seen = random.standard_normal((200, 4)).astype(np.float32)
    quantized = quantize(chain([*ops, affine(random, 8, 2)], 4, free(2)), seen, bits)
    rows = with_wild_rows(np.concatenate([seen[:24], 5.0 * seen[:8]]))
    image = build(int8_to_c(quantized, "policy", {}), target)
    assert image.fits
    with EmulatedPolicy(image) as emulated:
        found = np.asarray([emulated.act(row) for row in rows], np.float32)
    assert found.tobytes() == run_quantized(quantized, rows)[0].tobytes()
