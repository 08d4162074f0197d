"""Text that all C writers share: the beginning of the files, and comments."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from prunekit.export.c_interface import Interface
from prunekit.graph.c.literals import Constant
from prunekit.versions import installed_versions

_CLAIM_WIDTH = 100
# Of a file that an earlier version wrote.
_OLD_CLAIM = "The claim is that of prunekit 0.1, under another assumption; compress the policy again for one of today."
AVR_ARRAY_BYTES, AVR_FLASH_BYTES = 32_767, 65_000
"""What avr-gcc makes one constant at most, and what of flash pgm_read_byte reaches, interrupt vectors taken off."""


def header_text(interface: Interface, about: Sequence[str], nan: str, self_test: bool) -> str:
    """Return the header: widths, the function and its guarantees, ``about`` as a comment, and what ``nan`` counts
    as.
    """
    upper, name = interface.upper, interface.name
    lines = [*_comment(about), f"#ifndef PRUNEKIT_{upper}_H", f"#define PRUNEKIT_{upper}_H", "", "#include <stdint.h>"]
    lines += ["", "#ifdef __cplusplus", 'extern "C" {', "#endif", "", f"#define {upper}_INPUTS {interface.size}"]
    lines += [f"#define {field.macro} {field.size}" for field in interface.inputs if field.macro != f"{upper}_INPUTS"]
    lines += [f"#define {upper}_OUTPUTS {interface.outputs or 1}", ""]
    if interface.states:
        members = (f"    float {field.name}[{field.size}];" for field in interface.states)
        lines += ["/* What a call leaves for the next one. */", "typedef struct {", *members, f"}} {name}_state;", ""]
        lines += ["/* Begins an episode; to be called before the first action. */", f"{interface.reset_signature};", ""]
    promise = f"Values that are not finite are defined too: NaN counts as {nan}."
    lines += [f"/* {interface.does} for a raw observation.", *_shapes(interface), f"   {promise} */"]
    lines += [f"{interface.signature};", ""]
    if self_test:
        lines += ["/* Returns in how many of the recorded cases this machine acts otherwise: 0 where all is well. */"]
        lines += [f"int {name}_self_test(void);", ""]
    lines += ["#ifdef __cplusplus", "}", "#endif", "", "#endif", ""]
    return "\n".join(lines)


def _shapes(interface: Interface) -> list[str]:
    """Return comments on how values of several axes are laid out in memory."""
    shaped = [field for field in interface.inputs if len(field.shape) > 1]
    return [f"   {field.name} is {list(field.shape)}, the last axis side by side." for field in shaped]


def avr_addresses(constant_bytes: Sequence[int]) -> bool:
    """Return whether an AVR with any amount of flash can address constants of these sizes."""
    return sum(constant_bytes) <= AVR_FLASH_BYTES and max(constant_bytes, default=0) <= AVR_ARRAY_BYTES


IN_CPP = """#if defined(__cplusplus)
#define restrict __restrict
#endif
"""
"""What a compiler of C++ needs that is given the source as it is."""
WITHOUT_FUSED = """/* For x86, GCC's vectorizer of loops fuses too, where lanes add and subtract in turn. */
#if defined(__GNUC__) && !defined(__clang__)
#if defined(__FMA__)
#pragma GCC target("no-fma")
#endif
#if defined(__FMA4__)
#pragma GCC target("no-fma4")
#endif
#if defined(__AVX512F__)
#pragma GCC target("no-avx512f")
#endif
#endif
"""
"""Keeps GCC for x86 from instructions that fuse: no option keeps its vectorizer from using them."""


def source_head(name: str, constants: Sequence[Constant]) -> str:
    """Return the beginning of the source: its requirements on the compiler, and the placement of ``constants``."""
    upper = name.upper()
    sizes = [constant.size_bytes for constant in constants]
    too_large = ""
    if not avr_addresses(sizes):
        too_large = f'#error "beyond what an AVR can address: constants of {sum(sizes)} bytes, one of {max(sizes)}"\n'
    return f"""#include "{name}.h"

{IN_CPP}#if defined(__FAST_MATH__)
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
{WITHOUT_FUSED}
#if defined(__AVR__)
{too_large}#include <avr/pgmspace.h>
#define {upper}_FLASH PROGMEM
#define {upper}_FLOAT(p) pgm_read_float(p)
#else
#define {upper}_FLASH
#define {upper}_FLOAT(p) (*(p))
#endif
"""


def about_policy(
    shape: str, activations: Sequence[str], parameters: int, metadata: Mapping[str, Any], kind: str
) -> list[str]:
    """Return lines about the policy: what it is, where it comes from, and its certificate."""
    functions = ", ".join(dict.fromkeys(activations)) or "linear"
    lines = [f"Written by prunekit {installed_versions(('prunekit',))['prunekit']}; do not edit."]
    lines += [f"{kind}, {shape}, {functions}, {parameters} parameters."]
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
    """Return a comment that no text can terminate, because names come from model files."""
    safe = [re.sub(r"[^A-Za-z0-9 .,:;()\[\]'%=+_/-]", "_", line) for line in lines]
    return ["/*", *(f"   {line}" for line in safe), "*/"]
