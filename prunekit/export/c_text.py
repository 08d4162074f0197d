"""Pieces of text that every writer of C shares: the head of the files, constants, comments."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from prunekit.export.c_math import LARGEST, c_float
from prunekit.policy.heads import ArgmaxHead, Head
from prunekit.versions import installed_versions

_PER_LINE = 6
_CLAIM_WIDTH = 100
# Of a file that an earlier version wrote.
_OLD_CLAIM = "The claim is that of prunekit 0.1, under another assumption; compress the policy again for one of today."
_SIZES = {"float": 4, "int32_t": 4, "int16_t": 2, "int8_t": 1, "uint8_t": 1}
AVR_ARRAY_BYTES, AVR_FLASH_BYTES = 32_767, 65_000
"""What avr-gcc makes one constant at most, and what of flash pgm_read_byte reaches, interrupt vectors taken off."""


def header_text(
    name: str, inputs: int, outputs: int, head: Head, about: Sequence[str], nan: str, self_test: bool
) -> str:
    """Return the header: widths, the function and what it promises, ``about`` as a comment, what ``nan`` counts as."""
    upper = name.upper()
    lines = [*_comment(about), f"#ifndef PRUNEKIT_{upper}_H", f"#define PRUNEKIT_{upper}_H", "", "#include <stdint.h>"]
    lines += ["", "#ifdef __cplusplus", 'extern "C" {', "#endif", "", f"#define {upper}_INPUTS {inputs}"]
    lines += [f"#define {upper}_OUTPUTS {1 if isinstance(head, ArgmaxHead) else outputs}", ""]
    promise = f"Values that are not finite are defined too: NaN counts as {nan}."
    if isinstance(head, ArgmaxHead):
        first, last = head.start, head.start + outputs - 1
        lines += [f"/* Returns the action, {first} to {last}, for a raw observation.\n   {promise} */"]
    else:
        lines += [f"/* Writes the action, inside its bounds, for a raw observation.\n   {promise} */"]
    lines += [f"{action_signature(name, head)};", ""]
    if self_test:
        lines += ["/* Returns in how many of the recorded cases this machine acts otherwise: 0 where all is well. */"]
        lines += [f"int {name}_self_test(void);", ""]
    lines += ["#ifdef __cplusplus", "}", "#endif", "", "#endif", ""]
    return "\n".join(lines)


def action_signature(name: str, head: Head) -> str:
    """Return the declaration of the policy's function."""
    upper = name.upper()
    if isinstance(head, ArgmaxHead):
        return f"int32_t {name}_action(const float observation[{upper}_INPUTS])"
    return f"void {name}_action(const float observation[{upper}_INPUTS], float action[{upper}_OUTPUTS])"


def avr_addresses(constant_bytes: Sequence[int]) -> bool:
    """Return whether an AVR, however much flash it has, can address constants of so many bytes each."""
    return sum(constant_bytes) <= AVR_FLASH_BYTES and max(constant_bytes, default=0) <= AVR_ARRAY_BYTES


def source_head(name: str, constants: Sequence[Constant]) -> str:
    """Return the beginning of the source: what it asks of the compiler, and where ``constants`` lie."""
    upper = name.upper()
    sizes = [constant.size_bytes for constant in constants]
    too_large = ""
    if not avr_addresses(sizes):
        too_large = f'#error "beyond what an AVR can address: constants of {sum(sizes)} bytes, one of {max(sizes)}"\n'
    return f"""#include "{name}.h"

#if defined(__FAST_MATH__)
#error "compile this file without -ffast-math: its results are exact to the bit, and NaN is looked for"
#endif
#if defined(__FLT_EVAL_METHOD__) && (__FLT_EVAL_METHOD__ == 1 || __FLT_EVAL_METHOD__ == 2)
#error "this compiler computes floats in a wider type: on 32-bit x86 use -msse2 -mfpmath=sse"
#endif
/* A fused multiply-add would round once where this code rounds twice; clang's -ffp-contract=fast fuses in spite of
   this and must not be given. GCC's vectorizers fuse where they must not: that of statements (it was seen to with
   GCC 12 for x86), and on RISC-V that of loops too. Nobody looks at the flags that operations raise, so that cores
   with vectors may compute both sides of a choice. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__riscv_vector)
#pragma GCC optimize("fp-contract=off", "no-tree-vectorize")
#elif defined(__GNUC__) && (defined(__SSE2__) || defined(__ARM_NEON))
#pragma GCC optimize("fp-contract=off", "no-tree-slp-vectorize", "no-trapping-math")
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off", "no-tree-slp-vectorize")
#endif

#if defined(__AVR__)
{too_large}#include <avr/pgmspace.h>
#define {upper}_FLASH PROGMEM
#define {upper}_FLOAT(p) pgm_read_float(p)
#else
#define {upper}_FLASH
#define {upper}_FLOAT(p) (*(p))
#endif
"""


@final
@dataclass(frozen=True)
class Constant:
    """A constant array as C, and how many bytes it takes."""

    text: str
    size_bytes: int


def array(kind: str, prefix: str, name: str, values: NDArray[Any]) -> Constant:
    """Return the constant array ``<prefix>_<name>`` of float or of an integer type."""
    flat = np.ravel(values)
    texts = [c_float(float(value)) for value in flat] if kind == "float" else [str(int(value)) for value in flat]
    return Constant(_array(kind, f"{prefix}_{name}", texts, prefix.upper()), flat.size * _SIZES[kind])


def _array(kind: str, name: str, texts: Sequence[str], upper: str) -> str:
    rows = [", ".join(texts[i : i + _PER_LINE]) for i in range(0, len(texts), _PER_LINE)]
    body = ",\n    ".join(rows)
    return f"static const {kind} {name}[{len(texts)}] {upper}_FLASH = {{\n    {body}\n}};\n"


def finite(bounds: Sequence[float]) -> NDArray[np.float32]:
    """Return bounds as float32, infinite ones as the largest finite number."""
    return np.clip(np.asarray(bounds, np.float64), -LARGEST, LARGEST).astype(np.float32)


def about_policy(
    widths: Sequence[int], activations: Sequence[str], parameters: int, metadata: Mapping[str, Any], kind: str
) -> list[str]:
    """Return the lines that say what the policy is, where it comes from and what is certified of it."""
    shape = "-".join(map(str, widths))
    functions = ", ".join(dict.fromkeys(activations)) or "linear"
    lines = [f"Written by prunekit {installed_versions(('prunekit',))['prunekit']}; do not edit."]
    lines += [f"{kind}, {shape}, {functions}, {parameters} weights."]
    environment = metadata.get("env")
    if isinstance(environment, Mapping):
        lines += [f"Environment: {environment.get('id')}."]
    certificate = metadata.get("certificate")
    if isinstance(certificate, Mapping) and certificate.get("verdict") == "certified":
        teacher = metadata.get("teacher")
        name = teacher.get("name") if isinstance(teacher, Mapping) else "not named"
        lines += [f"Certified before export, in float32; the teacher: {name}."]
        lines += textwrap.wrap(str(certificate.get("claim", _OLD_CLAIM)), _CLAIM_WIDTH)
    return lines


def _comment(lines: Sequence[str]) -> list[str]:
    """Return a comment that no text can leave: model files bring names of their own."""
    safe = [re.sub(r"[^A-Za-z0-9 .,:;()\[\]'%=+_/-]", "_", line) for line in lines]
    return ["/*", *(f"   {line}" for line in safe), "*/"]
