"""The functions that the generated C brings along: how far from the true ones, where they end, and as C."""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from compiled_policy import MISSING, REASON, STRICT
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from prunekit.errors import InputError
from prunekit.graph.c.functions import (
    ERF,
    TANH,
    cos,
    cos_c,
    decay,
    decay_c,
    exp,
    exp_c,
    log,
    log_c,
    root,
    root_c,
    sin,
    sin_c,
)
from prunekit.graph.c.literals import Float32, c_float
from prunekit.ops.activation_c import C_KINDS, activation_in_float32, activation_to_c
from prunekit.ops.activation_kinds import KINDS

Reference = Callable[[NDArray[np.float64]], NDArray[np.float64]]
LARGEST, SMALLEST = float(np.finfo(np.float32).max), 2.0**-149
ACTIVATIONS = [
    (kind.name, numbers)
    for kind in KINDS.values()
    for numbers in dict.fromkeys((tuple(kind.numbers.values()), (0.3,) * len(kind.numbers), (2.5,) * len(kind.numbers)))
]
# What is allowed per size of the input, once that is above 1: silu and gelu multiply an error by their input.
ALLOWED = {"tanh": 6e-7, "sigmoid": 4e-7, "softplus": 5e-7, "silu": 4e-7, "gelu": 5e-7, "elu": 6e-7, "mish": 5e-7}
ALLOWED |= {"gelu_tanh": 5e-7, "celu": 6e-7, "selu": 1.1e-6, "softsign": 2e-7, "hardsigmoid": 2e-7, "hardswish": 2e-7}
ROUNDING = 1.2e-7
OWN = [
    ("root", root_c, root),
    ("decay", decay_c, decay),
    ("exp", exp_c, exp),
    ("log", log_c, log),
    ("sin", sin_c, sin),
    ("cos", cos_c, cos),
]
_EACH = """int main(void)
{
    float x, y[COUNT];
    while (fread(&x, sizeof x, 1, stdin) == 1) {
CALLS
        if (fwrite(y, sizeof y[0], COUNT, stdout) != COUNT)
            return 1;
    }
    return 0;
}
"""
SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, LARGEST, -LARGEST, SMALLEST, -SMALLEST], np.float32)


def grid() -> Float32:
    """Return many finite float32: close together around 0, and of every size down to the smallest denormal."""
    near = np.linspace(-20.0, 20.0, 200_001)
    sizes = np.exp2(np.linspace(-149.0, 127.999, 20_000))
    values = np.concatenate([near, sizes, -sizes, SPECIAL[np.isfinite(SPECIAL)]])
    return np.unique(values.astype(np.float32))


def erf(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.frompyfunc(math.erf, 1, 1)(x), np.float64)


@pytest.mark.parametrize(
    ("function", "reference", "allowed", "relative"), [(TANH, np.tanh, 6e-7, 1e-6), (ERF, erf, 7e-7, 3e-6)]
)
def test_rationals_are_near_the_true_function_everywhere(
    function: Callable[[Float32], Float32], reference: Reference, allowed: float, relative: float
) -> None:
    x = grid()
    error = np.abs(function(x).astype(np.float64) - reference(x.astype(np.float64)))
    assert error.max() <= allowed
    small = np.abs(x) < 1e-2
    # In steps of denormals there is no relative error to speak of.
    size = np.maximum(np.abs(reference(x[small].astype(np.float64))), 2.0**-126)
    assert (error[small] / size).max() <= relative


def test_tanh_has_the_sign_of_its_argument_and_never_exceeds_one() -> None:
    x = grid()
    y = TANH(x)
    assert y.dtype == np.float32
    assert np.array_equal(np.sign(y), np.sign(x))
    assert np.abs(y).max() == 1.0
    assert np.array_equal(TANH(-x), -y)
    assert np.all(np.diff(y[np.abs(x) < 2.0]) > -1e-6)


def test_rationals_end_where_they_say_and_nan_gives_minus_one() -> None:
    for function in (TANH, ERF):
        ends = function(np.array([function.end, -function.end, np.inf, -np.inf, LARGEST, np.nan], np.float32))
        assert ends.tolist() == [1.0, -1.0, 1.0, -1.0, 1.0, -1.0]


