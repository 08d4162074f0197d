"""Generated C, compiled as strictly as it has to bear and run on observations, by whatever compiler a test wants."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunekit.export.c_code import CCode
from prunekit.export.c_float import float_to_c, run_float32
from prunekit.graph.graph import Graph
from prunekit.policy.actor import Actor
from prunekit.policy.graphs import graph_of
from prunekit.policy.program import Program

STRICT = (
    "-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wdouble-promotion", "-Wshadow", "-pedantic", "-Werror",
)  # fmt: skip
FAST = ("-O3", "-march=native")
SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
COMPILERS = {"gcc": "gcc", "clang": "clang", "cppcheck": "cppcheck"}
MISSING = [package for tool, package in COMPILERS.items() if shutil.which(tool) is None]
REASON = f"needs {', '.join(MISSING)}: apt-get install {' '.join(MISSING)}"

_DRIVER = """#include <stdio.h>
#include "POLICY.h"

int main(void)
{
    float observation[INPUTS];
    RESULT action[OUTPUTS];
    STATE
    while (fread(observation, sizeof(float), INPUTS, stdin) == INPUTS) {
        RESET
        CALL;
        if (fwrite(action, sizeof(action[0]), OUTPUTS, stdout) != OUTPUTS)
            return 1;
    }
    return SELF_TEST;
}
"""


def acted(
    code: CCode,
    observations: NDArray[np.float32],
    folder: Path,
    compiler: str = "gcc",
    flags: Sequence[str] = ("-O2",),
    self_test: bool = False,
    steps: int = 1,
) -> NDArray[Any]:
    """Return the actions of the compiled ``code``: int32 [n], or float32 [n, outputs].

    Several inputs lie side by side in ``observations``. A state is reset before every ``steps`` of them.
    """
    code.write(folder)
    starts = [0, *accumulate(code.fields[:-1])]
    given = [*(["&state"] if code.states else []), *(f"observation + {start}" for start in starts)]
    call = f"{code.name}_action({', '.join(given)}, action)"
    if code.outputs is None:
        call = f"action[0] = {code.name}_action({', '.join(given)})"
    driver = _DRIVER.replace("POLICY", code.name).replace("INPUTS", str(code.inputs)).replace("CALL", call)
    driver = driver.replace("OUTPUTS", str(code.outputs or 1)).replace("RESULT", "float" if code.outputs else "int32_t")
    driver = driver.replace("SELF_TEST", f"{code.name}_self_test()" if self_test else "0")
    driver = driver.replace("STATE", f"{code.name}_state state;\n    int step = 0;" if code.states else "")
    reset = f"if (step++ % {steps} == 0)\n            {code.name}_reset(&state);"
    (folder / "driver.c").write_text(driver.replace("RESET", reset if code.states else ""))
    command = [compiler, *STRICT, *flags, "driver.c", f"{code.name}.c", "-o", "driver"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    assert built.stderr == ""
    done = subprocess.run([folder / "driver"], input=observations.tobytes(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode() or f"{done.returncode} cases of the self-test differ"
    if code.outputs is None:
        return np.frombuffer(done.stdout, np.int32)
    return np.frombuffer(done.stdout, np.float32).reshape(-1, code.outputs)


def with_wild_rows(observations: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``observations`` [n, inputs] and rows of huge, tiny, infinite values and NaN, whole or in one."""
    wild = np.repeat(observations[:1], 8, axis=0)
    for row, value in zip(wild[:6], (1e30, -3e38, 1e-42, np.inf, -np.inf, np.nan), strict=True):
        row[:] = value
    wild[6, 0], wild[7, -1] = np.nan, np.inf
    return np.concatenate([observations, wild])


def float_c(
    policy: Program | Actor, name: str, metadata: Mapping[str, Any], recorded: NDArray[np.float32] | None = None
) -> CCode:
    """Return a chain as C in float32, with a self-test on the ``recorded`` observations."""
    return float_to_c(graph_of(policy), name, metadata, None if recorded is None else {"obs": recorded})


def twin(policy: Program | Actor | Graph, rows: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Return (actions, values before the head) that the C of ``float_c`` must give, to the bit."""
    graph = policy if isinstance(policy, Graph) else graph_of(policy)
    found = run_float32(graph, {"obs": rows})
    return found["action"], found["outputs"]
