"""The self-test function: it runs recorded observations on the target, and counts the actions that differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import InputError
from prunekit.export.c_interface import Interface
from prunekit.graph.c.literals import Constant, Float32, array


def self_test_constants(interface: Interface, observations: Float32, actions: NDArray[Any]) -> list[Constant]:
    """Return the constants of a self-test: ``observations`` [n, inputs] and their ``actions``.

    Rows that are not finite have no portable C literal and are left out. Raises InputError if no row is left.
    """
    literal = np.isfinite(observations).all(axis=1)
    if not literal.any():
        raise InputError("there is no finite observation to test the C with; record some in an environment")
    kind, name = _kind(interface), interface.name
    return [array("float", name, "seen", observations[literal]), array(kind, name, "done", actions[literal])]


def self_test(interface: Interface, constants: Sequence[Constant]) -> str:
    """Return the self-test function, which compares the ``constants``."""
    name, upper, kind = interface.name, interface.upper, _kind(interface)
    count, outputs = constants[0].size_bytes // (4 * interface.size), interface.outputs or 1
    read, macro = f"{upper}_FLOAT", ""
    if interface.outputs is None:
        read = f"(int32_t){upper}_INT32"
        macro = (
            f"#if defined(__AVR__)\n#define {upper}_INT32(p) pgm_read_dword(p)\n"
            f"#else\n#define {upper}_INT32(p) (*(p))\n#endif\n\n"
        )
    texts = "\n".join(constant.text for constant in constants)
    state = (f"    {name}_state state;\n", f"    {name}_reset(&state);\n") if interface.states else ("", "")
    return (
        f"{macro}{texts}\n"
        f"int {name}_self_test(void)\n{{\n    float observation[{upper}_INPUTS];\n    {kind} action[{outputs}];\n"
        f"{state[0]}    int row, i, wrong = 0;\n{state[1]}"
        f"    for (row = 0; row < {count}; ++row) {{\n        int differs = 0;\n"
        f"        for (i = 0; i < {upper}_INPUTS; ++i)\n"
        f"            observation[i] = {upper}_FLOAT(&{name}_seen[row * {upper}_INPUTS + i]);\n"
        f"        {interface.call('observation', 'action')};\n"
        f"        for (i = 0; i < {outputs}; ++i)\n"
        f"            differs |= action[i] != {read}(&{name}_done[row * {outputs} + i]);\n"
        f"        wrong += differs;\n    }}\n    return wrong;\n}}\n"
    )


def _kind(interface: Interface) -> str:
    return "int32_t" if interface.outputs is None else "float"
