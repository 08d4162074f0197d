"""A policy for immediate use: its C, compiled quickly, or the twin of its C if there is no compiler.

Both give the bits of the exported C (law 2), so episodes judge exactly what will be deployed.
"""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from prunekit.compiled import host_compiler, run_tool
from prunekit.errors import CheckError, InputError
from prunekit.export.c_code import CCode, require_one_flat_input
from prunekit.export.c_float import float_to_c
from prunekit.graph.c.twin import run_twin
from prunekit.graph.graph import Graph, as_dtype
from prunekit.policy.sizes import sizes_of
from prunekit.runtimes.native import FLAGS

Float32 = NDArray[np.float32]
Answers = Callable[[Float32], NDArray[Any]]
"""Raw observations, contiguous float32 [n, obs], to the policy's actions [n, ...]."""

_NAME = "policy"
# For a small policy, optimizing takes longer than it saves. The bits are the same.
_SMALL, _QUICK = 4_096, ("-std=c99", "-O1", "-ffp-contract=off", "-fPIC", "-shared")
_MAX_BATCH = 64
_TWIN_BATCH = 16
_BATCH = """
void {name}_batch(const float *observations, {type} *actions, int count)
{{
    int n;
    for (n = 0; n < count; ++n)
        {call};
}}
"""


@final
class QuickPolicy:
    """A policy that answers batches of observations; ``graph`` has one flat input and no state.

    ``batch`` is the batch size at which it is efficient. Raises InputError, naming node and op, for ops without a C
    form.
    """

    def __init__(self, graph: Graph, *, compiled: bool | None = None) -> None:
        code = float_to_c(graph, _NAME, {})
        require_one_flat_input(code, "a policy that plays")
        function = _compiled(code, sizes_of(graph).parameters) if compiled in (None, True) else None
        if function is None and compiled:
            raise InputError("a compiled policy needs a C compiler (cc, gcc or clang); run: apt-get install gcc")
        self.batch = _TWIN_BATCH if function is None else 1
        self.answers: Answers = _twin(graph) if function is None else _called(function, code)


def _called(function: Any, code: CCode) -> Answers:
    width = code.outputs or 1
    dtype: type[Any] = np.int32 if code.outputs is None else np.float32
    observations = np.zeros((_MAX_BATCH, code.inputs), np.float32)
    actions = np.zeros((_MAX_BATCH, width), dtype)
    addresses = ctypes.c_void_p(observations.ctypes.data), ctypes.c_void_p(actions.ctypes.data)
    one = ctypes.c_int(1)

    def answers(seen: Float32) -> NDArray[Any]:
        if len(seen) == 1:
            observations[0] = seen[0]
            function(*addresses, one)
            return actions[:1].copy()
        found = np.empty((len(seen), width), dtype)
        for first in range(0, len(seen), _MAX_BATCH):
            part = seen[first : first + _MAX_BATCH]
            observations[: len(part)] = part
            function(*addresses, len(part))
            found[first : first + len(part)] = actions[: len(part)]
        return found

    return answers


def _twin(graph: Graph) -> Answers:
    with np.errstate(over="ignore"):
        single = as_dtype(graph, np.float32)
    port = graph.inputs[0]
    action = "action" if "action" in graph.outputs else graph.outputs[0]

    def answers(seen: Float32) -> NDArray[Any]:
        return np.asarray(run_twin(single, {port.name: seen.reshape(-1, *port.shape)}, {})[0][action])

    return answers


def _compiled(code: CCode, parameters: int) -> Any:
    """Return the C function that answers a batch; None if this machine has no working compiler."""
    compiler = _compiler()
    if compiler is None:
        return None
    call = f"{_NAME}_action(observations + n * {code.inputs}, actions + n * {code.outputs})"
    if code.outputs is None:
        call = f"actions[n] = {_NAME}_action(observations + n * {code.inputs})"
    text = _BATCH.format(name=_NAME, type="float" if code.outputs else "int32_t", call=call)
    with tempfile.TemporaryDirectory(prefix="prunekit-", ignore_cleanup_errors=True) as folder:
        place = Path(folder)
        source, made = place / f"{code.name}.c", place / f"{code.name}.so"
        flags = _QUICK if parameters <= _SMALL else FLAGS
        try:
            (place / f"{code.name}.h").write_text(code.header)
            source.write_text(code.source + text)
            run_tool([compiler, *flags, source.name, "-o", str(made)], place)
            library = ctypes.CDLL(str(made))  # it stays loaded when its file is gone
        except (CheckError, OSError):
            return None
    function = library[f"{_NAME}_batch"]
    function.restype = None
    return function


@cache
def _compiler() -> str | None:
    try:
        return host_compiler("a policy that plays")
    except InputError:
        return None
