"""Graphs in integers: how near each function and large networks stay, what a table takes, and what is refused."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiled_policy import MISSING, REASON, acted
from integer_graphs import affine, batch_norm, chain, free, kind, residual_network
from numpy.typing import NDArray

from prunekit.errors import InputError
from prunekit.export.c_int8 import int8_to_c
from prunekit.export.integer_activations import activated, fitted, unit_of, z_end
from prunekit.export.integer_curves import end_of, table_of
from prunekit.export.quantize import Bits, quantize, run_quantized
from prunekit.graph.graph import Graph, Node, Port, State
from prunekit.graph.integers import INTEGERS, Curve, Quotient
from prunekit.graph.op import Op
from prunekit.graph.reference import run_step
from prunekit.ops.activation_kinds import KINDS
from prunekit.ops.add import Add
from prunekit.ops.affine import Affine
from prunekit.ops.clip import Clip
from prunekit.ops.concat import Concat
from prunekit.ops.flatten import Flatten
from prunekit.ops.gru import GRU
from prunekit.ops.l2_norm import L2Norm
from prunekit.ops.layer_norm import LayerNorm
from prunekit.ops.maximum import Maximum
from prunekit.ops.mul import Mul
from prunekit.ops.normalize import Normalize
from prunekit.ops.prelu import PReLU
from prunekit.ops.reshape import Reshape
from prunekit.ops.rms_norm import RMSNorm
from prunekit.ops.scale_shift import ScaleShift
from prunekit.ops.slice import Slice

BOTH = pytest.mark.parametrize("bits", [16, 8])
CURVES = ["elu", "celu", "selu", "silu", "gelu", "gelu_tanh", "mish", "softplus", "hardswish"]
needs_compilers = pytest.mark.skipif(bool(MISSING), reason=REASON)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def float_actions(graph: Graph, rows: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(run_step(graph, {"obs": rows}, {})[0][graph.outputs[0]])


def relative_error(graph: Graph, bits: Bits, inputs: int = 4) -> float:
    """Return the largest error of actions on new observations, over the largest action."""
    seen, rows = (
        generator(seed).standard_normal((count, inputs)).astype(np.float32) for seed, count in ((1, 600), (2, 200))
    )
    rows = np.clip(rows, seen.min(axis=0), seen.max(axis=0))
    wanted = float_actions(graph, rows)
    found = run_quantized(quantize(graph, seen, bits), rows)[0]
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


@BOTH
@pytest.mark.parametrize("reach", [1.0, 3.0, 10.0, 100.0])
@pytest.mark.parametrize("name", [*CURVES, "softsign"])
def test_a_function_is_within_a_few_steps_of_itself(name: str, reach: float, bits: Bits) -> None:
    step, *_ = INTEGERS.of(kind(name), name)(kind(name))
    assert isinstance(step, Curve | Quotient)
    meant = np.linspace(-reach, reach, 2001)

    def function(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return step.function(x) if isinstance(step, Curve) else x / (1.0 + np.abs(x))

    end = z_end(step, meant, function(meant), bits)
    table = table_of(step, min(end_of(step, bits), end), bits) if isinstance(step, Curve) else None
    z = np.arange(-32_767, 32_768)
    x = z * (end / 32_767)
    x, z = x[np.abs(x) <= reach], z[np.abs(x) <= reach]
    found = activated(fitted(step, end, table), z, np.zeros(0, np.int64), bits)
    error = np.abs(found - function(x) / unit_of(step, end, bits))
    assert error.max() < 2.2
    assert np.sqrt((error**2).mean()) < 0.6


@BOTH
@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_activation_stays_near_float32(name: str, bits: Bits) -> None:
    random = generator()
    ops: list[Op] = [affine(random, 4, 24, 2.0), kind(name), affine(random, 24, 24, 2.0), kind(name)]
    graph = chain([*ops, affine(random, 24, 3)], 4, free(3))
    assert relative_error(graph, bits) < (0.01 if bits == 16 else 0.12)


@BOTH
def test_clips_slopes_and_scales_stay_near_float32(bits: Bits) -> None:
    random = generator()
    slopes = (2.0 * random.standard_normal(24)).astype(np.float32)
    steps: dict[str, list[Op]] = {
        "relu6": [Clip(low=0.0, high=6.0)],
        "hardtanh": [Clip(low=-1.0, high=1.0)],
        "half open": [Clip(low=-0.25, high=math.inf)],
        "never there": [Clip(low=30.0, high=math.inf)],
        "relu then clip": [kind("relu"), Clip(low=-1.0, high=0.5)],
        "slopes": [PReLU(slope=slopes)],
        "one steep slope": [kind("leaky_relu", 7.5)],
        "scaled before": [batch_norm(random, 24), kind("elu")],
        "scaled behind": [kind("elu"), batch_norm(random, 24), batch_norm(random, 24)],
        "in another shape": [Reshape(shape=(4, 6)), kind("elu"), Flatten()],
        "nothing": [],
    }
    for what, between in steps.items():
        ops: list[Op] = [batch_norm(random, 4), affine(random, 4, 24, 2.0), *between, affine(random, 24, 3)]
        assert relative_error(chain(ops, 4, free(3)), bits) < (0.01 if bits == 16 else 0.12), what


def test_a_normalizer_may_be_a_scale_and_a_clip() -> None:
    """Its range is then that of the clip, as a normalizer's."""
    random = generator()
    mean, scale = np.float32([0.5, -1.0, 2.0, 0.0]), np.float32([2.0, 0.5, 1.0, 4.0])
    layer = affine(random, 4, 3)
    seen = (3.0 * random.standard_normal((300, 4))).astype(np.float32)
    norm = batch_norm(random, 4)
    one = quantize(chain([Normalize(mean=mean, scale=scale, clip=1.5), layer], 4, free(3)), seen)
    reach = one.limit / one.gain.astype(np.float64)
    assert (reach <= 1.5 / scale * 1.001).all()
    # One of its scales is zero, so that it is a scale and a clip of their own.
    ops: list[Op] = [norm, Clip(low=-1.5, high=1.5), layer]
    wanted = float_actions(chain(ops, 4, free(3)), seen)
    found = run_quantized(quantize(chain(ops, 4, free(3)), seen), seen)[0]
    assert np.abs(found - wanted).max() < 0.01 * np.abs(wanted).max()


