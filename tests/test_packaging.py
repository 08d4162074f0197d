"""What is said of the package in several places is the same everywhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hidden_packages import run_without
from packaging.requirements import Requirement

import prunekit
from prunekit.lazy import _INSTALLED_AS

ROOT = Path(prunekit.__file__).parents[1]
SWEEP = ROOT / "benchmarks" / "sweeps" / "ablations.toml"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def names_of(requirements: list[str]) -> set[str]:
    return {Requirement(entry).name for entry in requirements}


def test_the_version_is_the_same_everywhere() -> None:
    version = PROJECT["version"]
    assert re.search(rf"^version: {re.escape(version)}$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-m", "prunekit", "--version"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == f"prunekit {prunekit.__version__}"


def test_a_plain_installation_brings_what_the_main_job_needs() -> None:
    assert {"torch", "onnx", "onnxruntime", "gymnasium", "mujoco", "typer", "rich", "stable-baselines3"} <= names_of(
        PROJECT["dependencies"]
    )


def test_all_extras_are_in_all() -> None:
    extras = PROJECT["optional-dependencies"]
    (whole,) = extras["all"]
    assert Requirement(whole).extras == extras.keys() - {"all", "benchmarks", "dev", "docs"}


def test_what_is_told_to_be_installed_exists() -> None:
    extras = PROJECT["optional-dependencies"]
    for told in _INSTALLED_AS.values():
        wanted = Requirement(told.strip("'"))
        assert wanted.extras <= extras.keys()
        if wanted.name != "prunekit":
            assert wanted.name in names_of(PROJECT["dependencies"])


@pytest.mark.parametrize(
    ("hidden", "arguments", "cure"),
    [
        ("Box2D", ("train", "--env", "LunarLander-v3", "--steps", 1000), "prunekit[box2d]"),
        ("matplotlib", ("bench", "--report", "page.html"), "'prunekit[plots]'"),
        ("jinja2", ("report", "."), "'prunekit[plots]'"),
        (
            "ray",
            ("sweep", ROOT / "benchmarks/sweeps/ablations.toml", "--out", "x", "--engine", "ray"),
            "'prunekit[ray]'",
        ),
    ],
)
def test_a_missing_extra_is_asked_for_by_name(
    hidden: str, arguments: tuple[object, ...], cure: str, tmp_path: Path
) -> None:
    done = run_without((hidden,), *arguments, folder=tmp_path / "hidden")
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert f"pip install {cure}" in line or f"pip install '{cure}'" in line


def test_train_does_without_tensorboard(tmp_path: Path) -> None:
    words = ("train", "--env", "CartPole-v1", "--steps", 512, "--dense", "--quiet", "--out", tmp_path / "run")
    done = run_without(("tensorboard", "matplotlib", "jinja2", "PIL", "Box2D"), *words, folder=tmp_path / "hidden")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "metrics.csv").is_file()
    assert not (tmp_path / "run" / "tensorboard").exists()


@pytest.mark.parametrize(("words", "found"), [("prunekit ex", "export"), ("prunekit bench --kee", "--keep")])
def test_the_shell_completes_commands_and_options(words: str, found: str) -> None:
    variables = {"_PRUNEKIT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        [sys.executable, "-m", "prunekit"], capture_output=True, text=True, check=False, env={**os.environ, **variables}
    )
    assert done.stdout.split() == [found]
    assert done.returncode == 0, done.stderr
