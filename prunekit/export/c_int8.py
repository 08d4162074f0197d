"""A quantized program as portable C: only integers between the observation and the last layer's sums."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunekit.export.c_code import CCode
from prunekit.export.c_int8_activations import called, functions_of, table_constants
from prunekit.export.c_int8_stages import (
    calls,
    first_place,
    gives_floats,
    loops_of,
    sources_of,
    stage_constants,
    widths_of,
)
from prunekit.export.c_interface import Interface, interface_of
from prunekit.export.c_self_test import self_test, self_test_constants
from prunekit.export.c_text import about_policy, header_text, source_head
from prunekit.export.integer_tail import TailCode, arrays_of, tail_to_c
from prunekit.export.quantized import QuantizedProgram, run_quantized
from prunekit.graph.c.literals import Constant, array


def int8_to_c(
    quantized: QuantizedProgram,
    name: str,
    metadata: Mapping[str, Any],
    recorded: NDArray[np.float32] | None = None,
) -> CCode:
    """Return ``quantized`` as C with this ``name``; its bits are those of ``run_quantized``.

    With ``recorded`` observations [n, inputs] it includes a self-test on them.
    """
    interface = interface_of(quantized.graph, name)
    tail = tail_to_c(quantized.tail, name, interface.outputs is None)
    functions = functions_of(quantized)
    about = about_policy(
        "-".join(map(str, [len(quantized.center), *(len(layer.bias) for layer in quantized.layers)])),
        [called(quantized, activation) for activation in quantized.activations],
        sum(layer.weight.size + layer.bias.size for layer in quantized.layers),
        metadata,
        f"int8 weights, int{quantized.bits} activations",
    )
    kind = f"int{quantized.bits}_t"
    constants = [*_constants(quantized, name, kind), *tail.body.constants]
    tested: list[Constant] = []
    if recorded is not None:
        recorded = recorded.reshape(len(recorded), len(quantized.center))
        tested = self_test_constants(interface, recorded, run_quantized(quantized, recorded)[0])
    parts = [source_head(name, constants + tested), _INTEGERS, *(constant.text for constant in constants)]
    parts += [*tail.functions, _SATURATED]
    if functions:
        parts += [_SHIFTED, *(function.text for function in functions.values())]
    parts += [*loops_of(quantized), _action(quantized, interface, tail, kind)]
    text = "\n".join(parts).replace("@I@", kind).replace("@N@", name).replace("@U@", name.upper())
    if tested:
        text += "\n" + self_test(interface, tested)
    return CCode(
        name=name,
        header=header_text(interface, about, "the middle of what was recorded", recorded is not None),
        source=text,
        inputs=interface.size,
        outputs=interface.outputs,
        constant_bytes=tuple(constant.size_bytes for constant in constants),
    )


def _constants(quantized: QuantizedProgram, name: str, kind: str) -> list[Constant]:
    parts = [array("float", name, "center", quantized.center), array("float", name, "gain", quantized.gain)]
    if len(set(quantized.limit.tolist())) > 1:
        parts.append(array(kind, name, "limit", quantized.limit))
    first = _first_floats(quantized)
    for index, stage in enumerate(quantized.stages):
        parts += stage_constants(stage, name, index, stage.name == first)
    return parts + table_constants(quantized, name, kind)


_INTEGERS = """#if (-1 >> 1) != -1
#error "this compiler does not shift negative integers arithmetically"
#endif
#if defined(__AVR__)
#define @U@_INT8(p) ((int8_t)pgm_read_byte(p))
#define @U@_UINT8(p) pgm_read_byte(p)
#define @U@_INT16(p) ((int16_t)pgm_read_word(p))
#define @U@_LONG(p) ((int32_t)pgm_read_dword(p))
#else
#define @U@_INT8(p) (*(p))
#define @U@_UINT8(p) (*(p))
#define @U@_INT16(p) (*(p))
#define @U@_LONG(p) (*(p))
#endif
"""

_SATURATED = """static @I@ @N@_quantized(float v, @I@ most)
{
    if (v > (float)most)
        return most;
    if (v < -(float)most)
        return (@I@)-most;
    if (v != v)
        return 0;
    return (@I@)(v < 0.0f ? v - 0.5f : v + 0.5f);
}
"""

_SHIFTED = """static int16_t @N@_shifted(int32_t value, uint8_t by)
{
    const int32_t v = (value + (((int32_t)1 << by) >> 1)) >> by;
    return (int16_t)(v > 32767 ? 32767 : (v < -32767 ? -32767 : v));
}
"""


def _first_floats(quantized: QuantizedProgram) -> str:
    return next(stage.name for stage in quantized.stages if gives_floats(stage))


def _action(quantized: QuantizedProgram, interface: Interface, tail: TailCode, kind: str) -> str:
    widths, first = widths_of(quantized), _first_floats(quantized)
    at, buffers = _places(quantized)
    lines = [interface.signature, "{"]
    longest = max(width for name, width in widths.items() if width)
    lines += [f"    {kind} {buffer}[{longest}];" for buffer in buffers]
    arrays = arrays_of(quantized.tail)
    lines += [f"    float {array}[{size}];" for array, size in arrays.values()]
    at |= {stage: arrays[port][0] for port, stage in quantized.ends.items()}
    lines += ["    int i;", "    for (i = 0; i < @U@_INPUTS; ++i)"]
    centred = "(observation[i] - @U@_FLOAT(&@N@_center[i])) * @U@_FLOAT(&@N@_gain[i])"
    limits = set(quantized.limit.tolist())
    maximum = str(limits.pop()) if len(limits) == 1 else f"@U@_INT{quantized.bits}(&@N@_limit[i])"
    lines += [f"        a[i] = @N@_quantized({centred}, {maximum});"]
    for index, stage in enumerate(quantized.stages):
        made = calls(quantized, stage, index, stage.name == first, at, widths[stage.name])
        lines += [f"    {call}" for call in made]
    return "\n".join([*lines, *tail.lines, "}", ""])


def _places(quantized: QuantizedProgram) -> tuple[dict[str, str], list[str]]:
    """Return (the buffer of each value, all buffers); a buffer is reused when its value is no longer needed."""
    holder = {quantized.port: quantized.port}
    last_read = {quantized.port: -1}
    for index, stage in enumerate(quantized.stages):
        for source in sources_of(stage):
            last_read[holder[source]] = index
        holder[stage.name] = stage.name if first_place(stage) is None else holder[sources_of(stage)[0]]
        last_read.setdefault(stage.name, index)
    buffer = {quantized.port: "a"}
    at, used = {quantized.port: "a"}, ["a"]
    start = {quantized.port: 0}
    for index, stage in enumerate(quantized.stages):
        place = first_place(stage)
        if place is not None:
            (source,) = sources_of(stage)
            start[stage.name] = start[source] + place
            at[stage.name] = f"{buffer[holder[source]]} + {start[stage.name]}".removesuffix(" + 0")
        elif not gives_floats(stage):
            taken = {buffer[name] for name in buffer if last_read[name] >= index}
            free = [name for name in used if name not in taken]
            if not free:
                free = [chr(ord("a") + len(used))] if len(used) < 8 else [f"a_{len(used)}"]
                used += free
            buffer[stage.name] = at[stage.name] = free[0]
            start[stage.name] = 0
    return at, used
