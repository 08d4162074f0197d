"""Constant arrays as C: all numbers at once have the text that each has alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from prunekit.graph.c.layers import layer_in_float32
from prunekit.graph.c.literals import _PIECE, array, c_float

EDGES = [0.0, -0.0, 1.0, -1.5, 2.0**-149, -(2.0**-149), 2.0**-126, 2.0**-127, 3.4028235e38, 1e-40, 10.0]
EDGES += [sign * 2.0**power for power in (-101, -100, -99, -11, -10, -9, 9, 10, 11, 99, 100, 101) for sign in (1, -1)]
COUNTS = (0, 1, 2, 5, 6, 7, 12, _PIECE - 1, _PIECE, _PIECE + 1, _PIECE + 6, 2 * _PIECE + 5)


def floats() -> NDArray[np.float32]:
    """Return finite numbers of all sizes: any bits, few digits, subnormal ones."""
    generator = np.random.default_rng(0)
    bits = generator.integers(0, 2**32, 3 * _PIECE, dtype=np.uint32)
    bits[: _PIECE // 4] &= np.uint32(0x807FFFFF)
    bits[_PIECE // 4 : _PIECE] &= np.uint32(0xFFFFFFFF) << generator.integers(0, 24, _PIECE - _PIECE // 4, np.uint32)
    values = np.concatenate([np.asarray(EDGES, np.float32), bits.view(np.float32)])
    return generator.permutation(values[np.isfinite(values)])


def one_by_one(kind: str, name: str, texts: list[str]) -> str:
    rows = [", ".join(texts[at : at + 6]) for at in range(0, len(texts), 6)]
    body = ",\n    ".join(rows)
    return f"static const {kind} {name}[{len(texts)}] P_FLASH = {{\n    {body}\n}};\n"


@pytest.mark.parametrize("count", COUNTS)
def test_floats_are_written_as_each_alone(count: int) -> None:
    values = floats()[:count]
    made = array("float", "p", "weight", values)
    assert made.text == one_by_one("float", "p_weight", [c_float(float(value)) for value in values])
    assert made.size_bytes == 4 * count


def test_floats_read_back_as_they_were() -> None:
    values = floats()
    text = array("float", "p", "weight", values).text
    inside = text[text.index("{") + 1 : text.index("}")].replace("f", "F").split(",")
    found = [float.fromhex(one.strip().removesuffix("F")) for one in inside]
    assert np.asarray(found, np.float32).tobytes() == values.tobytes()


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", ["int8_t", "int16_t", "int32_t"])
def test_integers_are_written_as_each_alone(kind: str, count: int) -> None:
    dtype: Any = np.dtype(kind.removesuffix("_t"))
    ends = np.iinfo(dtype)
    values = np.random.default_rng(0).integers(ends.min, ends.max, count, dtype, endpoint=True)
    assert array(kind, "p", "w", values).text == one_by_one(kind, "p_w", [str(int(value)) for value in values])


@pytest.mark.parametrize(("shape", "outputs"), [((9, 4), 20_000), ((2, 3), 70_000), ((3, 4, 5), 7), ((7,), 3)])
def test_a_layer_is_summed_in_the_order_of_its_inputs(shape: tuple[int, ...], outputs: int) -> None:
    generator = np.random.default_rng(0)
    x = (generator.standard_normal(shape) * 10.0 ** generator.integers(-20, 20, shape)).astype(np.float32)
    weight = generator.standard_normal((outputs, shape[-1])).astype(np.float32)
    bias = generator.standard_normal(outputs).astype(np.float32)
    total = np.broadcast_to(bias, (*shape[:-1], outputs))
    for index in range(shape[-1]):
        total = total + x[..., index : index + 1] * weight[:, index]
    found = layer_in_float32(x, weight, bias)
    assert found.shape == total.shape
    assert found.tobytes() == total.tobytes()
