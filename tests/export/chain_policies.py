"""Policies that are chains, of every activation, head and normalizer, and the digests that their C had when it was
written from a list of layers. Weights come from integers, so that no library's generator is in the digests.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from prunekit.activations import KINDS, Activation
from prunekit.export.c_code import CCode
from prunekit.export.c_text import IN_CPP, WITHOUT_FUSED
from prunekit.policy.heads import ArgmaxHead, ClipHead, Head, TanhHead
from prunekit.policy.program import Activate, Affine, Normalize, Op, Program
from prunekit.versions import installed_versions

CHAIN_HEADS: dict[str, Head] = {
    "argmax": ArgmaxHead(),
    "argmax-from-5": ArgmaxHead(5),
    "argmax-from-minus-7": ArgmaxHead(-7),
    "clip": ClipHead(low=(-0.1, -0.2, -0.3), high=(0.3, 0.05, 0.1)),
    "clip-one-range": ClipHead(low=(-1.0,) * 3, high=(1.0,) * 3),
    "clip-unbounded": ClipHead(low=(-math.inf, -0.1, -math.inf), high=(math.inf,) * 3),
    "tanh": TanhHead(low=(-2.0, 0.0, -0.3), high=(2.0, 1.0, 0.1)),
    "tanh-one-range": TanhHead(low=(-1.0,) * 3, high=(1.0,) * 3),
}
METADATA = {
    "env": {"id": "Hopper-v5"},
    "teacher": {"name": "teacher.zip"},
    "certificate": {"verdict": "certified", "claim": "With confidence 95%, it keeps at least 95% of the return."},
}


def _numbers(*shape: int, seed: int) -> NDArray[np.float32]:
    count = math.prod(shape)
    values = (np.arange(count, dtype=np.int64) * 7919 + 104_729 * seed) % 2_003
    return ((values - 1_001) / 1_000.0).reshape(shape).astype(np.float32)


def chain(
    widths: Sequence[int], activations: Sequence[Activation | None], head: Head, clip: float | None = None
) -> Program:
    """Return a chain of layers between ``widths``, one of ``activations`` before the first and after each of them."""
    ops: list[Op] = []
    if clip is not None:
        scale = np.abs(_numbers(widths[0], seed=1)) + np.float32(0.5)
        ops.append(Normalize(mean=_numbers(widths[0], seed=2), scale=scale, clip=clip))
    for index, pair in enumerate([(0, widths[0]), *pairwise(widths)]):
        if index:
            ops.append(
                Affine(weight=_numbers(pair[1], pair[0], seed=3 + index), bias=_numbers(pair[1], seed=30 + index))
            )
        activation = activations[index] if index < len(activations) else None
        if activation is not None:
            ops.append(Activate(activation))
    return Program(ops=tuple(ops), head=head)


def chains() -> Iterator[tuple[str, Program]]:
    """Yield named policies: all heads with all normalizers, all activations, many widths, odd places."""
    tanh = Activation(name="tanh")
    for name, head in CHAIN_HEADS.items():
        for clip in (None, 3.0, math.inf):
            yield f"{name}, clip {clip}", chain((4, 9, 7, 3), (None, tanh, tanh), head, clip)
    kinds = [
        Activation(name=kind.name, parameter=p)
        for kind in KINDS.values()
        for p in (kind.default, 0.3)
        if kind.name != "identity"
    ]
    kinds = [a for a in kinds if KINDS[a.name].attribute or a.parameter != 0.3]
    for kind in kinds:
        for name in ("clip", "tanh"):
            yield f"{kind}, {name}", chain((5, 8, 3), (None, kind), CHAIN_HEADS[name], 10.0)
    yield "all", chain((4, *range(2, 2 + len(kinds)), 3), (None, *kinds), CHAIN_HEADS["argmax"])
    yield "backwards", chain((4, *range(20, 20 + len(kinds)), 3), (None, *reversed(kinds)), CHAIN_HEADS["tanh"])
    yield "one layer", chain((6, 3), (), CHAIN_HEADS["clip"], 5.0)
    yield "after the last", chain((6, 6, 3), (None, tanh, kinds[2]), CHAIN_HEADS["clip"])
    yield "before the first", chain((7, 6, 3), (tanh, kinds[1]), CHAIN_HEADS["argmax"], 5.0)
    yield "wide", chain((17, 128, 64, 3), (None, tanh, tanh), CHAIN_HEADS["clip-one-range"], 10.0)
    yield "every rest", chain((1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 14, 15, 16, 40, 3), (None, tanh), CHAIN_HEADS["tanh"])


def rows_for(program: Program) -> NDArray[np.float32]:
    """Return observations [9, inputs] to make a self-test of."""
    return 2.0 * _numbers(9, program.inputs, seed=77)


def digest(code: CCode) -> str:
    """Return what the files and figures of ``code`` come to, whatever the version of prunekit."""
    version = installed_versions(("prunekit",))["prunekit"]
    header = code.header.replace(f"prunekit {version};", "prunekit VERSION;", 1)
    header = header.replace(" parameters.", " weights.", 1)  # as the comment said when the digests were taken
    source = code.source.replace(IN_CPP, "", 1).replace(WITHOUT_FUSED, "", 1)
    told = (header, source, code.name, code.inputs, code.outputs, code.constant_bytes, code.wide)
    return hashlib.sha256(repr(told).encode()).hexdigest()
