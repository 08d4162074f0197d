"""Checkpoints as RLtools writes them, by h5py."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Layer = tuple[str, dict[str, Array], str]
"""Its type, its arrays and its activation, empty where it has none."""


def rltools_file(layers: Sequence[Layer], *, libver: str = "earliest", mlp: bool = False) -> bytes:
    """Return a checkpoint of ``layers``, as a sequence of them or (``mlp``) one of RLtools' MLPs within it."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=libver) as file:
        actor = file.create_group("actor")
        actor.attrs["type"] = "sequential"
        place = actor.create_group("layers")
        names = [str(index) for index in range(len(layers))]
        if mlp:
            place = place.create_group("0")
            place.attrs["type"] = "mlp"
            names = ["input_layer", *(f"hidden_layer_{index}" for index in range(len(layers) - 2)), "output_layer"]
        for name, (kind, arrays, activation) in zip(names, layers, strict=True):
            group = place.create_group(name)
            group.attrs["type"] = kind
            if activation:
                group.attrs["activation_function"] = np.bytes_(activation) if mlp else activation
            for key, array in arrays.items():
                group.create_group(key).create_dataset("parameters", data=array)
        file.create_group("example").create_dataset("input", data=np.zeros((2, 3), np.int32))
    return buffer.getvalue()


def dense(generator: np.random.Generator, read: int, made: int) -> dict[str, Array]:
    """Return the arrays of a layer, biases as RLtools has them: a matrix of one row."""
    return {
        "weights": generator.normal(0.0, 0.6, (made, read)).astype(np.float32),
        "biases": generator.normal(0.0, 0.3, (1, made)).astype(np.float32),
    }


def gru(generator: np.random.Generator, read: int, cells: int) -> dict[str, Array]:
    """Return the arrays of a GRU."""
    return {
        "weights_input": generator.normal(0.0, 0.5, (3 * cells, read)).astype(np.float32),
        "weights_hidden": generator.normal(0.0, 0.5, (3 * cells, cells)).astype(np.float32),
        "biases_input": generator.normal(0.0, 0.2, 3 * cells).astype(np.float32),
        "biases_hidden": generator.normal(0.0, 0.2, 3 * cells).astype(np.float32),
        "initial_hidden_state": generator.normal(0.0, 0.2, cells).astype(np.float32),
    }