def test_the_root_is_near_the_true_one_everywhere() -> None:
    x = grid()
    positive = x[x > 0.0]
    true = np.sqrt(positive.astype(np.float64))
    assert (np.abs(root(positive) - true) / np.spacing(true.astype(np.float32))).max() < 1.0
    squares = np.arange(1.0, 2000.0, dtype=np.float32)
    assert np.array_equal(root(squares * squares), squares)
    odd = np.array([0.0, -0.0, -1.0, np.inf, np.nan], np.float32)
    assert np.array_equal(root(odd), odd, equal_nan=True)


@pytest.mark.parametrize(
    ("function", "true", "low", "high", "allowed"),
    [
        (exp, np.exp, -87.0, 88.7, 3e-7),
        (log, np.log, 1e-38, LARGEST, 2e-7),
        (sin, np.sin, -30.0, 30.0, 4e-7),
        (cos, np.cos, -30.0, 30.0, 4e-7),
    ],
)
def test_other_functions_are_near_the_true_ones(
    function: Callable[[Float32], Float32], true: Reference, low: float, high: float, allowed: float
) -> None:
    x = grid()
    x = x[(x >= low) & (x <= high)]
    expected = true(x.astype(np.float64))
    size = np.abs(expected) if function is exp else np.maximum(np.abs(expected), 1.0)
    assert (np.abs(function(x) - expected) / size).max() <= allowed


def test_other_functions_are_defined_everywhere() -> None:
    odd = np.array([np.nan, np.inf, -np.inf, 0.0, -1.0], np.float32)
    np.testing.assert_array_equal(exp(odd[:4]), np.array([0.0, np.inf, 0.0, 1.0], np.float32))
    np.testing.assert_array_equal(log(odd), np.array([np.nan, np.inf, np.nan, -np.inf, np.nan], np.float32))
    assert sin(odd)[:3].tolist() == [0.0] * 3
    assert cos(odd)[:3].tolist() == [1.0] * 3


def test_decay_is_near_the_true_exponential_below_zero() -> None:
    x = grid()
    below = x[x <= 0.0]
    assert np.abs(decay(below) - np.exp(below.astype(np.float64))).max() <= 6e-7
    assert decay(np.zeros(1, np.float32)) == 1.0
    assert (decay(below) >= 0.0).all()
    assert decay(np.array([-np.inf, np.nan], np.float32)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("kind", "numbers"), ACTIVATIONS, ids=str)
def test_twins_are_near_float64(kind: str, numbers: tuple[float, ...]) -> None:
    x = grid()
    x = x[np.abs(x) < 1e38]  # beyond it slopes above one give infinity
    y = activation_in_float32(kind, numbers, x)
    assert y.dtype == np.float32
    with np.errstate(all="ignore"):
        expected = KINDS[kind].reference(x.astype(np.float64), *numbers)
    size = np.maximum(np.abs(x.astype(np.float64)), 1.0) * max([1.0, *numbers, *(1.0 / number for number in numbers)])
    assert (np.abs(y - expected) / size).max() <= ALLOWED.get(kind, ROUNDING)


@pytest.mark.parametrize(("kind", "numbers"), ACTIVATIONS, ids=str)
def test_twins_have_the_limits_of_the_true_function(kind: str, numbers: tuple[float, ...]) -> None:
    with np.errstate(all="ignore"):
        below, above = KINDS[kind].reference(np.array([-1e6, 1e30]), *numbers)
    found = activation_in_float32(kind, numbers, np.array([-LARGEST if below == 0.0 else -1e6, np.inf], "f4"))
    assert found[0] == pytest.approx(below, rel=1e-6, abs=1e-7)
    assert found[1] == (1.0 if above == 1.0 else np.inf)


def test_relu_is_exact_and_takes_nan_for_zero() -> None:
    x = np.concatenate([grid(), np.array([np.inf, -np.inf, np.nan], np.float32)])
    expected = np.maximum(np.nan_to_num(x, nan=0.0, posinf=np.inf, neginf=-np.inf), np.float32(0.0))
    assert np.array_equal(activation_in_float32("relu", (), x), expected)


