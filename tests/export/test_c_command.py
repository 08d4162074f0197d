"""``prunekit export --format c``: the files it writes, that they work, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from compiled_policy import MISSING, REASON, STRICT, acted, twin
from torch import nn

from prunekit.export import command
from prunekit.export.c_code import CCode
from prunekit.policy.actor import Actor, Normalizer
from prunekit.policy.artifact import load, make_artifact, save
from prunekit.policy.heads import ArgmaxHead, Head, TanhHead
from prunekit.policy.program import lower
from prunekit.readers.read import read_policy

Run = Callable[..., tuple[int, str, str]]
needs_compilers = pytest.mark.skipif(bool(MISSING), reason=REASON)
needs_avr = pytest.mark.skipif(
    shutil.which("avr-gcc") is None, reason="needs avr-gcc and its C library: apt-get install gcc-avr avr-libc"
)
needs_cpp = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++: apt-get install g++")
PENDULUM = {"env": {"id": "Pendulum-v1", "kwargs": {}}}
FORMS = {
    "float32": [],
    "w8a16": ["--int8"],
    "w8a16, named": ["--int8", "--activations", "16"],
    "w8a8": ["--int8", "--activations", "8"],
}
_MAIN = '#include "NAME.h"\n\nint main(void)\n{\n    return NAME_self_test();\n}\n'
# As much of Arduino as the sketch asks for.
_ARDUINO = """#include <stdint.h>
struct Printer {
    void begin(long) {}
    void print(const char *) {}
    template <typename T> void println(T) {}
    template <typename T> void println(T, int) {}
};
static Printer Serial;
static unsigned long micros() { return 0; }
static void delay(unsigned long) {}
"""


def saved(
    path: Path, inputs: int = 3, outputs: int = 1, provenance: dict[str, object] | None = None, head: Head | None = None
) -> Path:
    """Write a small random policy, of Pendulum-v1 unless told otherwise, to ``path``."""
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, outputs))
    normalizer = Normalizer([0.1] * inputs, [0.8] * inputs, 5.0)
    chosen = TanhHead(low=(-2.0,) * outputs, high=(2.0,) * outputs) if head is None else head
    artifact = make_artifact(Actor(network, chosen, normalizer), None, PENDULUM if provenance is None else provenance)
    save(artifact, path)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return saved(tmp_path / "Swing-up.v2.pt")


def refused(result: tuple[int, str, str], *words: str) -> None:
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.count("\n") == 1, f"not one line: {err}"
    assert "Traceback" not in err
    for word in words:
        assert word in err


def self_tested(folder: Path, name: str) -> int:
    """Compile the source ``name`` in ``folder`` and return what its self-test returns."""
    (folder / "main.c").write_text(_MAIN.replace("NAME", name))
    command = ["gcc", *STRICT, "main.c", f"{name}.c", "-o", "main"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (built.returncode, built.stderr) == (0, "")
    return subprocess.run([folder / "main"], check=False).returncode


@needs_compilers
def test_the_files_are_named_after_the_model_and_are_the_policy(model: Path, tmp_path: Path, run: Run) -> None:
    code, out, err = run("export", model, "--format", "c")
    assert (code, err) == (0, "")
    header, source = tmp_path / "swing_up_v2.h", tmp_path / "swing_up_v2.c"
    assert {path.name for path in tmp_path.iterdir()} == {model.name, header.name, source.name}
    assert re.fullmatch(rf"{source}: float32; torch and NumPy agree with it within [0-9.]+e-0[789]\n", out)
    assert "Environment: Pendulum-v1." in header.read_text()
    rows = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    (tmp_path / "compiled").mkdir()
    found = acted(
        CCode(name="swing_up_v2", header=header.read_text(), source=source.read_text(), inputs=3, outputs=1),
        rows,
        tmp_path / "compiled",
    )
    assert found.tobytes() == twin(lower(load(model).actor), rows)[0].tobytes()


def test_a_name_of_ones_own_and_no_word_too_many(model: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "new" / "folder"
    assert run("export", model, "--format", "c", "--name", "left_leg", "--out", out, "-q") == (0, "", "")
    assert {path.name for path in out.iterdir()} == {"left_leg.h", "left_leg.c"}
    assert "void left_leg_action(const float observation[LEFT_LEG_INPUTS]" in (out / "left_leg.h").read_text()
    assert "self_test" not in (out / "left_leg.c").read_text()


@needs_compilers
@pytest.mark.parametrize("words", FORMS.values(), ids=FORMS)
def test_the_self_test_passes_and_finds_a_wrong_weight(words: list[str], model: Path, tmp_path: Path, run: Run) -> None:
    given = ("--self-test", "--episodes", 1, "--name", "p", "--out", tmp_path / "out", "-q")
    assert run("export", model, "--format", "c", *given, *words) == (0, "", "")
    assert self_tested(tmp_path / "out", "p") == 0
    source = tmp_path / "out" / "p.c"
    other = "0x1p+1f" if not words else "-127"
    altered, count = re.subn(r"(_weight_0\[[0-9]+\] P_FLASH = \{\s*)[^,]+,", rf"\g<1>{other},", source.read_text())
    assert count == 1
    source.write_text(altered)
    assert 0 < self_tested(tmp_path / "out", "p") <= 8


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("w8a16", "int8 weights, int16 activations; actions of up to "),
        ("w8a16, named", "int8 weights, int16 activations; actions of up to "),
        ("w8a8", "int8 weights, int8 activations; actions of up to "),
    ],
)
def test_integers_are_what_is_asked_for(form: str, words: str, model: Path, tmp_path: Path, run: Run) -> None:
    code, out, err = run("export", model, "--format", "c", "--name", "p", "--episodes", 2, *FORMS[form])
    assert (code, err) == (0, "")
    assert words in out
    assert re.search(r" of up to [0-9.]+ within [0-9.e-]+ of float32 on 400 recorded observations\n$", out)
    source = (tmp_path / "p.c").read_text()
    assert "self_test" not in source
    assert ("static const int8_t p_table" in source) == (form == "w8a8")
    assert ("static const int16_t p_table" in source) == (form != "w8a8")


def test_discrete_actions_are_counted(tmp_path: Path, run: Run) -> None:
    cart = saved(tmp_path / "cart.pt", 4, 2, {"env": {"id": "CartPole-v1"}}, ArgmaxHead())
    code, out, err = run("export", cart, "--format", "c", "--int8", "--episodes", 1)
    assert (code, err) == (0, "")
    assert re.search(
        r"; (100|9[0-9])\.[0-9]{2}% of the actions equal those of float32 on [0-9]+ recorded observations$", out
    )


def test_an_environment_given_is_recorded_in(tmp_path: Path, run: Run) -> None:
    bare = saved(tmp_path / "bare.pt", provenance={})
    assert run("export", bare, "--format", "c", "-q") == (0, "", "")
    assert run("export", bare, "--format", "c", "--int8", "--env", "Pendulum-v1", "--episodes", 1, "-q") == (0, "", "")


@pytest.mark.parametrize(
    ("env", "wanted"),
    [
        (None, ("Pendulum-v1", {"g": 3.0})),
        ("Pendulum-v1", ("Pendulum-v1", {"g": 3.0})),
        ("json:Pendulum-v1", ("json:Pendulum-v1", {"g": 3.0})),
        ("Pendulum", ("Pendulum", {"g": 3.0})),
        ("CartPole-v1", ("CartPole-v1", {})),
    ],
)
def test_the_arguments_of_the_environment_are_kept_where_it_is_the_model_s(
    env: str | None, wanted: tuple[str, dict[str, float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def recorded(*given: object) -> np.ndarray:
        asked.append(given[1:])
        return np.zeros((1, 3), np.float32)

    monkeypatch.setattr(command, "recorded_observations", recorded)
    path = saved(tmp_path / "m.pt", provenance={"env": {"id": "Pendulum-v1", "kwargs": {"g": 3.0}}})
    command.recorder(read_policy(path), env, 2)()
    assert asked == [(*wanted, 2)]


@pytest.mark.parametrize("form", FORMS)
def test_the_result_for_machines(form: str, model: Path, tmp_path: Path, run: Run) -> None:
    given = ("--episodes", 1, "--name", "p", "--out", tmp_path / "out", "--json", tmp_path / "result.json")
    assert run("export", model, "--format", "c", *given, *FORMS[form])[0] == 0
    result = json.loads((tmp_path / "result.json").read_text())
    difference, largest = result.pop("largest_difference"), result.pop("largest_action")
    assert 0.0 < difference < {"float32": 1e-6, "w8a8": 0.4}.get(form, 0.04)
    assert largest is None if form == "float32" else difference < largest <= 1.0
    assert result == {
        "c": [str(tmp_path / "out" / "p.h"), str(tmp_path / "out" / "p.c")],
        "name": "p",
        "activations": {"float32": None, "w8a8": 8}.get(form, 16),
        "recognised": "prunekit model, 3-8-6-1, tanh relu, normalizer inside",
        "notes": [],
    }


@pytest.fixture(params=FORMS)
def library(request: pytest.FixtureRequest, model: Path, tmp_path: Path, run: Run) -> Path:
    """Return the folder of an Arduino library with a self-test."""
    given = ("--arduino", "--self-test", "--episodes", 1, "--name", "swing_up", "--out", tmp_path / "out", "-q")
    assert run("export", model, "--format", "c", *given, *FORMS[request.param]) == (0, "", "")
    (folder,) = (tmp_path / "out").iterdir()
    return folder


def test_the_layout_of_an_arduino_library(library: Path) -> None:
    files = {str(path.relative_to(library)) for path in library.rglob("*") if path.is_file()}
    assert library.name == "SwingUp"
    assert files == {
        "library.properties", "keywords.txt", "src/swing_up.h", "src/swing_up.c", "examples/Run/Run.ino",
    }  # fmt: skip
    lines = (library / "library.properties").read_text().splitlines()
    properties = dict(line.split("=", 1) for line in lines)
    wanted = ("name", "version", "author", "maintainer", "sentence", "paragraph", "category", "architectures")
    assert set(wanted) <= set(properties)
    assert len(properties) == len(lines)
    assert properties["name"] == "SwingUp"
    assert re.fullmatch(r"\d+\.\d+\.\d+", properties["version"])
    assert properties["architectures"] == "*"
    assert properties["includes"] == "swing_up.h"
    assert properties["paragraph"].endswith(" Trained in Pendulum-v1.")
    keywords = (library / "keywords.txt").read_text()
    assert keywords == "swing_up_action\tKEYWORD2\nswing_up_self_test\tKEYWORD2\n"


@needs_avr
def test_the_library_compiles_for_an_arduino_uno(library: Path) -> None:
    flags = ("-mmcu=atmega328p", "-Os", "-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
    command = ["avr-gcc", *flags, "-c", "swing_up.c", "-o", "it.o"]
    built = subprocess.run(command, cwd=library / "src", capture_output=True, text=True, check=False)
    assert (built.returncode, built.stderr) == (0, "")
    # Constants stay in flash: nothing is copied to RAM, or lies there.
    command = ["avr-size", "-A", "it.o"]
    sizes = subprocess.run(command, cwd=library / "src", capture_output=True, text=True, check=True).stdout
    occupied = {name: int(size) for name, size in re.findall(r"^(\.\w+)\S* +([0-9]+)", sizes, re.MULTILINE)}
    assert occupied[".progmem"] > 100
    assert occupied[".data"] == occupied[".bss"] == occupied.get(".rodata", 0) == 0


@needs_compilers
@needs_cpp
def test_the_example_sketch_compiles(library: Path, tmp_path: Path, run: Run) -> None:
    cart = saved(tmp_path / "cart.pt", 4, 2, {}, ArgmaxHead())
    assert run("export", cart, "--format", "c", "--arduino", "-q") == (0, "", "")
    (tmp_path / "Arduino.h").write_text(_ARDUINO)
    for folder in (library, tmp_path / "Cart"):
        sketch = folder / "examples" / "Run" / "Run.ino"
        flags = ("-std=c++11", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-fsyntax-only", "-x", "c++")
        command = ["g++", *flags, "-include", str(tmp_path / "Arduino.h"), f"-I{folder / 'src'}", str(sketch)]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (built.returncode, built.stderr) == (0, "")
    assert "swing_up_self_test()" in (library / "examples/Run/Run.ino").read_text()
    assert "self_test" not in (tmp_path / "Cart/examples/Run/Run.ino").read_text()


def test_no_name_of_an_environment_breaks_the_properties(tmp_path: Path, run: Run) -> None:
    odd = saved(tmp_path / "odd.pt", provenance={"env": {"id": "x\narchitectures=avr"}})
    assert run("export", odd, "--format", "c", "--arduino", "-q") == (0, "", "")
    text = (tmp_path / "Odd" / "library.properties").read_text()
    assert re.findall("^architectures=.*$", text, re.MULTILINE) == ["architectures=*"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--format c --activations 8", ["--activations needs --int8"]),
        ("--format c --int8 --activations 7", ["--activations must be 16 or 8, got 7"]),
        ("--format c --int8 --activations 8.5", ["--activations must be a whole number, got 8.5"]),
        ("--format c --name Left-Leg", ["--name Left-Leg", "lowercase letters, digits and _", "try left_leg"]),
        ("--format c --name 2nd", ["--name 2nd", "try policy_2nd"]),
        ("--format c --name double", ["--name double", "try policy_double"]),
        ("--format c --name ../up", ["--name ../up", "try up"]),
        ("--format c --name ", ["--name", "is empty"]),
        ("--format onnx --int8", ["--int8 needs --format c"]),
        ("--int8", ["--int8 needs --format c"]),
        ("--int8 --activations 8", ["--int8 needs --format c"]),
        ("--activations 8", ["--activations needs --format c"]),
        ("--name p", ["--name needs --format c"]),
        ("--self-test", ["--self-test needs --format c"]),
        ("--arduino", ["--arduino needs --format c"]),
        ("--format C", ["--format C is unknown; choose onnx or c"]),
        ("--format tflite --int8", ["--format tflite is unknown; choose onnx or c"]),
        ("--format c --int8 --env CartPole-v1", ["3 values and gives 1", "CartPole-v1", "4", "2", "--env"]),
        ("--format c --self-test --env CartPole-v1", ["3 values and gives 1", "CartPole-v1", "--env"]),
        ("--format c --int8 --env Nope-v0", ["Nope-v0"]),
        ("--format c --int8 --episodes 0", ["--episodes must be at least 1, got 0"]),
        ("--format c --self-test --episodes -1", ["--episodes must be at least 1, got -1"]),
    ],
)
def test_words_that_do_not_go_are_refused(words: str, named: list[str], model: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "out"
    refused(run("export", model, "--out", out, "--json", tmp_path / "result.json", *words.split(" ")), *named)
    assert list(tmp_path.iterdir()) == [model]


def test_models_that_do_not_go_are_refused(model: Path, tmp_path: Path, run: Run) -> None:
    data = torch.load(model, weights_only=True)
    nodes = data["graph"]["nodes"]
    layers = [node for node in nodes if node["op"] == "Affine"]
    norm = {"op": "L2Norm", "fields": {"epsilon": 1e-6}, "inputs": ["0"], "outputs": ["bent"]}
    nodes.insert(nodes.index(layers[0]) + 1, norm)
    nodes[nodes.index(norm) + 1]["inputs"] = ["bent"]
    torch.save(data, tmp_path / "normed.pt")
    data = torch.load(model, weights_only=True)
    next(node for node in data["graph"]["nodes"] if node["outputs"] == ["2"])["fields"]["weight"][0, 1] = float("nan")
    torch.save(data, tmp_path / "nan.pt")
    bare = saved(tmp_path / "bare.pt", provenance={})
    module = saved(tmp_path / "module.pt", provenance={"env": {"id": "os:Pendulum-v1"}})
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for words in ([], ["--int8"], ["--self-test"], ["--arduino"]):
        refused(run("export", tmp_path / "nan.pt", "--format", "c", *words), "nan.pt", "'weight' of node '2'", "NaN")
    refused(run("export", tmp_path / "normed.pt", "--format", "c", "--int8"), "L2Norm", "export without --int8")
    for word in ("--int8", "--self-test"):
        refused(run("export", bare, "--format", "c", word), "bare.pt", "names no environment", "--env")
        refused(run("export", module, "--format", "c", word), "module.pt", "would import a module", "--env")
    refused(run("export", tmp_path / "nowhere.pt", "--format", "c"), "nowhere.pt", "no such file")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_places_that_cannot_be_written_are_refused(model: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "file").write_text("mine")
    for words in ([], ["--arduino"], ["--int8", "--episodes", "1"]):
        for place, reason in ((tmp_path / "file", "is a file"), (tmp_path / "file" / "below", "cannot be written")):
            refused(run("export", model, "--format", "c", "--out", place, *words), str(place), reason)
    refused(run("export", model, "--format", "c", "--json", tmp_path / "file" / "x"), "cannot be written")
    assert {path.name for path in tmp_path.iterdir()} == {model.name, "file"}
    assert (tmp_path / "file").read_text() == "mine"


def test_what_stood_there_stays_where_an_export_fails(model: Path, tmp_path: Path, run: Run) -> None:
    assert run("export", model, "--format", "c", "--name", "p", "-q")[0] == 0
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    refused(run("export", model, "--format", "c", "--name", "p", "--int8", "--env", "CartPole-v1"), "CartPole-v1")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