@BOTH
def test_residual_blocks_with_norms_stay_near_float32(bits: Bits) -> None:
    graph = residual_network(generator(), 4, 24, 3)
    assert relative_error(graph, bits) < (0.01 if bits == 16 else 0.12)


@BOTH
def test_every_op_that_mixes_values_stays_near_float32(bits: Bits) -> None:
    random = generator()
    scale, some = random.uniform(0.5, 1.5, 8).astype(np.float32), np.arange(8) % 3 > 0
    ends: dict[str, tuple[Op, tuple[str, ...], int]] = {
        "sum": (Add(), ("a", "b"), 8),
        "product": (Mul(), ("a", "b"), 8),
        "square": (Mul(), ("a", "a"), 8),
        "side by side": (Concat(parts=3), ("a", "obs", "b"), 20),
        "some": (Slice(selected=some), ("b",), int(some.sum())),
        "difference": (Add(), ("a", "minus"), 8),
        "layer norm": (LayerNorm(scale=scale, shift=scale, epsilon=0.1, count=8), ("b",), 8),
        "after units have gone": (LayerNorm(scale=scale, shift=scale, epsilon=1e-5, count=20), ("b",), 8),
        "root mean square": (RMSNorm(scale=scale, epsilon=1e-5, count=8), ("b",), 8),
        "of what is shifted": (RMSNorm(scale=scale, epsilon=1e-5, count=8), ("minus",), 8),
        "a function of a sum": (kind("silu"), ("sum",), 8),
    }
    begin = [
        Node(op=affine(random, 4, 8), inputs=("obs",), outputs=("h",)),
        Node(op=kind("tanh"), inputs=("h",), outputs=("a",)),
        Node(op=affine(random, 4, 8, 3.0), inputs=("obs",), outputs=("b",)),
        Node(op=ScaleShift(scale=np.full(8, -1.0, "f4"), shift=2.0 * scale), inputs=("b",), outputs=("minus",)),
        Node(op=Add(), inputs=("a", "obs2"), outputs=("sum",)),
    ]
    begin.insert(3, Node(op=affine(random, 4, 8), inputs=("obs",), outputs=("obs2",)))
    for what, (op, given, width) in ends.items():
        end = [
            Node(op=op, inputs=given, outputs=("y",)),
            Node(op=affine(random, width, 3), inputs=("y",), outputs=("o",)),
        ]
        graph = Graph(inputs=(Port(name="obs", shape=(4,)),), nodes=(*begin, *end), outputs=("o",))
        assert relative_error(graph, bits) < (0.01 if bits == 16 else 0.12), what


