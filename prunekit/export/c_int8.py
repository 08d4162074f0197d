"""A quantized program as portable C: integers only between the observation and the last layer's sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunekit.export.c_code import CCode
from prunekit.export.c_int8_activations import (
    Function,
    called,
    functions_of,
    layer_arguments,
    layer_constants,
    table_constants,
)
from prunekit.export.c_interface import Interface, interface_of
from prunekit.export.c_self_test import self_test, self_test_constants
from prunekit.export.c_text import about_policy, header_text, source_head
from prunekit.export.integer_tail import TailCode, tail_to_c
from prunekit.export.quantize import QuantizedProgram, run_quantized
from prunekit.graph.c.literals import Constant, array


def int8_to_c(
    quantized: QuantizedProgram,
    name: str,
    metadata: Mapping[str, Any],
    recorded: NDArray[np.float32] | None = None,
) -> CCode:
    """Return ``quantized`` as C called ``name``; its bits are those of ``run_quantized``.

    With ``recorded`` observations [n, inputs] there is a self-test on them.
    """
    interface = interface_of(quantized.graph, name)
    tail = tail_to_c(quantized.tail, name, interface.outputs is None)
    widths = [len(quantized.center), *(len(layer.bias) for layer in quantized.layers)]
    functions = functions_of(quantized)
    about = about_policy(
        "-".join(map(str, widths)),
        [called(quantized, layer.activation) for layer in quantized.layers if layer.activation is not None],
        sum(layer.weight.size + layer.bias.size for layer in quantized.layers),
        metadata,
        f"int8 weights, int{quantized.bits} activations",
    )
    kind = f"int{quantized.bits}_t"
    constants = [*_constants(quantized, name, kind), *tail.body.constants]
    tested: list[Constant] = []
    if recorded is not None:
        recorded = recorded.reshape(len(recorded), widths[0])
        tested = self_test_constants(interface, recorded, run_quantized(quantized, recorded)[0])
    parts = [source_head(name, constants + tested), _INTEGERS, *(constant.text for constant in constants)]
    parts += [*tail.functions, _SATURATED]
    if len(quantized.layers) > 1:
        parts += [_SHIFTED, *(function.text for function in functions.values())]
    parts.append(_DOT8 if quantized.bits == 8 else _DOT16)
    parts += [_layer(function) for function in functions.values()]
    parts += [_OUTPUT_SUMS, _action(quantized, interface, tail, kind, widths)]
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
    for index, layer in enumerate(quantized.layers):
        parts += [
            array("int8_t", name, f"weight_{index}", layer.weight),
            array("int32_t", name, f"bias_{index}", layer.bias),
        ]
        if layer.activation is None:
            parts.append(array("float", name, "step", layer.step))
        else:
            parts += [
                array("int16_t", name, f"multiplier_{index}", layer.multiplier),
                array("uint8_t", name, f"shift_{index}", np.stack([layer.before, layer.after], axis=1)),
            ]
            parts += layer_constants(layer, name, index)
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

_DOT16 = """static int32_t @N@_dot(const int16_t *x, const int8_t *w, int32_t sum, int count)
{
    int n;
    for (n = count / 4; n > 0; --n) {
        sum += (int32_t)x[0] * @U@_INT8(&w[0]);
        sum += (int32_t)x[1] * @U@_INT8(&w[1]);
        sum += (int32_t)x[2] * @U@_INT8(&w[2]);
        sum += (int32_t)x[3] * @U@_INT8(&w[3]);
        x += 4;
        w += 4;
    }
    for (n = count % 4; n > 0; --n)
        sum += (int32_t)*x++ * @U@_INT8(w++);
    return sum;
}
"""

# Two products of at most 127 * 127 fit into the int of a 16-bit core, where longer sums cost four times as much.
_DOT8 = """static int32_t @N@_dot(const int8_t *x, const int8_t *w, int32_t sum, int count)
{
    int n;
    for (n = count / 4; n > 0; --n) {
        sum += x[0] * @U@_INT8(&w[0]) + x[1] * @U@_INT8(&w[1]);
        sum += x[2] * @U@_INT8(&w[2]) + x[3] * @U@_INT8(&w[3]);
        x += 4;
        w += 4;
    }
    for (n = count % 4; n > 0; --n)
        sum += *x++ * @U@_INT8(w++);
    return sum;
}
"""

_LAYER = """static void @N@_layer_KIND(const @I@ *x, @I@ *y, const int8_t *weight, const int32_t *bias,
    const int16_t *multiplier, const uint8_t *shift, int inputs, int outputs@P@)
{
    int o;
    for (o = 0; o < outputs; ++o) {
        const int32_t sum = @N@_dot(x, weight, @U@_LONG(&bias[o]), inputs);
        const int16_t held = @N@_shifted(sum, @U@_UINT8(&shift[2 * o]));
        y[o] = @N@_int_KIND(@N@_shifted((int32_t)held * @U@_INT16(&multiplier[o]), @U@_UINT8(&shift[2 * o + 1]))@G@);
        weight += inputs;
    }
}
"""

_OUTPUT_SUMS = """static void @N@_scores(
    const @I@ *x, float *y, const int8_t *weight, const int32_t *bias, const float *step, int inputs, int outputs)
{
    int o;
    for (o = 0; o < outputs; ++o) {
        y[o] = (float)@N@_dot(x, weight, @U@_LONG(&bias[o]), inputs) * @U@_FLOAT(&step[o]);
        weight += inputs;
    }
}
"""


def _layer(function: Function) -> str:
    more, given = (", ".join(["", *words]) for words in (function.parameters, function.given))
    return _LAYER.replace("KIND", function.called).replace("@P@", more).replace("@G@", given)


def _action(quantized: QuantizedProgram, interface: Interface, tail: TailCode, kind: str, widths: Sequence[int]) -> str:
    buffers = ["a", "b"][: max(1, min(2, len(quantized.layers)))]
    lines = [interface.signature, "{", f"    {kind} a[{max(widths)}];"]
    if len(buffers) > 1:
        lines.append(f"    {kind} b[{max(widths)}];")
    lines += [f"    float scores[{widths[-1]}];", "    int i;", "    for (i = 0; i < @U@_INPUTS; ++i)"]
    centred = "(observation[i] - @U@_FLOAT(&@N@_center[i])) * @U@_FLOAT(&@N@_gain[i])"
    limits = set(quantized.limit.tolist())
    maximum = str(limits.pop()) if len(limits) == 1 else f"@U@_INT{quantized.bits}(&@N@_limit[i])"
    lines += [f"        a[i] = @N@_quantized({centred}, {maximum});"]
    here, there = "a", "b"
    for index, layer in enumerate(quantized.layers):
        outputs, inputs = layer.weight.shape
        constants = f"@N@_weight_{index}, @N@_bias_{index}"
        if layer.activation is None:
            lines += [f"    @N@_scores({here}, scores, {constants}, @N@_step, {inputs}, {outputs});"]
            continue
        given = [here, there, constants, f"@N@_multiplier_{index}, @N@_shift_{index}", str(inputs), str(outputs)]
        given += layer_arguments(layer.activation, index)
        lines += [f"    @N@_layer_{called(quantized, layer.activation)}({', '.join(given)});"]
        here, there = there, here
    return "\n".join([*lines, *tail.lines, "}", ""])
