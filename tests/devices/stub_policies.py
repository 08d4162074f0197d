"""Small policies of the contract of ``CCode``, written by hand, and the float32 answers that they must give."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from prunekit.devices.cores import CORES
from prunekit.devices.toolchain import can_count
from prunekit.export.c_code import CCode

_ROOT = np.random.default_rng(0)
FIRST: NDArray[np.float32] = _ROOT.normal(size=(8, 4)).astype(np.float32)
SECOND: NDArray[np.float32] = _ROOT.normal(size=(2, 8)).astype(np.float32)
OBSERVATIONS: NDArray[np.float32] = _ROOT.normal(size=(8, 4)).astype(np.float32)


SIMAVR_HEADERS = Path("/usr/include/simavr")


def needs(name: str) -> pytest.MarkDecorator:
    """Skip a test, telling the packages, where a tool of the target called ``name`` is missing."""
    target = CORES[name]
    emulators = [machine.emulator for machine in target.machines] if target.mcu is None else []
    lacking = [tool for tool in dict.fromkeys((target.compiler, *emulators, "cc")) if shutil.which(tool) is None]
    if target.mcu is not None and not SIMAVR_HEADERS.exists():
        lacking.append("libsimavr")
    lacking += [f"a {tool} with plugins" for tool in emulators if (path := shutil.which(tool)) and not can_count(path)]
    why = f"{name} lacks {', '.join(lacking)}: apt-get install {' '.join(target.packages)}"
    return pytest.mark.skipif(bool(lacking), reason=why)


def with_tools(*names: str) -> list[object]:
    return [pytest.param(CORES[name], id=name, marks=needs(name)) for name in names or CORES]


def header(name: str, inputs: int, outputs: int | None) -> str:
    upper = name.upper()
    lines = ["#include <stdint.h>", f"#define {upper}_INPUTS {inputs}"]
    if outputs is None:
        lines += [f"int32_t {name}_action(const float observation[{upper}_INPUTS]);"]
    else:
        lines += [
            f"#define {upper}_OUTPUTS {outputs}",
            f"void {name}_action(const float observation[{upper}_INPUTS], float action[{upper}_OUTPUTS]);",
        ]
    return "\n".join(lines) + "\n"


def policy(body: str, inputs: int = 1, outputs: int | None = 1, before: str = "") -> CCode:
    result, action = ("int32_t", "") if outputs is None else ("void", f", float action[{outputs}]")
    signature = f"{result} stub_action(const float observation[{inputs}]{action})"
    source = f'#include "stub.h"\n{before}\n{signature} {{\n{body}\n}}\n'
    return CCode(name="stub", header=header("stub", inputs, outputs), source=source, inputs=inputs, outputs=outputs)


def _numbers(array: NDArray[np.float32]) -> str:
    return "{" + ", ".join(f"{float(number).hex()}f" for number in array.ravel()) + "}"


_DENSE = """
    float hidden[8];
    int i, j;
    for (i = 0; i < 8; i++) {
        float sum = 0.0f;
        for (j = 0; j < 4; j++) sum += first[4 * i + j] * observation[j];
        hidden[i] = sum > 0.0f ? sum : 0.0f;
    }
    for (i = 0; i < 2; i++) {
        float sum = 0.0f;
        for (j = 0; j < 8; j++) sum += second[8 * i + j] * hidden[j];
        scores[i] = sum;
    }
"""
_WEIGHTS = f"static const float first[32] = {_numbers(FIRST)};\nstatic const float second[16] = {_numbers(SECOND)};"
CONTINUOUS = policy(_DENSE.replace("scores", "action"), 4, 2, _WEIGHTS)
DISCRETE = policy(f"float scores[2];\n{_DENSE}\nreturn scores[0] > 0.0f ? 7 : -70000;", 4, None, _WEIGHTS)


def outputs_of(observation: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the scores of both policies, summed in float32 in the order of the C loops."""
    hidden = np.maximum(_layer(FIRST, observation), np.float32(0))
    return _layer(SECOND, hidden)


def _layer(weights: NDArray[np.float32], inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    total = np.zeros(len(weights), np.float32)
    for column, number in zip(weights.T, inputs, strict=True):
        total = total + column * number
    return total
