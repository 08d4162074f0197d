"""Generated C, compiled as strictly as it has to bear and run on observations, by whatever compiler a test wants."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunekit.export.c_code import CCode

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
    while (fread(observation, sizeof(float), INPUTS, stdin) == INPUTS) {
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
) -> NDArray[Any]:
    """Return the actions of the compiled ``code``: int32 [n], or float32 [n, outputs]."""
    code.write(folder)
    call = f"{code.name}_action(observation, action)"
    if code.outputs is None:
        call = f"action[0] = {code.name}_action(observation)"
    driver = _DRIVER.replace("POLICY", code.name).replace("INPUTS", str(code.inputs)).replace("CALL", call)
    driver = driver.replace("OUTPUTS", str(code.outputs or 1)).replace("RESULT", "float" if code.outputs else "int32_t")
    driver = driver.replace("SELF_TEST", f"{code.name}_self_test()" if self_test else "0")
    (folder / "driver.c").write_text(driver)
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
