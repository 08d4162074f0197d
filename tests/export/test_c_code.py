"""The text of the generated C: clean, self-contained, safe from what a model file says, and usable from C++."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_policies import FORMS, HEADS, INF, INPUTS, NORMALIZER, as_c, observations, program, twin_actions
from compiled_policy import MISSING, REASON, STRICT, acted
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from prunekit.export.c_code import CCode, c_name
from prunekit.export.c_float import float_to_c, run_float32
from prunekit.policy.actor import Normalizer
from prunekit.policy.graphs import graph_of
from prunekit.policy.program import Program

needs_compilers = pytest.mark.skipif(bool(MISSING), reason=REASON)
needs_avr = pytest.mark.skipif(
    shutil.which("avr-gcc") is None, reason="needs avr-gcc and its C library: apt-get install gcc-avr avr-libc"
)
needs_cpp = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++: apt-get install g++")
SEEN = observations(256)
CLIP = HEADS["clip"]
# Every kind of statement that the writers know comes up in one of these.
VARIED = [
    program(HEADS["argmax-from-minus-7"], nn.Sigmoid, normalizer=NORMALIZER),
    program(HEADS["clip-half-open"], nn.LeakyReLU),
    program(HEADS["tanh"], nn.Tanh, normalizer=Normalizer([0.0] * INPUTS, [1.0] * INPUTS, INF)),
    program(HEADS["clip"], nn.ReLU, hidden=()),
]
FLOAT_ONLY = [program(CLIP, activation) for activation in (nn.ELU, nn.GELU, nn.SiLU, nn.Softplus)]
HEADERS = ("arduino", "dirent", "endian", "features", "fcntl", "malloc", "memory", "poll", "pthread", "sched", "search")
HEADERS += ("semaphore", "servo", "spawn", "spi", "strings", "syslog", "termios", "threads", "unistd", "wait", "wire")
HEADERS += (
    "avr",
    "freertos",
    "direct",
    "conio",
    "winsock2",
    "malloc",
    "availability",
    "pgmspace",
    "stdbit",
    "aux",
    "nul",
)
WORDS_OF_C = [
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern", "float",
    "for", "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed", "sizeof",
    "static", "struct", "switch", "typedef", "union", "unsigned", "void", "volatile", "while",
]  # fmt: skip
EVIL = {
    "end of comment": "x */ #error out\n#error out",
    "newlines": "x\n#error out\r\n#error out\r#error out\x0b\x0c\u2028#error out",
    "trigraphs": "x ??/\n#error out *??/\n/ #error out ??!??'",
    "backslash at the end": "x \\\n*\\\n/ #error out \\",
    "begin of comment": "/* x /* // /*",
    "other alphabets": "Käfer-v0 \u2603 \U0001f600 \u202e",
    "control characters": "x\x00\x1b[31m\x7f",
    "long": "*/" * 5000,
}


def commands(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False)


def without_comments(text: str) -> str:
    return re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)


def every_code() -> list[CCode]:
    codes = [
        as_c(policy, form, SEEN, f"policy_{form}_{i}", self_test=True)
        for i, policy in enumerate(VARIED)
        for form in FORMS
    ]
    return codes + [as_c(p, "float32", SEEN, f"float_{i}", self_test=True) for i, p in enumerate(FLOAT_ONLY)]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    for code in every_code():
        code.write(folder)
    return folder


@needs_compilers
def test_cppcheck_finds_nothing(sources: Path) -> None:
    # System headers are not for cppcheck to read, and what is called from outside looks unused in a file of its own.
    suppressed = [f"--suppress={kind}" for kind in ("missingIncludeSystem", "unusedFunction", "unmatchedSuppression")]
    strict = ["--enable=all", "--inconclusive", "--std=c99", "--error-exitcode=1", "--quiet"]
    found = commands("cppcheck", *strict, *suppressed, ".", folder=sources)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_nothing_is_included_but_integers_and_flash() -> None:
    for code in every_code():
        included = re.findall(r"^\s*#\s*include\s*(\S+)", code.header + code.source, re.MULTILINE)
        assert sorted(included) == sorted(["<stdint.h>", f'"{code.name}.h"', "<avr/pgmspace.h>"])
        assert "#if defined(__AVR__)\n#include <avr/pgmspace.h>" in code.source


@needs_compilers
def test_nothing_outside_is_called(sources: Path) -> None:
    # gcc is free to call memcpy and its like from plain loops; at -O1 it does not.
    for path in sorted(sources.glob("*.c")):
        built = commands("gcc", *STRICT, "-O1", "-c", path.name, "-o", "it.o", folder=sources)
        assert (built.returncode, built.stderr) == (0, "")
        assert commands("nm", "--undefined-only", "it.o", folder=sources).stdout == "", path.name
        defined = commands("nm", "--extern-only", "--defined-only", "it.o", folder=sources).stdout.split()[2::3]
        assert sorted(defined) == [f"{path.stem}_action", f"{path.stem}_self_test"]


@needs_compilers
def test_there_are_no_doubles(sources: Path) -> None:
    for path in sorted(sources.glob("*.c")):
        flags = ("-Wunsuffixed-float-constants", "-Wdouble-promotion", "-Werror", "-fsyntax-only")
        built = commands("gcc", *flags, path.name, folder=sources)
        assert (built.returncode, built.stderr) == (0, "")
        assert "double" not in without_comments(path.read_text() + path.with_suffix(".h").read_text())


@needs_compilers
@pytest.mark.parametrize("at_a_time", [1, 4, 9])
def test_how_many_inputs_are_added_at_once_changes_no_bit(at_a_time: int, tmp_path: Path) -> None:
    graph, rows = graph_of(program(CLIP, hidden=(9, 7), normalizer=NORMALIZER)), observations(20)
    code = float_to_c(graph, "policy", {}, at_a_time=at_a_time)
    assert code.source != float_to_c(graph, "policy", {}).source
    expected = run_float32(graph, {"obs": rows})["action"]
    assert acted(code, rows, tmp_path, flags=("-O0",)).tobytes() == expected.tobytes()


@needs_compilers
def test_policies_of_two_names_link_into_one_program(tmp_path: Path) -> None:
    for name, form in (("left", "float32"), ("right", "w8a16"), ("left_leg", "w8a8")):
        as_c(VARIED[0], form, SEEN, name, self_test=True).write(tmp_path)
    (tmp_path / "main.c").write_text(
        '#include "left.h"\n#include "left.h"\n#include "left_leg.h"\n#include "right.h"\n'
        "int main(void)\n{\n    return left_self_test() + right_self_test() + left_leg_self_test();\n}\n"
    )
    names = ("main.c", "left.c", "right.c", "left_leg.c")
    assert commands("gcc", *STRICT, *names, "-o", "main", folder=tmp_path).stderr == ""
    assert commands(tmp_path / "main", folder=tmp_path).returncode == 0


@needs_compilers
@pytest.mark.parametrize("text", EVIL.values(), ids=EVIL)
def test_no_text_of_a_model_file_leaves_the_comment(text: str, tmp_path: Path) -> None:
    metadata: dict[str, Any] = {
        "env": {"id": text, "kwargs": {text: text}},
        "teacher": {"name": text},
        "certificate": {"verdict": "certified", "claim": text},
        text: text,
    }
    policy = VARIED[0]
    for form, compiler in (("float32", "gcc"), ("w8a8", "clang")):
        code = as_c(policy, form, SEEN, metadata=metadata)
        plain = as_c(policy, form, SEEN)
        assert code.source == plain.source
        # What follows the first comment is what there is without metadata; the comment is plain.
        comment, rest = code.header.split("*/", 1)
        assert rest == plain.header.split("*/", 1)[1]
        assert comment.startswith("/*\n")
        assert re.fullmatch(r"[A-Za-z0-9 .,:;()\[\]'%=+_/\n-]*", comment[2:])
        assert len(comment.splitlines()) >= 6
        assert "Certified before export, in float32" in comment
        found = acted(code, SEEN, tmp_path, compiler, ("-trigraphs", "-Wtrigraphs", "-Werror=comment"))
        assert found.tobytes() == twin_actions(policy, form, SEEN, SEEN).tobytes()


def test_the_comment_carries_the_claim_in_plain_words() -> None:
    claim = (
        "With 95% confidence the policy keeps at least 0.95 of the teacher's gain, every return clipped to [-10, 110]."
    )
    metadata = {"teacher": {"name": "agent.zip"}, "certificate": {"verdict": "certified", "claim": claim}}
    header = as_c(VARIED[0], "float32", SEEN, metadata=metadata).header
    words = " ".join(header.split("*/")[0].split())
    assert f"Certified before export, in float32; the teacher: agent.zip. {claim}" in words
    assert max(map(len, header.splitlines())) <= 110
    older = {"certificate": {"verdict": "certified", "keep": 0.95}}
    assert "compress the policy again" in as_c(VARIED[0], "float32", SEEN, metadata=older).header


def test_the_comment_says_what_the_policy_is() -> None:
    metadata = {"env": {"id": "CartPole-v1"}, "certificate": {"verdict": "failed"}}
    kinds = ("float32", "int8 weights, int16 activations", "int8 weights, int8 activations")
    for form, words in zip(FORMS, kinds, strict=True):
        header = as_c(program(CLIP, nn.ReLU, (9, 7)), form, SEEN, metadata=metadata).header
        assert f"{words}, 4-9-7-3, relu, 139 parameters." in header
        assert "Environment: CartPole-v1." in header
        assert "Certified" not in header


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("model", "model"),
        ("Hopper-v5.ppo", "hopper_v5_ppo"),
        ("2fast", "policy_2fast"),
        ("007", "policy_007"),
        ("int", "policy_int"),
        ("Double", "policy_double"),
        ("__while__", "policy_while"),
        ("", "policy"),
        ("__", "policy"),
        ("äöü", "policy"),
        ("größe", "gr_e"),
        ("\u2167", "policy"),
        ("\u0663", "policy"),
        ("a\nb;c", "a_b_c"),
        # C++ keeps these to itself, but here every name goes on: class_action.
        ("class", "class"),
        ("delete", "delete"),
        *((header, f"policy_{header}") for header in HEADERS),
        ("Wire", "policy_wire"),
        ("Windows", "policy_windows"),
        ("avx2intrin", "policy_avx2intrin"),
    ],
)
def test_odd_names(text: str, name: str) -> None:
    assert c_name(text) == name


@given(st.text() | st.sampled_from(WORDS_OF_C))
def test_any_text_makes_a_name_that_stays(text: str) -> None:
    name = c_name(text)
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name)
    assert c_name(name) == name
    assert name not in WORDS_OF_C


@needs_compilers
@pytest.mark.parametrize("text", ["2fast", "int", "class", "A-b", "math", "p", "f" * 60])
def test_policies_of_odd_names_compile(text: str, tmp_path: Path) -> None:
    name = c_name(text)
    for form in FORMS:
        found = acted(as_c(VARIED[0], form, SEEN, name, self_test=True), SEEN, tmp_path, self_test=True)
        assert found.tobytes() == twin_actions(VARIED[0], form, SEEN, SEEN).tobytes()


@needs_compilers
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("compiler", "flag"), [("gcc", "-ffast-math"), ("gcc", "-Ofast"), ("clang", "-ffast-math")])
def test_fast_math_is_refused(form: str, compiler: str, flag: str, tmp_path: Path) -> None:
    _, source = as_c(VARIED[0], form, SEEN).write(tmp_path)
    assert commands(compiler, "-c", source.name, folder=tmp_path).returncode == 0
    refused = commands(compiler, flag, "-c", source.name, folder=tmp_path)
    assert refused.returncode != 0
    assert "compile this file without -ffast-math" in refused.stderr


@needs_compilers
@pytest.mark.skipif(platform.machine() != "x86_64", reason="x87 is what computes floats in a wider type, on x86 only")
def test_floats_in_a_wider_type_are_refused(tmp_path: Path) -> None:
    _, source = as_c(VARIED[0], "float32", SEEN).write(tmp_path)
    refused = commands("gcc", "-mfpmath=387", "-c", source.name, folder=tmp_path)
    assert refused.returncode != 0
    assert "-msse2 -mfpmath=sse" in refused.stderr


@needs_compilers
@needs_avr
def test_what_an_avr_cannot_address_is_said(tmp_path: Path) -> None:
    for form, hidden in (("float32", (100, 100)), ("w8a8", (200, 200))):
        _, source = as_c(program(CLIP, nn.Tanh, hidden), form, SEEN).write(tmp_path)
        assert commands("gcc", *STRICT, "-c", source.name, folder=tmp_path).stderr == ""
        refused = commands("avr-gcc", "-mmcu=atmega2560", "-c", source.name, folder=tmp_path)
        assert refused.returncode != 0
        assert "beyond what an AVR can address: constants of 4" in refused.stderr


@needs_compilers
@needs_cpp
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("policy", VARIED[:2], ids=["number", "vector"])
def test_the_header_serves_cpp(policy: Program, form: str, tmp_path: Path) -> None:
    code = as_c(policy, form, SEEN, "class", self_test=True)
    code.write(tmp_path)
    act = "return class_action(observation);"
    if code.outputs is not None:
        act = "float action[CLASS_OUTPUTS]; class_action(observation, action); return (int)(1000.0f * action[0]);"
    (tmp_path / "main.cpp").write_text(
        '#include "class.h"\n#include "class.h"\n\nstatic int act() {\n'
        f"    const float observation[CLASS_INPUTS] = {{}};\n    {act}\n}}\n\n"
        f"int main() {{ return class_self_test() + (act() == {first_action(policy, form)} ? 0 : 100); }}\n"
    )
    assert commands("gcc", *STRICT, "-c", "class.c", folder=tmp_path).stderr == ""
    strict = ("-std=c++11", "-Wall", "-Wextra", "-pedantic", "-Wredundant-decls", "-Werror")
    assert commands("g++", *strict, "main.cpp", "class.o", "-o", "main", folder=tmp_path).stderr == ""
    assert commands(tmp_path / "main", folder=tmp_path).returncode == 0


def first_action(policy: Program, form: str) -> int:
    action = twin_actions(policy, form, SEEN, np.zeros((1, INPUTS), np.float32))[0]
    return int(action) if action.ndim == 0 else int(np.float32(1000.0) * action[0])
