"""A program as portable C in float32, and its bit-exact twin in NumPy.

Sums run over the inputs in their order, beginning with the bias; ``c_layers.py`` says how.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunekit.activations import Activation
from prunekit.errors import InputError
from prunekit.export.c_code import CCode
from prunekit.export.c_layers import fills_lines, layer_call, layers_to_c
from prunekit.export.c_math import LARGEST, TANH, Float32, activation_in_float32, activation_to_c, c_float, c_names
from prunekit.export.c_text import Constant, about_policy, action_signature, array, finite, header_text, source_head
from prunekit.policy.heads import ArgmaxHead, ClipHead, Head, TanhHead
from prunekit.policy.program import Activate, Affine, Normalize, Program


def float_to_c(
    program: Program, name: str, metadata: Mapping[str, Any], recorded: NDArray[np.float32] | None = None
) -> CCode:
    """Return ``program`` as C, called ``name``; with a self-test on the ``recorded`` observations [n, inputs].

    Raises InputError for an activation that has no C, and for action numbers beyond int32.
    """
    require_int32(program.head, program.outputs)
    activations = [op.activation for op in program.ops if isinstance(op, Activate)]
    widths = [program.inputs, *program.hidden, program.outputs]
    about = about_policy(widths, [a.name for a in activations], program.parameters, metadata, "float32")
    constants = _constants(program, name)
    tested: list[Constant] = []
    if recorded is not None:
        tested = self_test_constants(name, program.head, recorded, run_float32(program, recorded)[0])
    parts = [source_head(name, constants + tested), *(constant.text for constant in constants)]
    called = c_names(activations)
    functions = [activation_to_c(activation, name, own) for activation, own in called.items()]
    if isinstance(program.head, TanhHead):
        functions.append(TANH.to_c(f"{name}_tanh"))
    parts += _once(functions)
    parts += [_each(name, own) for own in called.values()]
    parts += [*layers_to_c(name, widths), _action(program, name, widths, called)]
    if tested:
        parts.append(self_test(name, program.head, program.inputs, program.outputs, tested))
    nan = "the normalizer's mean" if isinstance(program.ops[0], Normalize) else "0"
    header = header_text(name, program.inputs, program.outputs, program.head, about, nan, recorded is not None)
    outputs = None if isinstance(program.head, ArgmaxHead) else program.outputs
    sizes = tuple(constant.size_bytes for constant in constants)
    return CCode(name, header, "\n".join(parts), program.inputs, outputs, sizes, fills_lines(widths))


def run_float32(program: Program, observations: NDArray[np.float32]) -> tuple[NDArray[Any], Float32]:
    """Return (actions, scores [n, outputs]) of raw observations [n, inputs], to the bit that the C gives."""
    first = program.ops[0]
    values = _normal(first if isinstance(first, Normalize) else None, observations.astype(np.float32))
    with np.errstate(over="ignore", invalid="ignore"):
        for op in program.ops:
            if isinstance(op, Affine):
                total = np.repeat(op.bias[None], len(values), axis=0)
                for index in range(values.shape[1]):
                    total = total + values[:, index : index + 1] * op.weight[:, index]
                values = total
            elif isinstance(op, Activate):
                values = activation_in_float32(op.activation, values)
        return decided(program.head, values), values


def _normal(op: Normalize | None, x: Float32) -> Float32:
    zero = np.float32(0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        value = x if op is None else (x - op.mean) * op.scale
        if op is None or op.clip > LARGEST:
            return np.where(value - value == zero, value, zero)
        clip = np.float32(op.clip)
        return np.where(
            value > clip, clip, np.where(value < -clip, -clip, np.where(np.isnan(value), zero, value))
        ).astype(np.float32)


def decided(head: Head, scores: Float32) -> NDArray[Any]:
    """Return the actions of ``scores`` float32 [n, k]: int32 [n] or float32 [n, k], to the bit that the C gives."""
    if isinstance(head, ArgmaxHead):
        best = np.zeros(len(scores), np.int32)
        rows = np.arange(len(scores))
        for index in range(1, scores.shape[1]):
            best = np.where(scores[:, index] > scores[rows, best], np.int32(index), best)
        return (best + head.start).astype(np.int32)
    low, high = finite(head.low), finite(head.high)
    action = scores
    if isinstance(head, TanhHead):
        half, middle = (np.asarray(values, np.float32) for values in head.affine)
        action = TANH(scores) * half + middle
    return np.where(action > high, high, np.where(action >= low, action, low)).astype(np.float32)


def require_int32(head: Head, outputs: int) -> None:
    """Raise InputError for action numbers that the C cannot return."""
    if isinstance(head, ArgmaxHead) and head.start > 2**31 - outputs:
        raise InputError(f"actions are numbered from {head.start}, but C returns them as numbers of 32 bits")


def self_test_constants(name: str, head: Head, observations: Float32, actions: NDArray[Any]) -> list[Constant]:
    """Return what a self-test compares: ``observations`` [n, inputs] and the ``actions`` there.

    Rows that are not finite have no portable literal in C and are left out. Raises InputError where none is left.
    """
    literal = np.isfinite(observations).all(axis=1)
    if not literal.any():
        raise InputError("no finite observation to test the C on; record some of an environment")
    kind = "int32_t" if isinstance(head, ArgmaxHead) else "float"
    return [array("float", name, "seen", observations[literal]), array(kind, name, "done", actions[literal])]


def self_test(name: str, head: Head, inputs: int, width: int, constants: Sequence[Constant]) -> str:
    """Return the function of the self-test, and the ``constants`` that it compares."""
    upper, count = name.upper(), constants[0].size_bytes // (4 * inputs)
    discrete = isinstance(head, ArgmaxHead)
    kind = "int32_t" if discrete else "float"
    outputs = 1 if discrete else width
    act = f"{name}_action(observation, action)"
    read, macro = f"{upper}_FLOAT", ""
    if discrete:
        act, read = f"action[0] = {name}_action(observation)", f"(int32_t){upper}_INT32"
        macro = (
            f"#if defined(__AVR__)\n#define {upper}_INT32(p) pgm_read_dword(p)\n"
            f"#else\n#define {upper}_INT32(p) (*(p))\n#endif\n\n"
        )
    texts = "\n".join(constant.text for constant in constants)
    return (
        f"{macro}{texts}\n"
        f"int {name}_self_test(void)\n{{\n    float observation[{upper}_INPUTS];\n    {kind} action[{outputs}];\n"
        f"    int row, i, wrong = 0;\n    for (row = 0; row < {count}; ++row) {{\n        int differs = 0;\n"
        f"        for (i = 0; i < {upper}_INPUTS; ++i)\n"
        f"            observation[i] = {upper}_FLOAT(&{name}_seen[row * {upper}_INPUTS + i]);\n        {act};\n"
        f"        for (i = 0; i < {outputs}; ++i)\n"
        f"            differs |= action[i] != {read}(&{name}_done[row * {outputs} + i]);\n"
        f"        wrong += differs;\n    }}\n    return wrong;\n}}\n"
    )


def _once(functions: Sequence[str]) -> list[str]:
    """Return the functions, each but once: two activations may need the same one."""
    pieces = [piece for text in functions for piece in text.split("\n\n")]
    return list(dict.fromkeys(piece.rstrip("\n") + "\n" for piece in pieces))


def _constants(program: Program, name: str) -> list[Constant]:
    parts = []
    if isinstance(program.ops[0], Normalize):
        parts += [
            array("float", name, "mean", program.ops[0].mean),
            array("float", name, "scale", program.ops[0].scale),
        ]
    for index, layer in enumerate(program.layers):
        parts += [
            array("float", name, f"weight_{index}", layer.weight.T),
            array("float", name, f"bias_{index}", layer.bias),
        ]
    return parts + bounds_constants(program.head, name)


def bounds_constants(head: Head, name: str) -> list[Constant]:
    """Return the head's constants, where they differ between components."""
    if isinstance(head, ArgmaxHead):
        return []
    kinds = {"low": finite(head.low), "high": finite(head.high)}
    if isinstance(head, TanhHead):
        kinds |= dict(zip(("half", "middle"), (np.asarray(v, np.float32) for v in head.affine), strict=True))
    return [array("float", name, kind, values) for kind, values in kinds.items() if len(set(values.tolist())) > 1]