@BOTH
def test_values_of_the_middle_may_reach_the_tail(bits: Bits) -> None:
    """Two last layers, as in a dueling network, a hidden value, and one of the observation's."""
    random = generator()
    nodes = [
        Node(op=affine(random, 4, 8, 2.0), inputs=("obs",), outputs=("h",)),
        Node(op=kind("elu"), inputs=("h",), outputs=("e",)),
        Node(op=affine(random, 8, 4), inputs=("e",), outputs=("v",)),
        Node(op=affine(random, 8, 4), inputs=("e",), outputs=("w",)),
        Node(op=Add(), inputs=("v", "w"), outputs=("s",)),
        Node(op=Concat(parts=3), inputs=("s", "e", "obs"), outputs=("outputs",)),
    ]
    graph = Graph(inputs=(Port(name="obs", shape=(4,)),), nodes=tuple(nodes), outputs=("outputs",))
    assert relative_error(graph, bits) < (0.01 if bits == 16 else 0.12)


def in_distribution(random: np.random.Generator, rows: int) -> NDArray[np.float32]:
    """Return observations [rows, 45] that say twelve things and a little of their own, as a robot's joints do."""
    mix = generator(99).standard_normal((12, 45)) / 12**0.5
    return (random.standard_normal((rows, 12)) @ mix + 0.1 * random.standard_normal((rows, 45))).astype(np.float32)


@pytest.mark.parametrize("name", ["elu", "silu", "gelu"])
def test_a_robot_s_policy_keeps_its_actions_within_a_hundredth(name: str) -> None:
    random = generator(5)
    ops: list[Op] = []
    for before, after in pairwise([45, 512, 256, 128, 12]):
        ops += [affine(random, before, after, 1.4 if after > 12 else 1.0), kind(name)]
    graph = chain(ops[:-1], 45, free(12))
    seen, rows = in_distribution(random, 1500), in_distribution(random, 300)
    rows = rows[((rows > seen.min(axis=0)) & (rows < seen.max(axis=0))).all(axis=1)]
    wanted = float_actions(graph, rows)
    error = run_quantized(quantize(graph, seen), rows)[0] - wanted
    assert len(rows) > 200
    assert np.abs(error).max() < 0.01 * np.abs(wanted).max()
    assert np.sqrt((error**2).mean()) < 0.005 * wanted.std()


@BOTH
def test_layers_share_the_table_of_their_function(bits: Bits) -> None:
    random = generator()
    size = {16: 2 * 257, 8: 256}[bits]
    for name, sides in (("elu", 1), ("silu", 1), ("mish", 2), ("softsign", 0), ("hardsigmoid", 0), ("relu", 0)):
        ops: list[Op] = [affine(random, 4, 6), kind(name), affine(random, 6, 6, 9.0), kind(name), affine(random, 6, 2)]
        quantized = quantize(chain(ops, 4, free(2)), random.standard_normal((60, 4)).astype(np.float32), bits)
        sizes = int8_to_c(quantized, "p", {}).constant_bytes
        assert sizes.count(size * sides) == (1 if sides else 0), name
        assert len(quantized.curves) == (1 if sides else 0)


@needs_compilers
@BOTH
def test_functions_of_one_name_and_other_numbers_have_tables_of_their_own(bits: Bits, tmp_path: Path) -> None:
    random = generator()
    one, other = kind("elu", 1.0), kind("elu", 0.5)
    ops: list[Op] = []
    for op in (one, other, one, PReLU(slope=random.standard_normal(6).astype(np.float32)), Clip(low=-0.1, high=2.0)):
        ops += [affine(random, 6, 6, 2.0), op]
    seen = random.standard_normal((80, 6)).astype(np.float32)
    quantized = quantize(chain([*ops, affine(random, 6, 2)], 6, free(2)), seen, bits)
    assert len(quantized.curves) == 2
    code = int8_to_c(quantized, "p", {})
    assert code.source.count("static int8_t p_int_elu" if bits == 8 else "static int16_t p_int_elu") == 2
    assert acted(code, seen, tmp_path).tobytes() == run_quantized(quantized, seen)[0].tobytes()


@BOTH
def test_the_range_of_a_curve_ends_where_it_is_flat(bits: Bits) -> None:
    """What lies far below zero takes nothing from the resolution of the rest."""
    meant = np.linspace(-1000.0, 3.0, 500)
    for name in CURVES:
        step = next(step for step in INTEGERS.of(kind(name), name)(kind(name)) if isinstance(step, Curve))
        end = z_end(step, meant, step.function(meant), bits)
        assert end == max(end_of(step, bits), 1.25 * 3.0, 1.25 * float(step.function(meant).max()))
        assert end < 12.0


SEEN = generator(3).standard_normal((40, 4)).astype(np.float32)


