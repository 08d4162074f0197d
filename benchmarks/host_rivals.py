"""Other ways to run a policy on this machine, for ``host_latency.py``: LiteRT, and the C of emx-onnx-cgen.

Both get the whole policy, normalizer and clip included.
"""

from __future__ import annotations

import ctypes
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from prunekit.compiled import host_compiler
from prunekit.policy.program import Activate, Affine, Normalize, Program
from prunekit.runtimes.native import vector_flags

Float32 = NDArray[np.float32]
FLAGS = ("-std=c99", "-O3", "-march=native", "-fPIC", "-shared")
# Calls the policy many times on observations that change, and says how long that took.
_LOOP = """#define _POSIX_C_SOURCE 199309L
#include <time.h>
DECLARATION
static float observation[INPUTS], action[OUTPUTS], outputs[OUTPUTS], scores[OUTPUTS];
double loop_ns(int calls);
double loop_ns(int calls)
{
    struct timespec begun, ended;
    int n;
    (void)outputs;
    (void)scores;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    for (n = 0; n < calls; ++n) {
        observation[0] = (float)(n & 1);
        CALL;
    }
    clock_gettime(CLOCK_MONOTONIC, &ended);
    return ((double)(ended.tv_sec - begun.tv_sec) * 1e9 + (double)(ended.tv_nsec - begun.tv_nsec)) / calls;
}
"""


def c_loop(
    folder: Path, source: Path, declaration: str, call: str, sizes: tuple[int, int], vectors: tuple[str, ...]
) -> tuple[Any, Callable[[int], float]]:
    """Return (the library that ``source`` makes, what says the ns per ``call`` over so many of them in C).

    ``vectors`` are the flags that say how wide vectors are to be.
    """
    text = _LOOP.replace("DECLARATION", declaration).replace("CALL", call)
    text = text.replace("INPUTS", str(sizes[0])).replace("OUTPUTS", str(sizes[1]))
    loop, made = folder / "loop.c", folder / "loop.so"
    loop.write_text(text)
    command = [
        host_compiler("the loop"),
        *FLAGS,
        *vectors,
        "-I",
        str(source.parent),
        str(source),
        str(loop),
        "-o",
        str(made),
        "-lm",
    ]
    subprocess.run(command, check=True)
    library = ctypes.CDLL(str(made))
    library.loop_ns.restype = ctypes.c_double
    return library, library.loop_ns


def quicker_c_loop(
    folder: Path, source: Path, declaration: str, call: str, sizes: tuple[int, int]
) -> tuple[Any, Callable[[int], float]]:
    """Return what ``c_loop`` does, with vectors of the width with which ``source`` is faster, 256 or 512 bits."""
    found = []
    for wide in (False, True):
        own = folder / ("wide" if wide else "narrow")
        own.mkdir()
        found.append(c_loop(own, source, declaration, call, sizes, vector_flags(wide=wide)))
    return min(found, key=lambda made: float(np.median([made[1](100) for _ in range(50)])))


def reading_source(folder: Path, count: int) -> Path:
    """Return C that adds ``count`` weights to 64 sums: no network that reads each of its weights once can be faster."""
    made = folder / "reading.c"
    blocks = -(-count // 64)
    made.write_text(
        f"float weights[{blocks}][64] = {{{{1.0f}}}};\nfloat found;\nvoid reading(void)\n{{\n"
        f"    float sums[64] = {{0.0f}};\n    int n, i;\n    for (n = 0; n < {blocks}; ++n)\n"
        "        for (i = 0; i < 64; ++i)\n            sums[i] += weights[n][i];\n"
        "    for (i = 0; i < 64; ++i)\n        found += sums[i];\n}\n"
    )
    return made


def emx_source(onnx: Path, folder: Path) -> Path:
    """Return the C that emx-onnx-cgen makes of an ONNX file, for batches of one."""
    made = folder / "emx.c"
    command = [str(Path(sys.executable).parent / "emx-onnx-cgen"), "compile", str(onnx), str(made)]
    options = [
        "--input-dim",
        "batch=1",
        "--model-name",
        "emx",
        "--large-temp-threshold",
        "0",
        "--large-weight-threshold",
        "0",
    ]
    subprocess.run([*command, *options], check=True, capture_output=True)
    return made


def litert(program: Program) -> Callable[[Float32], Float32]:
    """Return what runs ``program``, tanh units and a clip to [-1, 1], in LiteRT on one thread."""
    interpreter = Interpreter(model_content=_tflite(program), num_threads=1)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    target = interpreter.get_output_details()[0]["index"]

    def run(observation: Float32) -> Float32:
        interpreter.set_tensor(source, observation)
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(target))

    return run


class _Builder:
    """A subgraph of TensorFlow Lite that grows op by op."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version, self.model.buffers, self.model.operatorCodes = 3, [schema.BufferT()], []
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]

    def tensor(self, shape: tuple[int, ...], values: Float32 | None = None) -> int:
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.name = list(shape), schema.TensorType.FLOAT32, f"t{len(self.graph.tensors)}"
        tensor.buffer = 0
        if values is not None:
            tensor.buffer = len(self.model.buffers)
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(values.astype("<f4").tobytes(), np.uint8)
            self.model.buffers.append(buffer)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def op(self, builtin: int, inputs: list[int], width: int, kind: int = 0, options: Any = None) -> int:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = builtin
        code.version = 1
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes)
        self.model.operatorCodes.append(code)
        operator.inputs, operator.outputs = inputs, [self.tensor((1, width))]
        operator.builtinOptionsType, operator.builtinOptions = kind, options
        self.graph.operators.append(operator)
        return int(operator.outputs[0])

    def content(self, source: int, target: int) -> bytes:
        self.graph.inputs, self.graph.outputs = [source], [target]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())


def _tflite(program: Program) -> bytes:
    ops, options = schema.BuiltinOperator, schema.BuiltinOptions
    made = _Builder()
    source = here = made.tensor((1, program.inputs))
    width, left = program.inputs, len(program.layers)
    for op in program.ops:
        if isinstance(op, Normalize):
            mean, scale = made.tensor((width,), op.mean), made.tensor((width,), op.scale)
            here = made.op(ops.SUB, [here, mean], width, options.SubOptions, schema.SubOptionsT())
            here = made.op(ops.MUL, [here, scale], width, options.MulOptions, schema.MulOptionsT())
            if math.isfinite(op.clip):
                for builtin, bound in ((ops.MAXIMUM, -op.clip), (ops.MINIMUM, op.clip)):
                    limit = made.tensor((1,), np.asarray([bound], np.float32))
                    kind = options.MaximumMinimumOptions
                    here = made.op(builtin, [here, limit], width, kind, schema.MaximumMinimumOptionsT())
        elif isinstance(op, Affine):
            left -= 1
            dense = schema.FullyConnectedOptionsT()
            if left == 0:
                dense.fusedActivationFunction = schema.ActivationFunctionType.RELU_N1_TO_1
            inputs = [here, made.tensor(op.weight.shape, op.weight), made.tensor(op.bias.shape, op.bias)]
            width = len(op.bias)
            here = made.op(ops.FULLY_CONNECTED, inputs, width, options.FullyConnectedOptions, dense)
        elif isinstance(op, Activate):
            assert op.activation.name == "tanh"
            here = made.op(ops.TANH, [here], width)
    return made.content(source, here)
