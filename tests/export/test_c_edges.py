"""The ends of what C can do: tiny and huge numbers, odd names, damaged files, half-written folders."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from c_policies import FORMS, HEADS, INPUTS, as_c, observations, program, twin_actions
from compiled_policy import FAST, MISSING, REASON, SANITIZED, acted
from torch import nn

from prunekit.devices.build import build
from prunekit.devices.cores import CORES
from prunekit.devices.emulator import count
from prunekit.errors import InputError
from prunekit.export.c_code import c_name
from prunekit.policy.actor import Actor, Normalizer
from prunekit.policy.artifact import make_artifact, save
from prunekit.policy.heads import ArgmaxHead
from prunekit.policy.program import lower

sys.path.append(str(Path(__file__).parents[1] / "devices"))
from stub_policies import needs

Run = Callable[..., tuple[int, str, str]]
INTEGERS = ("w8a16", "w8a8")
SEEN = observations(64)
pytestmark = pytest.mark.skipif(bool(MISSING), reason=REASON)


def saved(path: Path, provenance: dict[str, object]) -> Path:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    save(make_artifact(Actor(network, ArgmaxHead()), None, provenance), path)
    return path


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["my_name", "upper_arm", "point_t"])
def test_names_that_hold_a_word_of_the_templates_compile(name: str, form: str, tmp_path: Path) -> None:
    policy = program(HEADS["tanh"])
    found = acted(as_c(policy, form, SEEN, name, self_test=True), SEEN, tmp_path, self_test=True)
    assert found.tobytes() == twin_actions(policy, form, SEEN, SEEN).tobytes()


@pytest.mark.parametrize("called", ["stdint", "features", "sched", "pthread", "endian", "time", "alloca", "byteswap"])
def test_a_policy_called_like_a_system_header_hides_none(called: str, tmp_path: Path) -> None:
    name = c_name(called)
    as_c(program(HEADS["argmax"]), "float32", SEEN, name).write(tmp_path)
    (tmp_path / "user.c").write_text(f"#include <pthread.h>\n#include <stdlib.h>\n#include <{name}.h>\n")
    command = ["gcc", "-std=gnu11", "-I.", "-c", f"{name}.c", "user.c"]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr


@pytest.mark.parametrize("flags", [("-O0",), ("-Os",), ("-O3",), FAST], ids=" ".join)
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_layers_of_every_width_keep_the_order_of_their_sums(
    compiler: str, flags: tuple[str, ...], tmp_path: Path
) -> None:
    widths = (1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 14, 15, 16, 17, 18, 19, 20, 21, 40)
    policy = program(HEADS["clip-unbounded"], hidden=widths, gain=3.0)
    found = acted(as_c(policy, "float32", SEEN), SEEN, tmp_path, compiler, flags)
    assert found.tobytes() == twin_actions(policy, "float32", SEEN, SEEN).tobytes()


@needs("avr-uno")
@pytest.mark.parametrize("form", INTEGERS)
def test_sigmoid_on_a_core_whose_int_has_16_bits(form: str) -> None:
    policy = program(HEADS["tanh"], nn.Sigmoid)
    expected = twin_actions(policy, form, SEEN, SEEN[:8])
    found = count(build(as_c(policy, form, SEEN), CORES["avr-uno"]), SEEN[:8]).actions
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("form", INTEGERS)
@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
@pytest.mark.parametrize("size", [1e-7, 1e-9, 1e-20])
def test_units_of_tiny_weights_beside_others(
    size: float, activation: type[nn.Module], form: str, tmp_path: Path
) -> None:
    policy = program(HEADS["clip-unbounded"], activation)
    for layer in policy.layers[:-1]:
        layer.weight[0] *= size
        layer.bias[0] = 0.0
    expected = twin_actions(policy, form, SEEN, SEEN)
    assert acted(as_c(policy, form, SEEN), SEEN, tmp_path, "gcc", SANITIZED).tobytes() == expected.tobytes()


@pytest.mark.parametrize("form", INTEGERS)
@pytest.mark.parametrize("slope", [1.0, -1.0, 1.01, -2.5, 3e4, -1e6])
def test_the_steepest_slopes_do_not_wrap(slope: float, form: str, tmp_path: Path) -> None:
    policy = lower(Actor(steep(slope), HEADS["clip-unbounded"]))
    rows = 5.0 * SEEN
    expected = twin_actions(policy, form, SEEN, rows)
    assert acted(as_c(policy, form, SEEN), rows, tmp_path, "gcc", SANITIZED).tobytes() == expected.tobytes()


def steep(slope: float) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(INPUTS, 6), nn.LeakyReLU(slope), nn.Linear(6, 3))


@pytest.mark.parametrize("form", FORMS)
def test_a_clip_beyond_float32_is_none(form: str, tmp_path: Path) -> None:
    policy = program(HEADS["tanh"], normalizer=Normalizer([0.0] * INPUTS, [1.0] * INPUTS, 1e39))
    expected = twin_actions(policy, form, SEEN, SEEN)
    assert acted(as_c(policy, form, SEEN), SEEN, tmp_path).tobytes() == expected.tobytes()


def test_a_parameter_beyond_float32_is_refused() -> None:
    with pytest.raises(InputError, match=r"'leaky_relu' has a parameter beyond float32: 1e\+39"):
        as_c(lower(Actor(steep(1e39), HEADS["tanh"])), "float32", SEEN)


@pytest.mark.parametrize("form", INTEGERS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_recorded_observations_that_are_not_finite_are_refused(value: float, form: str) -> None:
    seen = SEEN.copy()
    seen[3, 1] = value
    with pytest.raises(InputError, match="recorded observation is not finite"):
        as_c(program(HEADS["tanh"]), form, seen)


def test_ranges_near_the_largest_float_saturate(tmp_path: Path) -> None:
    seen, policy = SEEN * np.float32(1e30), program(HEADS["tanh"])
    expected = twin_actions(policy, "w8a16", seen, seen)
    assert acted(as_c(policy, "w8a16", seen), seen, tmp_path).tobytes() == expected.tobytes()


def test_ranges_near_the_smallest_float_are_refused() -> None:
    with pytest.raises(InputError, match="is too small or too large for float32"):
        as_c(program(HEADS["tanh"]), "w8a16", (SEEN.astype(np.float64) * 1e-38).astype(np.float32))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("start", [2**31 - 3, 1 - 2**31])
def test_action_numbers_up_to_32_bits(start: int, form: str, tmp_path: Path) -> None:
    policy = program(ArgmaxHead(start))
    found = acted(as_c(policy, form, SEEN), SEEN, tmp_path, "gcc", SANITIZED)
    assert found.tobytes() == twin_actions(policy, form, SEEN, SEEN).tobytes()
    assert set(found.tolist()) <= {start, start + 1, start + 2}


@pytest.mark.parametrize("form", FORMS)
def test_action_numbers_beyond_32_bits_are_refused(form: str) -> None:
    with pytest.raises(InputError, match="numbered from 2147483646"):
        as_c(program(ArgmaxHead(2**31 - 2)), form, SEEN)


@pytest.mark.parametrize("form", INTEGERS)
def test_the_header_tells_what_nan_is_in_integers(form: str) -> None:
    header = as_c(program(HEADS["clip-unbounded"], nn.Identity), form, SEEN).header
    assert "NaN counts as the middle of what was recorded." in header


@pytest.mark.parametrize("confidence", ["high", None, [1]])
def test_a_damaged_certificate_is_no_crash(confidence: object, tmp_path: Path, run: Run) -> None:
    certificate = {"verdict": "certified", "confidence": confidence}
    path = saved(tmp_path / "p.pt", {"certificate": certificate})
    assert run("export", path, "--format", "c", "-q") == (0, "", "")


@pytest.mark.parametrize("words", [[], ["--arduino"]])
def test_of_the_files_all_are_written_or_none(words: list[str], tmp_path: Path, run: Run) -> None:
    path, out = saved(tmp_path / "p.pt", {}), tmp_path / "out"
    (out / ("P/src/p.c" if words else "p.c")).mkdir(parents=True)
    code, _, err = run("export", path, "--format", "c", "--out", out, *words)
    assert (code, "p.c: is a folder" in err) == (2, True)
    assert not [path for path in out.rglob("*") if path.is_file()]


def test_an_environment_for_onnx_is_refused(tmp_path: Path, run: Run) -> None:
    code, _, err = run("export", saved(tmp_path / "p.pt", {}), "--env", "CartPole-v1")
    assert (code, "--env needs --format c" in err) == (2, True)