def refused(
    nodes: list[Node], match: str, *, inputs: tuple[str, ...] = ("obs",), states: tuple[State, ...] = ()
) -> None:
    ports = tuple(Port(name=name, shape=(4,)) for name in inputs)
    graph = Graph(inputs=ports, nodes=tuple(nodes), outputs=("outputs",), states=states)
    with pytest.raises(InputError, match=match):
        quantize(graph, SEEN)


def test_what_integers_cannot_do_is_refused_by_name() -> None:
    random = generator()
    square, last = affine(random, 4, 4), Node(op=affine(random, 4, 2), inputs=("y",), outputs=("outputs",))
    first = Node(op=square, inputs=("obs",), outputs=("x",))
    ones, zeros = np.ones(4, np.float32), np.zeros(4, np.float32)
    norm = Node(op=L2Norm(epsilon=1e-5), inputs=("x",), outputs=("y",))
    refused([first, norm, last], r"'y': L2Norm has no form for integers; export without `int8`")
    larger = Node(op=Maximum(), inputs=("x", "obs"), outputs=("y",))
    refused([first, larger, last], r"node 'y': Maximum has no form for integers; export without `int8`")
    gru = GRU(w_x=np.ones((12, 4), np.float32), w_h=np.ones((12, 4), np.float32), b_x=np.ones(12), b_h=np.ones(12))
    step = Node(op=gru, inputs=("x", "h"), outputs=("y",))
    refused(
        [first, step, last], r"'y': GRU has no form for integers", states=(State(before="h", after="y", initial=zeros),)
    )
    read = Node(op=square, inputs=("x",), outputs=("y",))
    refused([first, read, last], r"int8 C takes one input, but the policy has obs, mask", inputs=("obs", "mask"))
    two = Reshape(shape=(2, 2))
    for op in (affine(random, 2, 2), Concat(parts=1), LayerNorm(scale=ones[:2], shift=zeros[:2], epsilon=1.0, count=2)):
        kept = op if isinstance(op, Concat | LayerNorm) else None
        end = [] if kept is None else [Node(op=Flatten(), inputs=("z",), outputs=("flat",))]
        end += [] if kept is None else [Node(op=affine(random, 4, 2), inputs=("flat",), outputs=("outputs",))]
        made = "outputs" if kept is None else "z"
        rows = [Node(op=two, inputs=("obs",), outputs=("y",)), Node(op=op, inputs=("y",), outputs=(made,))]
        refused([*rows, *end], rf"'{made}' \({type(op).__name__}\) takes several rows, \[2, 2\]")
    refused([Node(op=kind("elu"), inputs=("obs",), outputs=("outputs",))], "no layer of weights")
    wide = LayerNorm(scale=ones, shift=zeros, epsilon=1e-5, count=5_000)
    refused(
        [first, Node(op=wide, inputs=("x",), outputs=("y",)), last],
        r"'y' \(LayerNorm\): takes statistics of 5000 values",
    )
    huge = LayerNorm(scale=ones, shift=zeros, epsilon=1e9, count=4)
    refused(
        [first, Node(op=huge, inputs=("x",), outputs=("y",)), last], r"'y' \(LayerNorm\): its epsilon, 1e\+09, is far"
    )


@pytest.mark.parametrize("recorded", [np.ones((3, 7)), np.ones(4), np.ones((0, 3)), [[1.0, 2.0]], np.full((2, 4), "x")])
def test_recorded_observations_have_the_shape_of_the_policy_s(recorded: Any) -> None:
    graph = chain([affine(generator(), 4, 2)], 4, free(2))
    with pytest.raises(InputError, match=r"recorded observations must be numbers \[n, 4\], got "):
        quantize(graph, recorded)
    quantize(graph, [[1.0, 2.0, 3.0, 4.0], [2.0, 2.0, 3.0, 5.0]])  # type: ignore[arg-type]


def test_outputs_beyond_float32_are_refused_by_name() -> None:
    layer = Affine(weight=np.full((2, 4), 3e38, np.float32), bias=np.zeros(2, np.float32))
    with pytest.raises(InputError, match=r"node 'outputs': its values are beyond float32"):
        quantize(chain([layer], 4, free(2)), 1e20 * SEEN)
    hidden = Affine(weight=np.full((2, 4), 3e38, np.float32), bias=np.zeros(2, np.float32))
    bent = quantize(chain([hidden, kind("tanh"), affine(generator(), 2, 2)], 4, free(2)), 1e20 * SEEN)
    assert np.isfinite(run_quantized(bent, 1e20 * SEEN)[0]).all()


def test_a_function_that_never_settles_is_refused_by_name() -> None:
    curve = Curve(name="square", function=lambda x: x * x)
    with pytest.raises(InputError, match="'square' has no integer form: far from 0 it is neither constant nor x"):
        end_of(curve, 16)