@pytest.mark.skipif(bool(MISSING), reason=REASON)
@pytest.mark.parametrize(("compiler", "flags"), [("gcc", "-O0"), ("gcc", "-O3"), ("clang", "-O2")])
def test_each_function_in_c_gives_the_bits_of_its_twin(tmp_path: Path, compiler: str, flags: str) -> None:
    x = np.concatenate([grid()[::7], SPECIAL])
    functions = [activation_to_c(kind, numbers, f"f{i}", kind) for i, (kind, numbers) in enumerate(ACTIVATIONS)]
    names = [f"f{i}_{kind}" for i, (kind, _) in enumerate(ACTIVATIONS)] + [f"{name}_{name}" for name, _, _ in OWN]
    calls = [f"        y[{i}] = {name}(x);" for i, name in enumerate(names)]
    main = _EACH.replace("CALLS", "\n".join(calls)).replace("COUNT", str(len(names)))
    everything = ["#include <stdint.h>", "#include <stdio.h>", *functions, *(to_c(name) for name, to_c, _ in OWN), main]
    (tmp_path / "all.c").write_text("\n".join(everything))
    command = [compiler, *STRICT, flags, "-ffp-contract=off", "all.c", "-o", "all"]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (built.returncode, built.stderr) == (0, "")
    done = subprocess.run([tmp_path / "all"], input=x.tobytes(), capture_output=True, check=True)
    found = np.frombuffer(done.stdout, np.float32).reshape(-1, len(names))
    with np.errstate(all="ignore"):
        twins = [activation_in_float32(kind, numbers, x) for kind, numbers in ACTIVATIONS]
        twins += [function(x) for _, _, function in OWN]
    for column, name, expected in zip(found.T, names, twins, strict=True):
        known = ~np.isnan(expected)  # the sign and payload of a NaN are the processor's
        assert np.array_equal(known, ~np.isnan(column)), name
        assert column[known].tobytes() == expected[known].astype(np.float32).tobytes(), name


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
@example(0.0)
@example(-0.0)
@example(SMALLEST)
@example(-LARGEST)
@example(1.0)
def test_c_float_loses_nothing(value: float) -> None:
    literal = c_float(value)
    assert re.fullmatch(r"-?0x[01](\.[0-9a-f]*[1-9a-f])?p[+-][0-9]+f", literal)
    read = float.fromhex(literal.removesuffix("f"))
    assert (read, math.copysign(1.0, read)) == (value, math.copysign(1.0, value))


@pytest.mark.skipif(bool(MISSING), reason=REASON)
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_compilers_read_literals_as_they_were_meant(tmp_path: Path, compiler: str) -> None:
    values = np.concatenate([grid()[::401], SPECIAL[np.isfinite(SPECIAL)]])
    literals = ",\n".join(c_float(float(value)) for value in values)
    (tmp_path / "values.c").write_text(
        f"#include <stdio.h>\nstatic const float values[] = {{\n{literals}\n}};\n"
        "int main(void)\n{\n    return fwrite(values, sizeof values, 1, stdout) == 1 ? 0 : 1;\n}\n"
    )
    command = [compiler, *STRICT, "values.c", "-o", "values"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert subprocess.run([tmp_path / "values"], capture_output=True, check=True).stdout == values.tobytes()


def test_every_activation_that_prunekit_knows_has_c() -> None:
    assert list(C_KINDS) == list(KINDS)
    for kind, numbers in ACTIVATIONS:
        assert f"static float p_{kind}(float x)" in activation_to_c(kind, numbers, "p", kind)


def test_an_unknown_activation_is_refused_by_name() -> None:
    refused = "the activation 'wave' cannot be written as C; possible are tanh, relu, .*gelu"
    for attempt in (
        lambda: activation_to_c("wave", (), "p", "wave"),
        lambda: activation_in_float32("wave", (), np.zeros(1, np.float32)),
    ):
        with pytest.raises(InputError, match=refused):
            attempt()
