"""Errors of the library speak of parameters, those of the command line of its options."""

from __future__ import annotations

import ast
import doctest
import re
from pathlib import Path

import pytest
from typer.main import get_command

import prunekit
from prunekit.cli import words
from prunekit.cli.app import app
from prunekit.cli.ending import said_of
from prunekit.cli.words import FLAGS, all_in_flags, in_flags
from prunekit.errors import InputError

ROOT = Path(prunekit.__file__).parent
# What compilers are told, C that counts down, and pages that say which command made them.
SPEAKING_OF_OPTIONS = (
    "cli/",
    "cards/",
    "report/",
    "devices/build.py",
    "devices/cores.py",
    "compiled.py",
    "export/c_int8_loops.py",
)

OTHER_COMMANDS = ("python -m", "--output policy.onnx")
ONLY_IN_PYTHON = {"actions", "alpha", "divergence", "kwargs", "output_of", "policies", "source", "vector"}
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
QUOTED = re.compile(r"`([a-z0-9_]+(?:=[A-Za-z]+)?)`")
FILES = [str(path.relative_to(ROOT)) for path in sorted(ROOT.rglob("*.py"))]


def texts(name: str) -> list[str]:
    """All texts of a file but its docstrings."""
    tree = ast.parse((ROOT / name).read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docs = {
        id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, documented) and ast.get_docstring(node)
    }  # type: ignore[attr-defined]
    docs |= {
        id(after.value)
        for node in ast.walk(tree)
        if isinstance(node, documented)
        for after in node.body
        if isinstance(after, ast.Expr)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
    ]


@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith(SPEAKING_OF_OPTIONS)])
def test_the_library_speaks_of_no_option(name: str) -> None:
    speaking = [text for text in texts(name) if FLAG.search(text) and not any(word in text for word in OTHER_COMMANDS)]
    assert speaking == []


def test_every_parameter_in_a_text_has_an_option_or_is_python_s_alone() -> None:
    found = {
        word
        for name in FILES
        if not name.startswith(("cli/", "cards/"))  # a card is Markdown, in which commands are quoted
        for text in texts(name)
        for word in QUOTED.findall(text)
    }
    assert found - set(FLAGS) - ONLY_IN_PYTHON == set()
    assert {"env", "layers", "normalizer=False"} <= found


def test_every_option_that_a_text_becomes_is_there() -> None:
    there = {
        option
        for command in get_command(app).commands.values()
        for entry in command.params
        for option in (*entry.opts, *entry.secondary_opts)
    }  # type: ignore[attr-defined]
    assert set(FLAGS.values()) - there == set()


def test_the_page_on_python_lists_every_name_that_differs_from_its_option() -> None:
    rows = [row.split("|")[1:3] for row in (ROOT.parent / "docs" / "python.md").read_text().splitlines() if "|" in row]
    for name, option in FLAGS.items():
        if option != f"--{name.replace('_', '-')}":
            assert any(f"{option}" in left and name in right for left, right in rows), name


def test_parameters_become_options_and_nothing_else_changes() -> None:
    text = "/data/`mine`: several `outputs`; give `output` NAME, `normalizer=False` or more `first_seed`s"
    assert (
        in_flags(text) == "/data/`mine`: several `outputs`; give --output NAME, --no-normalizer or more --first-seeds"
    )
    assert said_of(InputError("give `nesting`")) == ("give --path", 2)
    assert all_in_flags({"notes": ["as `layers` says"], "size": 3}) == {"notes": ["as --layers says"], "size": 3}
    assert doctest.testmod(words).attempted > 0
    assert doctest.testmod(words).failed == 0
