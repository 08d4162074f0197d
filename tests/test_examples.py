"""The examples run as they stand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import prunekit

ROOT = Path(prunekit.__file__).parents[1]
EXAMPLES, MODELS = ROOT / "examples", ROOT / "models" / "CartPole-v1-ppo"
# As much of Arduino as the sketch asks for.
ARDUINO = """#include <stdint.h>
enum { INPUT, OUTPUT, LOW = 0, HIGH = 1, A0 = 14, A1 = 15 };
extern "C" {
void pinMode(uint8_t, uint8_t);
void digitalWrite(uint8_t, uint8_t);
int analogRead(uint8_t);
unsigned long micros(void);
}
void setup();
void loop();
"""


def needs(*programs: str) -> pytest.MarkDecorator:
    lacking = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(lacking), reason=f"needs {', '.join(lacking)} (packages.txt)")


def run(*command: object, folder: Path, codes: tuple[int, ...] = (0,), **environment: str) -> str:
    """Return what the command printed; ``prunekit`` on its path is that of this interpreter."""
    program = folder / "bin" / "prunekit"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m prunekit "$@"\n')
    program.chmod(0o755)
    variables = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        **environment,
    }
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, capture_output=True, text=True, check=False, env=variables
    )
    assert done.returncode in codes, done.stdout + done.stderr
    return done.stdout + done.stderr


def exported(folder: Path, *words: str) -> None:
    run("prunekit", "export", MODELS / "compact.onnx", "--format", "c", *words, "--out", folder, folder=folder)


def test_a_callback_prunes_ppo_of_stable_baselines3(tmp_path: Path) -> None:
    code = "import sb3_callback; sb3_callback.main(3_000)"
    told = run(sys.executable, "-c", code, folder=tmp_path, PYTHONPATH=f"{ROOT}{os.pathsep}{EXAMPLES}")
    assert "Policy(4-" in told
    assert prunekit.load(tmp_path / "sb3_policy.pt").sizes.units <= 0.3 * 128


def test_an_onnx_file_is_compressed(tmp_path: Path) -> None:
    """A tenth of a minute may not be enough for a certificate on a busy machine: the exit code is 1 then."""
    told = run(EXAMPLES / "compress_onnx.sh", tmp_path / "out", folder=tmp_path, codes=(0, 1), MINUTES="0.1")
    assert (tmp_path / "out" / "policy.onnx").is_file(), told
    assert (tmp_path / "out" / "cartpole.c").is_file() or "certified" in told


@needs("avr-g++", "avr-gcc")
def test_the_sketch_compiles_and_links_for_an_uno(tmp_path: Path) -> None:
    exported(tmp_path, "--name", "cartpole", "--arduino")
    (tmp_path / "Arduino.h").write_text(ARDUINO)
    source = tmp_path / "Cartpole" / "src"
    flags = ("-mmcu=atmega328p", "-Os", "-Wall", "-Wextra", "-Werror")
    sketch = EXAMPLES / "arduino" / "Balance" / "Balance.ino"
    included = ("-std=gnu++11", "-x", "c++", "-include", "Arduino.h", f"-I{source}")
    run("avr-g++", *flags, *included, "-c", sketch, "-o", "sketch.o", folder=tmp_path)
    run("avr-gcc", *flags, "-std=c99", "-c", source / "cartpole.c", "-o", "policy.o", folder=tmp_path)
    run("avr-gcc", "-mmcu=atmega328p", "-r", "-nostdlib", "sketch.o", "policy.o", "-o", "both.o", folder=tmp_path)


@needs("g++", "gcc")
def test_c_is_called_from_cpp(tmp_path: Path) -> None:
    exported(tmp_path, "--name", "cartpole")
    warnings = ("-Wall", "-Wextra", "-Werror", "-pedantic", "-O2")
    run("gcc", "-std=c99", *warnings, "-c", "cartpole.c", "-o", "policy.o", folder=tmp_path)
    main = EXAMPLES / "cpp" / "main.cpp"
    run("g++", "-std=c++11", *warnings, "-I.", main, "policy.o", "-o", "pole", folder=tmp_path)
    assert run("./pole", folder=tmp_path) == "the pole stood for 500 of 500 steps\n"


@needs("g++", "clang++")
@pytest.mark.parametrize("form", ["float32", "int8"])
def test_the_c_is_also_cpp(form: str, tmp_path: Path) -> None:
    """Hexadecimal floats came with C++17, and are an extension before."""
    words = ["--int8"] if form == "int8" else []
    exported(tmp_path, "--name", "cartpole", "--self-test", "--episodes", "1", *words)
    (tmp_path / "main.cpp").write_text('#include "cartpole.h"\n\nint main() { return cartpole_self_test(); }\n')
    for compiler, standard in (("g++", "gnu++11"), ("clang++", "c++17")):
        flags = (f"-std={standard}", "-Wall", "-Wextra", "-Werror", "-O2", "-x", "c++")
        run(compiler, *flags, "cartpole.c", "main.cpp", "-o", "both", folder=tmp_path)
        run("./both", folder=tmp_path)


@pytest.mark.filterwarnings("ignore")  # of the kernel's own packages
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(EXAMPLES / "policy_file.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "committed with outputs; clear them"
    client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(EXAMPLES)}})
    client.execute()
    shown = "".join(str(cell.get("outputs")) for cell in notebook.cells)
    assert "Policy(4-1-2, tanh" in shown
    assert "student_action" in shown
