"""An op from outside of the package goes through groups, masks, surgery, torch, ONNX and C; no list there has it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, final

import numpy as np
import pytest
import torch
from compiled_policy import MISSING, REASON, acted
from torch import Tensor, nn

import prunekit
from prunekit.errors import CouplingError
from prunekit.export.c_float import float_to_c, run_float32
from prunekit.export.session import onnxruntime
from prunekit.graph.c.functions import function, horner, polynomial
from prunekit.graph.c.literals import Float32, c_float
from prunekit.graph.c.writer import CValue, CWriter
from prunekit.graph.forms import MACS, ONNX, TORCH, TWIN, C
from prunekit.graph.graph import Port
from prunekit.graph.groups import find_groups
from prunekit.graph.lifting import Lifted, Traced, array_of, from_module, modules, resized, resizes
from prunekit.graph.onnx import OnnxWriter, to_onnx
from prunekit.graph.op import OPS, Array, Coupling, Spec, like, register_op, require_floats, require_vectors, unitwise
from prunekit.graph.reference import run_step
from prunekit.graph.surgery import shrink, zeroed
from prunekit.graph.to_torch import GraphModule
from prunekit.graph.tracing import trace
from prunekit.pruning.groups import find_groups as find_module_groups
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.pruner import Pruner
from prunekit.pruning.schedules import Sparsity


class Snake(nn.Module):
    """x + sin(rate x)^2, with a rate per unit."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.linspace(0.5, 2.0, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.sin(self.rate * x) ** 2


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SnakeOp:
    """What ``Snake`` computes; rate [n]."""

    rate: Array
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        require_floats(given, last=require_vectors(rate=self.rate))
        return (given[0],)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        return unitwise(given[0], ("x", "y"), ("rate",))

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        return (values[0] + np.sin(like(self.rate, values[0]) * values[0]) ** 2,)


def torch_form(_: SnakeOp, constants: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
    return (x + torch.sin(constants["rate"] * x) ** 2,)


def onnx_form(op: SnakeOp, writer: OnnxWriter, x: str) -> tuple[str, ...]:
    wave = writer.add("Sin", [writer.add("Mul", [x, writer.constant(op.rate)])])
    return (writer.add("Add", [x, writer.add("Mul", [wave, wave])]),)


# sin(x)^2 has the period pi: what is left is at most pi / 2, where this series of sin(x) / x is within 4e-6.
PI, SERIES = math.pi, (1.0, -1.0 / 6.0, 1.0 / 120.0, -1.0 / 5040.0, 1.0 / 362880.0)
WAVE = function(
    f"    const float n = (float)(int32_t)(x * {c_float(1.0 / PI)} + (x < 0.0f ? -0.5f : 0.5f));\n"
    f"    const float r = x - n * {c_float(PI)};\n    const float t = r * r;\n"
    f"    const float s = r * {horner(SERIES)};\n    return s * s;\n"
)


def c_form(op: SnakeOp, writer: CWriter, x: CValue) -> tuple[CValue, ...]:
    writer.functions.append(WAVE(writer.name, "wave"))
    rate = writer.load(writer.constant("rate", op.rate), x.unit)
    y = writer.over(x)
    writer.each(y, f"{x.text}[i] + {writer.name}_wave({rate} * {x.text}[i])")
    return (y,)


def twin_form(op: SnakeOp, x: Float32) -> tuple[Float32, ...]:
    v, half = op.rate * x, np.float32(0.5)
    n = np.trunc(v * np.float32(1.0 / PI) + np.where(v < 0.0, -half, half)).astype(np.float32)
    r = v - n * np.float32(PI)
    s = r * polynomial(SERIES, r * r)
    return (x + s * s,)


def read(module: Snake, x: Traced) -> Lifted:
    return Lifted(op=SnakeOp(rate=array_of(module.rate)), inputs=(x,), attributes={"rate": "rate"})


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    register_op(SnakeOp)
    TORCH.register(SnakeOp)(torch_form)
    ONNX.register(SnakeOp)(onnx_form)
    C.register(SnakeOp)(c_form)
    TWIN.register(SnakeOp)(twin_form)
    MACS.register(SnakeOp)(lambda op, given: 0)
    from_module(lambda: (Snake,))(read)
    resized(lambda: (Snake,))(lambda module: module)
    yield
    del OPS["SnakeOp"], modules()[Snake]
    resizes().pop(Snake, None)


@pytest.mark.skipif(bool(MISSING), reason=REASON)
def test_it_is_traced_grouped_shrunk_and_exported(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 6), Snake(6), nn.LayerNorm(6), nn.Linear(6, 2))
    with torch.no_grad():
        network[0].weight[2] = 0.0
    traced = trace(network, (Port(name="obs", shape=(4,)),))
    assert (1, "rate") in traced.paths
    (group,) = find_groups(traced.graph)
    assert sum(traced.graph.nodes[piece.node].op is traced.graph.nodes[1].op for piece in group.slices) == 1
    masks = {group.name: np.array([True, False, False, True, True, False])}
    small, zero = shrink(traced.graph, masks), zeroed(traced.graph, masks)
    assert small.nodes[1].op.rate.shape == (3,)  # type: ignore[attr-defined]
    inputs = np.random.default_rng(0).standard_normal((16, 4)).astype(np.float32)
    expected = run_step(zero, {"obs": inputs}, {})[0]["outputs"]
    np.testing.assert_allclose(run_step(small, {"obs": inputs}, {})[0]["outputs"], expected, rtol=0.0, atol=1e-12)
    session = onnxruntime.InferenceSession(to_onnx(small))
    np.testing.assert_allclose(session.run(None, {"obs": inputs})[0], expected, rtol=0.0, atol=1e-5)
    with torch.no_grad():
        np.testing.assert_allclose(
            GraphModule(small)(torch.from_numpy(inputs))[0].numpy(), expected, rtol=0.0, atol=1e-5
        )
    twin = run_float32(small, {"obs": inputs})["outputs"]
    np.testing.assert_allclose(twin, expected, rtol=0.0, atol=2e-5)
    assert acted(float_to_c(small, "p", {}), inputs, tmp_path).tobytes() == twin.tobytes()


@pytest.mark.parametrize("live_shrink", [False, True])
def test_it_is_pruned_while_it_trains(live_shrink: bool) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 12), Snake(12), nn.Linear(12, 2)).double()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    pruner = Pruner(
        network, optimizer, 60, PruningPlan(threshold=Sparsity(0.5), strength=0.1, checks=20), live_shrink=live_shrink
    )
    generator = torch.Generator().manual_seed(1)
    for _ in range(60):
        states = torch.randn(32, 4, generator=generator, dtype=torch.float64)
        optimizer.zero_grad()
        (network(states) - states[:, :2].sin()).square().mean().backward()
        optimizer.step()
    assert pruner.frozen
    assert len(network[1].rate) == (6 if live_shrink else 12)
    assert int((network[1].rate != 0.0).sum()) == 6
    small = prunekit.shrink(network, pruner.masks)
    assert small[1].rate.shape == (6,)
    torch.testing.assert_close(small(states), network(states), rtol=0.0, atol=1e-12)


def test_a_module_that_nothing_resizes_is_refused_by_name() -> None:
    resizes().pop(Snake)
    with pytest.raises(CouplingError, match=r"module '1' \(Snake\) cannot lose units: nothing says how it is resized"):
        find_module_groups(nn.Sequential(nn.Linear(4, 6), Snake(6), nn.Linear(6, 2)))
