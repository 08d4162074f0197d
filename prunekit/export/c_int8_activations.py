"""Integer activation functions in C, from an int16 z to an activation."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import assert_never, final

import numpy as np

from prunekit.export.integer_activations import Curved, IntegerActivation, Line, Ratio
from prunekit.export.integer_curves import TABLE_SIZE
from prunekit.export.quantized import QuantizedProgram
from prunekit.export.rounding import Bits
from prunekit.graph.c.literals import Constant, array
from prunekit.graph.integers import Squashed


@final
@dataclass(frozen=True, kw_only=True)
class Function:
    """A C function @N@_int_<called>; ``parameters`` follow z, and ``given`` are the arguments that a stage passes for
    them.
    """

    called: str
    text: str
    parameters: tuple[str, ...] = ()
    given: tuple[str, ...] = ()


def functions_of(quantized: QuantizedProgram) -> dict[str, Function]:
    """Return the functions that the stages need, by name, without duplicates."""
    found: dict[str, Function] = {}
    for activation in quantized.activations:
        name = called(quantized, activation)
        found.setdefault(name, _function(quantized, activation, name))
    return found


def called(quantized: QuantizedProgram, activation: IntegerActivation) -> str:
    """Return the C name of ``activation``, with a number if another one of that name has other constants."""
    keys = dict.fromkeys(_key(other) for other in quantized.activations)
    name, _ = key = _key(activation)
    before = [other for other in keys if other[0] == name].index(key)
    return f"{name}_{before + 1}" if before else name


def table_constants(quantized: QuantizedProgram, name: str, kind: str) -> list[Constant]:
    """Return the tables, without duplicates."""
    found = []
    if any(isinstance(activation, Squashed) for activation in quantized.activations):
        found.append(array(kind, name, "table", quantized.table))
    done = set()
    for activation in quantized.activations:
        if isinstance(activation, Curved) and activation.table not in done:
            done.add(activation.table)
            found.append(array(kind, name, f"table_{called(quantized, activation)}", activation.table.values))
    return found


def function_constants(activation: IntegerActivation, name: str, index: int) -> list[Constant]:
    """Return the constants of the function after stage ``index``."""
    if isinstance(activation, Line) and activation.name == "prelu":
        return [array("int16_t", name, f"slope_{index}", np.asarray(activation.slope))]
    return []


def function_arguments(activation: IntegerActivation, index: int) -> list[str]:
    """Return the arguments that stage ``index`` passes to its function."""
    match activation:
        case Curved():
            return [str(number) for number in (*activation.inward, *activation.outward)]
        case Ratio():
            return [str(activation.one)]
        case Line() if activation.name == "prelu":
            return [f"@N@_slope_{index}", str(activation.shift)]
        case Line() if activation.name == "clip":
            return [str(activation.low), str(activation.high)]
        case Line() | Squashed():
            return []
        case _:
            assert_never(activation)


def _key(activation: IntegerActivation) -> tuple[str, tuple[float, ...]]:
    match activation:
        case Squashed():
            return activation.kind, ()
        case Line() if activation.name == "leaky_relu":
            assert isinstance(activation.slope, int)
            return activation.name, (activation.slope, activation.shift)
        case Line():
            return activation.name, ()
        case Ratio():
            return "softsign", ()
        case Curved():
            return activation.table.curve.name, activation.table.curve.numbers
        case _:
            assert_never(activation)


_NARROW = {
    16: "    return z;\n",
    8: "    z = (int16_t)((z + (z > 32639 ? 0 : 128)) >> 8);\n    return (int8_t)(z < -127 ? -127 : z);\n",
}

_TANH16 = """static int16_t @N@_tanh16(int16_t z)
{
    const uint16_t size = (uint16_t)(z < 0 ? -z : z);
    const int16_t *const at = &@N@_table[size >> 7];
    const int16_t low = @U@_INT16(at), high = @U@_INT16(at + 1);
    const int16_t y = (int16_t)(low + (int16_t)(((int32_t)(high - low) * (int16_t)(size & 127) + 64) >> 7));
    return (int16_t)(z < 0 ? -y : y);
}
"""

_TANH8 = """static int8_t @N@_tanh8(int16_t z)
{
    const int8_t y = @U@_INT8(&@N@_table[(uint16_t)(z < 0 ? -z : z) >> 7]);
    return (int8_t)(z < 0 ? -y : y);
}
"""

_RATIO = """    const int32_t size = z < 0 ? -z : z, below = one + size;
    const int16_t y = (int16_t)((size * 32767 + (below >> 1)) / below);
    z = (int16_t)(z < 0 ? -y : y);