def _each(name: str, activation: str) -> str:
    return (
        f"static void {name}_each_{activation}(float *x, int count)\n{{\n    int i;\n"
        f"    for (i = 0; i < count; ++i)\n        x[i] = {name}_{activation}(x[i]);\n}}\n"
    )


def _action(program: Program, name: str, widths: Sequence[int], called: Mapping[Activation, str]) -> str:
    upper, widest = name.upper(), max(widths)
    lines = [action_signature(name, program.head), "{", f"    float a[{widest}];", f"    float b[{widest}];"]
    lines += ["    int i;", f"    for (i = 0; i < {upper}_INPUTS; ++i) {{", *_normal_c(program.ops[0], name), "    }"]
    here, there, width, index = "a", "b", program.inputs, 0
    for op in program.ops:
        match op:
            case Normalize():
                pass
            case Affine():
                lines += [f"    {layer_call(name, index, widths, here, there)}"]
                here, there, width, index = there, here, len(op.bias), index + 1
            case Activate():
                lines += [f"    {name}_each_{called[op.activation]}({here}, {width});"]
    return "\n".join([*lines, *decision(program.head, name, here, program.outputs), "}", ""])


def _normal_c(op: object, name: str) -> list[str]:
    upper = name.upper()
    if not isinstance(op, Normalize):
        return ["        const float v = observation[i];", "        a[i] = v - v == 0.0f ? v : 0.0f;"]
    constants = f"{upper}_FLOAT(&{name}_mean[i])) * {upper}_FLOAT(&{name}_scale[i])"
    lines = [f"        const float v = (observation[i] - {constants};"]
    if op.clip > LARGEST:
        return [*lines, "        a[i] = v - v == 0.0f ? v : 0.0f;"]
    clip = c_float(op.clip)
    return [*lines, f"        a[i] = v > {clip} ? {clip} : (v < -{clip} ? -{clip} : (v == v ? v : 0.0f));"]


