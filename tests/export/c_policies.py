"""Small policies, and their C in each form that ``prunekit export --format c`` writes, beside what it must answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from compiled_policy import float_c, twin
from numpy.typing import NDArray
from torch import nn

from prunekit.export.c_code import CCode
from prunekit.export.c_int8 import int8_to_c
from prunekit.export.quantize import quantize, run_quantized
from prunekit.policy.actor import Actor, Normalizer
from prunekit.policy.graphs import graph_of
from prunekit.policy.heads import ArgmaxHead, ClipHead, Head, TanhHead
from prunekit.policy.program import Program, lower

INF = math.inf
FORMS = ("float32", "w8a16", "w8a8")
HEADS: dict[str, Head] = {
    "argmax": ArgmaxHead(),
    "argmax-from-5": ArgmaxHead(5),
    "argmax-from-minus-7": ArgmaxHead(-7),
    "clip": ClipHead(low=(-0.1, -0.2, -0.3), high=(0.3, 0.05, 0.1)),
    "clip-half-open": ClipHead(low=(-INF, -0.1, -INF), high=(0.1, INF, INF)),
    "clip-unbounded": ClipHead(low=(-INF,) * 3, high=(INF,) * 3),
    "tanh": TanhHead(low=(-2.0, 0.0, -0.3), high=(2.0, 1.0, 0.1)),
}
INPUTS = 4
NORMALIZER = Normalizer([0.5, -1.0, 2.0, 0.0], [2.0, 0.5, 1.0, 4.0], 3.0)


def program(
    head: Head,
    activation: Callable[[], nn.Module] = nn.Tanh,
    hidden: Sequence[int] = (9, 7),
    normalizer: Normalizer | None = None,
    gain: float = 2.0,
) -> Program:
    """Return a random policy of ``INPUTS`` inputs and three outputs, its weights ``gain`` times torch's first ones."""
    torch.manual_seed(3)
    widths = [INPUTS, *hidden, 3]
    modules: list[nn.Module] = []
    for before, after in pairwise(widths):
        modules += [nn.Linear(before, after), activation()]
    network = nn.Sequential(*modules[:-1])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(gain)
    return lower(Actor(network, head, normalizer))


def observations(rows: int = 64, seed: int = 0) -> NDArray[np.float32]:
    """Return observations [rows, INPUTS], some of them beyond the clip of ``NORMALIZER``."""
    return (1.5 * np.random.default_rng(seed).normal(size=(rows, INPUTS))).astype(np.float32)


def as_c(
    policy: Program,
    form: str,
    seen: NDArray[np.float32],
    name: str = "some_policy",
    metadata: Mapping[str, Any] | None = None,
    self_test: bool = False,
) -> CCode:
    """Return ``policy`` as C in ``form``, fitted to and tested on the observations ``seen``."""
    tested = seen[:8] if self_test else None
    if form == "float32":
        return float_c(policy, name, metadata or {}, tested)
    quantized = quantize(graph_of(policy), seen, 16 if form == "w8a16" else 8)
    return int8_to_c(quantized, name, metadata or {}, tested)


def twin_actions(policy: Program, form: str, seen: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[Any]:
    """Return what the C that ``as_c`` writes must answer to ``rows``."""
    if form == "float32":
        return twin(policy, rows)[0]
    return run_quantized(quantize(graph_of(policy), seen, 16 if form == "w8a16" else 8), rows)[0]
