"""Law 2, the other way round: an export that disagrees is noticed, and nothing is written."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from law_strategies import Deployed, deployed, fill_
from numpy.typing import NDArray
from torch import nn

from prunekit.activations import Activation
from prunekit.errors import ExportMismatchError, InputError
from prunekit.export.onnx import export_onnx, to_onnx
from prunekit.policy.actor import Actor, Normalizer
from prunekit.policy.graphs import graph_of
from prunekit.policy.heads import ArgmaxHead, ClipHead, Head, TanhHead
from prunekit.policy.oracle import run_oracle
from prunekit.policy.program import Activate, Affine, Normalize, Op, Program, lower

TOLERANCE = 1e-5


def small_actor(head: Head) -> Actor:
    """Return an actor whose clip only far outliers reach, and whose units do not saturate there."""
    network = nn.Sequential(nn.Linear(3, 6), nn.LeakyReLU(), nn.Linear(6, 2))
    fill_(network, seed=7)
    return Actor(network, head, Normalizer([1.0, -2.0, 30.0], [1.0, 0.5, 4.0], 20.0))


@pytest.mark.parametrize("normalized", [True, False], ids=["normalizer", "no-normalizer"])
def test_a_float64_actor_is_exported_or_refused_as_input(normalized: bool, tmp_path: Path) -> None:
    actor = small_actor(ClipHead(low=(-1.0, -1.0), high=(1.0, 1.0))).double()
    if not normalized:
        actor.normalizer = None
    try:
        report = export_onnx(actor, tmp_path / "policy.onnx", {})
    except InputError:
        return
    assert report.largest_difference < TOLERANCE


def with_op(program: Program, kind: type[Op], change: Callable[[Any], tuple[Op, ...]]) -> Program:
    index = next(i for i, op in enumerate(program.ops) if isinstance(op, kind))
    return replace(program, ops=program.ops[:index] + change(program.ops[index]) + program.ops[index + 1 :])


CLIP, TANH = ClipHead(low=(-0.25, -0.5), high=(0.25, 0.5)), TanhHead(low=(-1.0, 0.0), high=(1.0, 3.0))
FAULTS: dict[str, tuple[Head, Callable[[Program], Program]]] = {
    "no normalizer": (CLIP, lambda p: with_op(p, Normalize, lambda op: ())),
    "no clip": (CLIP, lambda p: with_op(p, Normalize, lambda op: (replace(op, clip=1e9),))),
    "clip too narrow": (CLIP, lambda p: with_op(p, Normalize, lambda op: (replace(op, clip=19.9),))),
    "wrong mean": (CLIP, lambda p: with_op(p, Normalize, lambda op: (replace(op, mean=op.mean + 0.01),))),
    "one weight": (CLIP, lambda p: with_op(p, Affine, lambda op: (replace(op, weight=nudged(op.weight)),))),
    "one bias": (CLIP, lambda p: with_op(p, Affine, lambda op: (replace(op, bias=nudged(op.bias)),))),
    "no activation": (CLIP, lambda p: with_op(p, Activate, lambda op: ())),
    "wrong activation": (CLIP, lambda p: with_op(p, Activate, lambda op: (Activate(Activation(name="relu")),))),
    "no bounds": (CLIP, lambda p: replace(p, head=ClipHead(low=(-np.inf,) * 2, high=(np.inf,) * 2))),
    "swapped bounds": (CLIP, lambda p: replace(p, head=ClipHead(low=CLIP.low[::-1], high=CLIP.high[::-1]))),
    "clip for tanh": (TANH, lambda p: replace(p, head=ClipHead(low=TANH.low, high=TANH.high))),
    "wrong range": (TANH, lambda p: replace(p, head=TanhHead(low=TANH.low, high=(1.0, 2.9)))),
    "wrong start": (ArgmaxHead(1), lambda p: replace(p, head=ArgmaxHead(0))),
}


def nudged(values: NDArray[np.float32]) -> NDArray[np.float32]:
    result = values.copy()
    result.flat[0] += np.float32(0.001)
    return result


@pytest.mark.parametrize("at", ["to_onnx", "graph_from"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_export_is_noticed_and_not_written(fault: str, at: str, tmp_path: Path) -> None:
    """A fault in ``to_onnx`` makes ONNX Runtime wrong alone, one in ``graph_from`` the reference with it."""
    head, broken = FAULTS[fault]
    path = tmp_path / "policy.onnx"
    path.write_bytes(b"what stood here before")
    wrong = {
        "to_onnx": lambda _, metadata: to_onnx(graph_of(broken(lower(small_actor(head)))), metadata),
        "graph_from": lambda actor: graph_of(broken(lower(actor))),
    }
    with mock.patch(f"prunekit.export.onnx.{at}", wrong[at]), pytest.raises(ExportMismatchError):
        export_onnx(small_actor(head), path, {})
    assert [entry.name for entry in tmp_path.iterdir()] == ["policy.onnx"]
    assert path.read_bytes() == b"what stood here before"


@settings(deadline=None, max_examples=40)
@given(deployed(plain_end=True), st.data())
def test_one_wrong_output_bias_is_noticed_in_any_actor(case: Deployed, data: st.DataObject) -> None:
    program = lower(case.actor)
    layer = program.layers[-1]
    scale = max(1.0, float(np.abs(run_oracle(program, case.observations.astype(np.float64))[1]).max()))
    bias = layer.bias.copy()
    bias[data.draw(st.integers(0, len(bias) - 1))] += np.float32(0.01 * scale)
    wrong = to_onnx(graph_of(replace(program, ops=(*program.ops[:-1], replace(layer, bias=bias)))), {})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.onnx"
        with mock.patch("prunekit.export.onnx.to_onnx", return_value=wrong), pytest.raises(ExportMismatchError):
            export_onnx(case.actor, path, {})
        assert not list(Path(folder).iterdir())