def decision(head: Head, name: str, scores: str, outputs: int) -> list[str]:
    """Return the lines that turn ``scores``, a float array of C, into the action; a score that is NaN gives the low."""
    if isinstance(head, ArgmaxHead):
        lines = ["    {", "        int best = 0;", f"        for (i = 1; i < {outputs}; ++i)"]
        lines += [f"            if ({scores}[i] > {scores}[best])", "                best = i;"]
        start = f" + ({head.start})" if head.start else ""
        return [*lines, f"        return (int32_t)best{start};", "    }"]
    low, high = (_bound(name, kind, finite(values)) for kind, values in (("low", head.low), ("high", head.high)))
    value = f"{scores}[i]"
    if isinstance(head, TanhHead):
        half, middle = (
            _bound(name, kind, np.asarray(values, np.float32))
            for kind, values in zip(("half", "middle"), head.affine, strict=True)
        )
        value = f"{name}_tanh({scores}[i]) * {half} + {middle}"
    assert isinstance(head, ClipHead | TanhHead)
    return [
        f"    for (i = 0; i < {outputs}; ++i) {{",
        f"        const float v = {value};",
        f"        const float low = {low}, high = {high};",
        "        action[i] = v > high ? high : (v >= low ? v : low);",
        "    }",
    ]


def _bound(name: str, kind: str, values: Float32) -> str:
    if len(set(values.tolist())) == 1:
        return c_float(float(values[0]))
    return f"{name.upper()}_FLOAT(&{name}_{kind}[i])"
