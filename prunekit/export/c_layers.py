"""Layers of float32 as C: products of inputs and weights, added to the biases in the order of the inputs.

Weights are stored input-major, and some inputs at a time are added to all outputs side by side: compilers vectorise
that without changing a bit, and what is summed is loaded and stored once for so many inputs. Those that are left over
come first, together with the biases, in a function of their own for each number of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

AT_A_TIME = 7
"""How many inputs are added at once; the order of the sums, and so their bits, do not depend on it."""
_FLOAT_BYTES, _LINE, _FIRST_CACHE = 4, 64, 48 * 1024


def layers_to_c(name: str, widths: Sequence[int]) -> list[str]:
    """Return the functions of C that the calls of ``layer_call`` need, for layers from each width to the next."""
    looped = _looped(widths)
    functions = [_add(name)] if looped else []
    rests = sorted({count % AT_A_TIME for count in widths[:-1]})
    return functions + [_layer(name, rest, rest in looped) for rest in rests]


def layer_call(name: str, index: int, widths: Sequence[int], source: str, target: str) -> str:
    """Return the statement of C that fills the array ``target`` with layer ``index`` of the array ``source``."""
    inputs, outputs = widths[index : index + 2]
    rest = inputs % AT_A_TIME
    given = [source, target, f"{name}_weight_{index}", f"{name}_bias_{index}"]
    given += [str(inputs // AT_A_TIME)] if rest in _looped(widths) else []
    return f"{name}_layer_{rest}({', '.join([*given, str(outputs)])});"


def fills_lines(widths: Sequence[int]) -> bool:
    """Return whether most weights lie beyond the first cache, in rows of whole cache lines.

    Then vectors of a line each are faster than narrower ones. Where rows end within lines, most of such vectors lie
    across two, and are slower (``benchmarks/c_choices.py``).
    """
    inputs, outputs = max(pairwise(widths), key=math.prod)
    return _FLOAT_BYTES * inputs * outputs > _FIRST_CACHE and _FLOAT_BYTES * outputs % _LINE == 0


def _looped(widths: Sequence[int]) -> set[int]:
    """Return the numbers of inputs left over beside which there are whole blocks, in one layer at least."""
    return {count % AT_A_TIME for count in widths[:-1] if count >= AT_A_TIME}


def _add(name: str) -> str:
    weights, values = _operands(AT_A_TIME, "        ")
    return (
        f"static void {name}_add(\n"
        "    const float *restrict x, float *restrict y, const float *restrict weight, int blocks, int outputs)\n{\n"
        "    int n, o;\n    for (n = 0; n < blocks; ++n) {\n"
        f"{weights}{values}{_UNROLLED_LATE}        for (o = 0; o < outputs; ++o) {{\n"
        f"            float sum = y[o];\n{_sum(name, AT_A_TIME, '            ')}            y[o] = sum;\n        }}\n"
        f"        weight += {AT_A_TIME} * outputs;\n        x += {AT_A_TIME};\n    }}\n}}\n"
    )


def _layer(name: str, rest: int, looped: bool) -> str:
    weights, values = _operands(rest, "    ")
    blocks, more = "", ""
    if looped:
        blocks = "int blocks, "
        skipped = (f"x + {rest}", f"weight + {rest} * outputs") if rest else ("x", "weight")
        more = f"    {name}_add({skipped[0]}, y, {skipped[1]}, blocks, outputs);\n"
    return (
        f"static void {name}_layer_{rest}(\n"
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
