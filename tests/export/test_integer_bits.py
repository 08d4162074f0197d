"""Policies of tanh, sigmoid and rectifiers in integers: their C, numbers included, stays what it was, to the letter."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from c_policies import HEADS, NORMALIZER, observations, program
from numpy.typing import NDArray
from torch import nn

from prunekit.export.c_int8 import int8_to_c
from prunekit.export.c_text import WITHOUT_FUSED
from prunekit.export.quantize import quantize
from prunekit.graph.graph import Graph
from prunekit.policy.artifact import load
from prunekit.policy.graphs import graph_of
from prunekit.policy.probes import probe_observations

DIGESTS: dict[str, str] = json.loads(Path(__file__).with_name("integer_bits.json").read_text())
MODELS = Path(__file__).parents[2] / "models"
FUNCTIONS = {
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "leaky": lambda: nn.LeakyReLU(0.3),
}


def policies() -> Iterator[tuple[str, Graph, NDArray[np.float32]]]:
    for path in sorted(MODELS.glob("*/*.pt")):
        actor = load(path).actor
        graph = graph_of(actor)
        rows = probe_observations(graph.inputs[0].shape[0], actor.normalizer, np.random.default_rng(5), 600)
        yield f"{path.parent.name}/{path.stem}", graph, rows
    for i, (name, function) in enumerate(FUNCTIONS.items()):
        for j, (called, head) in enumerate(HEADS.items()):
            for normalizer in () if (i + j) % 3 else (None, NORMALIZER):
                made = program(head, function, (9, 7) if j % 2 else (12,), normalizer)
                end = "raw" if normalizer is None else "normalized"
                yield f"{name}, {called}, {end}", graph_of(made), observations(300)


def digest(graph: Graph, seen: NDArray[np.float32], bits: int) -> str:
    code = int8_to_c(quantize(graph, seen, 8 if bits == 8 else 16), "p", {}, seen[:8])
    lines = (code.header + code.source).splitlines()
    text = "\n".join(line for line in lines if "Written by" not in line)  # it names the version
    text = text.replace(WITHOUT_FUSED, "", 1)
    text = text.replace(" parameters.", " weights.", 1)  # as the comment said when the digests were taken
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def test_the_c_of_policies_without_curves_stays_as_it_is() -> None:
    found = {f"{name}, w8a{bits}": digest(graph, seen, bits) for name, graph, seen in policies() for bits in (16, 8)}
    assert found == DIGESTS
