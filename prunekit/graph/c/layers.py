"""Float32 layers in C, and their bit-exact twin. Products are added to the biases in the order of the inputs.

Weights are stored input-major, and several inputs at a time are added to all outputs. Compilers can vectorise this
without changing a bit, and each partial sum is loaded and stored only once per block of inputs. The inputs that do not
fill a block come first, together with the biases. Each such number of inputs has a function of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import numpy as np

from prunekit.graph.c.literals import Float32

AT_A_TIME = 7
"""How many inputs are added at once; the order of the sums, and so their bits, do not depend on it."""
_SUMS_AT_ONCE = 2**15
"""What the twin sums side by side: what any processor has in its second cache, twice."""
_FLOAT_BYTES, _LINE, _FIRST_CACHE = 4, 64, 48 * 1024


@final
@dataclass(frozen=True, kw_only=True)
class LayerCall:
    """A layer from the C array ``source`` to ``target``, with its constant arrays, applied to ``rows`` rows."""

    source: str
    target: str
    weight: str
    bias: str
    inputs: int
    outputs: int
    rows: int = 1


def layer_in_float32(x: Float32, weight: Float32, bias: Float32) -> Float32:
    """Return x @ weight.T + bias over the last axis with the same bits as the C: bias first, then inputs in order."""
    rows, columns = x.reshape(-1, x.shape[-1]), np.ascontiguousarray(weight.T)
    result = np.empty((len(rows), len(bias)), np.float32)
    at_once = max(_SUMS_AT_ONCE // len(bias), 1)
    for first in range(0, len(rows), at_once):
        part, total = rows[first : first + at_once], result[first : first + at_once]
        total[...] = bias
        product = np.empty_like(total)
        for index, column in enumerate(columns):
            np.multiply(part[:, index : index + 1], column, out=product)
            total += product
    return result.reshape(*x.shape[:-1], len(bias))


def layers_to_c(name: str, calls: Sequence[LayerCall], *, chain: bool, at_a_time: int = AT_A_TIME) -> list[str]:
    """Return the C functions that the statements of ``calls`` need; arguments as for ``layer_statement``."""
    looped = _looped(calls, at_a_time)
    alone = {call.inputs for call in calls if _stands_alone(call, calls, chain, at_a_time)}
    functions = [_add(name, at_a_time)] if looped else []
    rests = sorted({call.inputs % at_a_time for call in calls if call.inputs not in alone})
    functions += [_layer(name, f"layer_{rest}", rest, rest in looped) for rest in rests]
    return functions + [_layer(name, f"few_{inputs}", inputs, False) for inputs in sorted(alone)]


def layer_statement(
    name: str, call: LayerCall, calls: Sequence[LayerCall], *, chain: bool, at_a_time: int = AT_A_TIME
) -> list[str]:
    """Return the C lines of ``call``, one of ``calls``. In a ``chain`` each layer reads what the previous one made.

    ``at_a_time`` inputs are added at once; use the same number for all functions and statements of one ``name``.
    """
    rest, function, blocks = call.inputs % at_a_time, "layer", [str(call.inputs // at_a_time)]
    if _stands_alone(call, calls, chain, at_a_time):
        function, blocks = "few", []
    elif rest not in _looped(calls, at_a_time):
        blocks = []
    source, target = call.source, call.target
    if call.rows > 1:
        source, target = f"{source} + i * {call.inputs}", f"{target} + i * {call.outputs}"
    given = [source, target, call.weight, call.bias, *blocks, str(call.outputs)]
    statement = f"{name}_{function}_{rest}({', '.join(given)});"
    if call.rows == 1:
        return [f"    {statement}"]
    return [f"    for (i = 0; i < {call.rows}; ++i)", f"        {statement}"]


def _stands_alone(call: LayerCall, calls: Sequence[LayerCall], chain: bool, at_a_time: int) -> bool:
    """Return whether a layer without a full block of inputs gets a function without the block loop.

    Otherwise GCC 12 warns that an array is read behind its last written element. It does not warn in chains, unless the
    first layer reads a single number.
    """
    return not chain and call.inputs < at_a_time and call.inputs in _looped(calls, at_a_time)


def fills_lines(calls: Sequence[LayerCall]) -> bool:
    """Return whether most weights lie outside the first-level cache, in rows of whole cache lines.

    Vectors of one cache line are then faster than narrower ones. If rows end within a line, most such vectors cross a
    line boundary and are slower (``benchmarks/c_choices.py``).
    """
    if not calls:
        return False
    inputs, outputs = max(((call.inputs, call.outputs) for call in calls), key=math.prod)
    return _FLOAT_BYTES * inputs * outputs > _FIRST_CACHE and _FLOAT_BYTES * outputs % _LINE == 0


def _looped(calls: Iterable[LayerCall], at_a_time: int) -> set[int]:
    """Return the remainders (inputs beyond full blocks) that occur in a layer that also has full blocks."""
    return {call.inputs % at_a_time for call in calls if call.inputs >= at_a_time}


def _add(name: str, at_a_time: int) -> str:
    weights, values = _operands(at_a_time, "        ")
    return (
        f"static void {name}_add(\n"
        "    const float *restrict x, float *restrict y, const float *restrict weight, int blocks, int outputs)\n{\n"
        "    int n, o;\n    for (n = 0; n < blocks; ++n) {\n"
        f"{weights}{values}{_UNROLLED_LATE}        for (o = 0; o < outputs; ++o) {{\n"
        f"            float sum = y[o];\n{_sum(name, at_a_time, '            ')}            y[o] = sum;\n        }}\n"
        f"        weight += {at_a_time} * outputs;\n        x += {at_a_time};\n    }}\n}}\n"
    )


def _layer(name: str, called: str, rest: int, looped: bool) -> str:
    weights, values = _operands(rest, "    ")
    blocks, more = "", ""
    if looped:
        blocks = "int blocks, "
        skipped = (f"x + {rest}", f"weight + {rest} * outputs") if rest else ("x", "weight")
        more = f"    {name}_add({skipped[0]}, y, {skipped[1]}, blocks, outputs);\n"
    return (
        f"static void {name}_{called}(\n"
        "    const float *restrict x, float *restrict y, const float *restrict weight, const float *restrict bias,\n"
        f"    {blocks}int outputs)\n{{\n    int o;\n{weights}{values}    for (o = 0; o < outputs; ++o) {{\n"
        f"        float sum = {name.upper()}_FLOAT(&bias[o]);\n{_sum(name, rest, '        ')}        y[o] = sum;\n"
        f"    }}\n{more}}}\n"
    )


def _operands(count: int, indent: str) -> tuple[str, str]:
    rows = [_row(index) for index in range(count)]
    weights = "".join(f"{indent}const float *const {row} = {before} + outputs;\n" for before, row in pairwise(rows))
    values = ", ".join(f"x{index} = x[{index}]" for index in range(count))
    return weights, f"{indent}const float {values};\n" if count else ""


def _sum(name: str, count: int, indent: str) -> str:
    return "".join(f"{indent}sum += x{index} * {name.upper()}_FLOAT(&{_row(index)}[o]);\n" for index in range(count))


def _row(index: int) -> str:
    return f"w{index}" if index else "weight"


# GCC unrolls short inner loops before it vectorises, and then finds no loop to vectorise.
_UNROLLED_LATE = """#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 8
#pragma GCC unroll 1
#endif
"""
