"""A quantized program as portable C: integers only between the observation and the scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunekit.activations import Activation
from prunekit.export.c_code import CCode
from prunekit.export.c_head import bounds_constants, decision, interface_of_head, require_int32
from prunekit.export.c_interface import Interface
from prunekit.export.c_math import c_names
from prunekit.export.c_self_test import self_test, self_test_constants
from prunekit.export.c_text import about_policy, header_text, source_head
from prunekit.export.quantize import Quantized, QuantizedProgram, run_quantized
from prunekit.graph.c.functions import TANH
from prunekit.graph.c.literals import Constant, array
from prunekit.policy.heads import ArgmaxHead, TanhHead
from prunekit.policy.program import Program


def int8_to_c(
    program: Program,
    quantized: QuantizedProgram,
    name: str,
    metadata: Mapping[str, Any],
    recorded: NDArray[np.float32] | None = None,
) -> CCode:
    """Return ``quantized``, made of ``program``, as C called ``name``; its bits are those of ``run_quantized``.

    With ``recorded`` observations [n, inputs] there is a self-test on them.
    """
    require_int32(program.head, program.outputs)
    interface = interface_of_head(name, program.inputs, program.head, program.outputs)
    widths = [program.inputs, *program.hidden, program.outputs]
    activations = [layer.activation for layer in quantized.layers if layer.activation is not None]
    called = c_names(map(_kind_of, quantized.layers[:-1]))
    about = about_policy(
        "-".join(map(str, widths)),
        activations,
        program.parameters,
        metadata,
        f"int8 weights, int{quantized.bits} activations",
    )
    kind = f"int{quantized.bits}_t"
    constants = _constants(quantized, name, kind)
    tested: list[Constant] = []
    if recorded is not None:
        tested = self_test_constants(interface, recorded, run_quantized(quantized, recorded)[0])
    parts = [source_head(name, constants + tested), _INTEGERS, *(constant.text for constant in constants)]
    if isinstance(program.head, TanhHead):
        parts.append(TANH.to_c(f"{name}_tanh"))
    parts.append(_SATURATED)
    if len(quantized.layers) > 1:
        parts += [_SHIFTED, *(_activation(quantized, kind, own) for kind, own in called.items())]
    parts.append(_DOT8 if quantized.bits == 8 else _DOT16)
    parts += [_LAYER.replace("KIND", own) for own in called.values()]
    parts += [_SCORES, _action(program, quantized, interface, kind, max(widths), called)]
    text = "\n".join(parts).replace("@I@", kind).replace("@N@", name).replace("@U@", name.upper())
    if tested:
        text += "\n" + self_test(interface, tested)
    nan = "the middle of what was recorded"
    header = header_text(interface, about, nan, recorded is not None)
    outputs = None if isinstance(program.head, ArgmaxHead) else program.outputs
    sizes = tuple(constant.size_bytes for constant in constants)
    return CCode(name, header, text, program.inputs, outputs, sizes)


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
    if any(layer.activation in ("tanh", "sigmoid") for layer in quantized.layers):
        parts.append(array(kind, name, "table", quantized.table))
    return parts + bounds_constants(quantized.head, name, len(quantized.layers[-1].bias))


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

_NARROW = {
    16: "    return z;\n",
    8: "    z = (int16_t)((z + (z > 32639 ? 0 : 128)) >> 8);\n    return (int8_t)(z < -127 ? -127 : z);\n",
}

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
    const int16_t *multiplier, const uint8_t *shift, int inputs, int outputs)
{
    int o;
    for (o = 0; o < outputs; ++o) {
        const int32_t sum = @N@_dot(x, weight, @U@_LONG(&bias[o]), inputs);
        const int16_t held = @N@_shifted(sum, @U@_UINT8(&shift[2 * o]));
        y[o] = @N@_int_KIND(@N@_shifted((int32_t)held * @U@_INT16(&multiplier[o]), @U@_UINT8(&shift[2 * o + 1])));
        weight += inputs;
    }
}
"""

_SCORES = """static void @N@_scores(
    const @I@ *x, float *y, const int8_t *weight, const int32_t *bias, const float *step, int inputs, int outputs)
{
    int o;
    for (o = 0; o < outputs; ++o) {
        y[o] = (float)@N@_dot(x, weight, @U@_LONG(&bias[o]), inputs) * @U@_FLOAT(&step[o]);
        weight += inputs;
    }
}
"""


def _kind_of(layer: Quantized) -> Activation:
    """Return what follows a layer, with its slope in 1/32768."""
    assert layer.activation is not None
    return Activation(layer.activation, float(layer.slope))


def _activation(quantized: QuantizedProgram, kind: Activation, called: str) -> str:
    """Return @N@_int_<called>: an int16 z to an activation."""
    bits, name = quantized.bits, kind.name
    if name in ("tanh", "sigmoid"):
        table = _TANH16 if bits == 16 else _TANH8
        if name == "tanh":
            return table.replace(f"@N@_tanh{bits}", "@N@_int_tanh")
        most = quantized.most
        body = f"    return (@I@)(((int32_t){most} + @N@_tanh{bits}(z)) >> 1);\n"
        return f"{table}\nstatic @I@ @N@_int_sigmoid(int16_t z)\n{{\n{body}}}\n"
    slope = round(kind.parameter)
    body = {
        "identity": "",
        "relu": "    z = (int16_t)(z < 0 ? 0 : z);\n",
        "leaky_relu": f"    z = (int16_t)(z < 0 ? ((int32_t)z * {slope} + 16384) >> 15 : (int32_t)z);\n",
    }[name]
    return f"static @I@ @N@_int_{called}(int16_t z)\n{{\n{body}{_NARROW[bits]}}}\n"


def _action(
    program: Program,
    quantized: QuantizedProgram,
    interface: Interface,
    kind: str,
    widest: int,
    called: Mapping[Activation, str],
) -> str:
    buffers = ["a", "b"][: max(1, min(2, len(quantized.layers)))]
    lines = [interface.signature, "{", f"    {kind} a[{widest}];"]
    if len(buffers) > 1:
        lines.append(f"    {kind} b[{widest}];")
    lines += [f"    float scores[{program.outputs}];", "    int i;", "    for (i = 0; i < @U@_INPUTS; ++i)"]
    centred = "(observation[i] - @U@_FLOAT(&@N@_center[i])) * @U@_FLOAT(&@N@_gain[i])"
    limits = set(quantized.limit.tolist())
    most = str(limits.pop()) if len(limits) == 1 else f"@U@_INT{quantized.bits}(&@N@_limit[i])"
    lines += [f"        a[i] = @N@_quantized({centred}, {most});"]
    here, there = "a", "b"
    for index, layer in enumerate(quantized.layers):
        outputs, inputs = layer.weight.shape
        constants = f"@N@_weight_{index}, @N@_bias_{index}"
        if layer.activation is None:
            lines += [f"    @N@_scores({here}, scores, {constants}, @N@_step, {inputs}, {outputs});"]
            continue
        more = f"@N@_multiplier_{index}, @N@_shift_{index}"
        lines += [
            f"    @N@_layer_{called[_kind_of(layer)]}({here}, {there}, {constants}, {more}, {inputs}, {outputs});"
        ]
        here, there = there, here
    return "\n".join([*lines, *decision(program.head, interface.name, "scores", program.outputs), "}", ""])
