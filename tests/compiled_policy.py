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

_DRIVER = """
static int NAME_play(long rows)
{
    float observation[INPUTS];
    RESULT action[OUTPUTS];
    STATE
    while (rows-- > 0) {
        if (fread(observation, sizeof(float), INPUTS, stdin) != INPUTS)
            return 1;
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
    return _acted([(code, observations, steps)], f'#include "{code.name}.h"\n', folder, compiler, flags, self_test)[0]


def acted_together(
    codes: Sequence[tuple[CCode, NDArray[np.float32], int]],
    folder: Path,
    compiler: str = "gcc",
    flags: Sequence[str] = ("-O2",),
    self_test: bool = False,
) -> list[NDArray[Any]]:
    """Return what ``acted`` does for each of several codes of different names, compiled at once, in half the time.

    Each comes with its observations and steps. As in files of their own, none is inlined where it is called.
    """
    before = "".join(
        f'#include "{code.name}.h"\n__extension__ extern __typeof__({code.name}_action) {code.name}_action'
        f' __attribute__((noinline));\n#include "{code.name}.c"\n'
        for code, _, _ in codes
    )
    return _acted(codes, before, folder, compiler, flags, self_test)


def _acted(
    codes: Sequence[tuple[CCode, NDArray[np.float32], int]],
    before: str,
    folder: Path,
    compiler: str,
    flags: Sequence[str],
    self_test: bool,
) -> list[NDArray[Any]]:
    plays, calls, sources = [], [], ["driver.c"]
    for code, observations, steps in codes:
        code.write(folder)
        plays.append(_play(code, self_test, steps))
        calls.append(f"{code.name}_play({len(observations)}L)")
        sources += [] if f'"{code.name}.c"' in before else [f"{code.name}.c"]
    main = f"int main(void)\n{{\n    return {' + '.join(calls)};\n}}\n"
    (folder / "driver.c").write_text(f"#include <stdio.h>\n{before}{''.join(plays)}\n{main}")
    command = [compiler, *STRICT, *flags, *sources, "-o", "driver"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    assert built.stderr == ""
    given = b"".join(observations.tobytes() for _, observations, _ in codes)
    done = subprocess.run([folder / "driver"], input=given, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode() or f"{done.returncode} cases of the self-test differ"
    sizes = [len(observations) * (code.outputs or 1) for code, observations, _ in codes]
    ends = list(accumulate(sizes))
    assert len(done.stdout) == 4 * ends[-1]
    found = [done.stdout[4 * (end - size) : 4 * end] for end, size in zip(ends, sizes, strict=True)]
    return [
        np.frombuffer(own, np.int32)
        if code.outputs is None
        else np.frombuffer(own, np.float32).reshape(-1, code.outputs)
        for own, (code, _, _) in zip(found, codes, strict=True)
    ]


def _play(code: CCode, self_test: bool, steps: int) -> str:
    starts = [0, *accumulate(code.fields[:-1])]
    given = ", ".join([*(["&state"] if code.states else []), *(f"observation + {start}" for start in starts)])
    call = f"{code.name}_action({given}, action)"
    if code.outputs is None:
        call = f"action[0] = {code.name}_action({given})"
    state = f"{code.name}_state state;\n    int step = 0;" if code.states else ""
    reset = f"if (step++ % {steps} == 0)\n            {code.name}_reset(&state);" if code.states else ""
    texts = {
        "NAME": code.name,
        "INPUTS": str(code.inputs),
        "OUTPUTS": str(code.outputs or 1),
        "RESULT": "float" if code.outputs else "int32_t",
        "CALL": call,
        "STATE": state,
        "RESET": reset,
        "SELF_TEST": f"{code.name}_self_test()" if self_test else "0",
    }
    play = _DRIVER
    for word, text in texts.items():
        play = play.replace(word, text)
    return play


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