"""

_BEND16 = """    const int16_t *const at = &@N@_table_CALLED[SIDE(place >> 7)];
    const int16_t low = @U@_INT16(at), high = @U@_INT16(at + 1);
    const int16_t bend = (int16_t)(low + (int16_t)(((int32_t)(high - low) * (int16_t)(place & 127) + 64) >> 7));
"""
_BEND8 = "    const int8_t bend = @U@_INT8(&@N@_table_CALLED[SIDE(place >> 7)]);\n"


def _function(quantized: QuantizedProgram, activation: IntegerActivation, name: str) -> Function:
    bits = quantized.bits
    match activation:
        case Squashed():
            table = _TANH16 if bits == 16 else _TANH8
            if name == "tanh":
                return Function(called=name, text=table.replace(f"@N@_tanh{bits}", "@N@_int_tanh"))
            body = f"    return (@I@)(((int32_t){quantized.maximum} + @N@_tanh{bits}(z)) >> 1);\n"
            return Function(called=name, text=f"{table}\nstatic @I@ @N@_int_sigmoid(int16_t z)\n{{\n{body}}}\n")
        case Line():
            return _line(activation, name, bits)
        case Ratio():
            return _made(name, _RATIO, bits, {"int16_t one": "one"})
        case Curved():
            return _curved(activation, name, bits)
        case _:
            assert_never(activation)


def _line(line: Line, name: str, bits: Bits) -> Function:
    if line.name == "prelu":
        body = "    z = (int16_t)(z < 0 ? @N@_shifted((int32_t)z * slope, slope_shift) : z);\n"
        given = {"const int16_t *slope": "@U@_INT16(&slope[o])", "uint8_t slope_shift": "slope_shift"}
        made = _made(name, body, bits, given)
        return Function(
            called=name,
            text=made.text.replace("const int16_t *slope", "int16_t slope"),
            parameters=made.parameters,
            given=made.given,
        )
    if line.name == "clip":
        body = "    z = (int16_t)(z > high ? high : (z < low ? low : z));\n"
        return _made(name, body, bits, {"int16_t low": "low", "int16_t high": "high"})
    slope = f"((int32_t)z * {line.slope} + 16384) >> 15"
    if line.shift != 15:
        slope = f"(int32_t)@N@_shifted((int32_t)z * {line.slope}, {line.shift})"
    body = {
        "identity": "",
        "relu": "    z = (int16_t)(z < 0 ? 0 : z);\n",
        "leaky_relu": f"    z = (int16_t)(z < 0 ? {slope} : (int32_t)z);\n",
    }[line.name]
    return _made(name, body, bits, {})


def _curved(curved: Curved, name: str, bits: Bits) -> Function:
    table = curved.table
    width = TABLE_SIZE + (1 if bits == 16 else 0)
    side = f"(z < 0 ? 0 : {width}) + " if table.sides == "both" else ""
    body = (
        "    const uint16_t place = (uint16_t)@N@_shifted((int32_t)(z < 0 ? -z : z) * in, in_shift);\n"
        f"{(_BEND16 if bits == 16 else _BEND8).replace('CALLED', name).replace('SIDE', side)}"
    )
    if table.sides == "left":
        body += "    z = @N@_shifted((int32_t)bend * out, out_shift);\n"
        body = "    if (z < 0) {\n" + textwrap.indent(body, "    ") + "    }\n"
    else:
        body += (
            "    const int32_t y = (int32_t)(z > 0 ? z : 0) + @N@_shifted((int32_t)bend * out, out_shift);\n"
            "    z = (int16_t)(y > 32767 ? 32767 : (y < -32767 ? -32767 : y));\n"
        )
    names = {"int16_t in": "in", "uint8_t in_shift": "in_shift", "int16_t out": "out", "uint8_t out_shift": "out_shift"}
    return _made(name, body, bits, names)


def _made(name: str, body: str, bits: Bits, parameters: dict[str, str]) -> Function:
    declared = ", ".join(["int16_t z", *parameters])
    text = f"static @I@ @N@_int_{name}({declared})\n{{\n{body}{_NARROW[bits]}}}\n"
    return Function(called=name, text=text, parameters=tuple(parameters), given=tuple(parameters.values()))
