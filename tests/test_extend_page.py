"""The code on the page about extensions is complete: every name is imported, defined, or the reader's own."""

from __future__ import annotations

import ast
import builtins
import re
from pathlib import Path
from typing import Any

import pytest

SECTIONS = re.split(r"^## ", Path("docs/guides/extend.md").read_text(), flags=re.MULTILINE)[1:]
OWN = {"c_form", "twin_form", "path", "network", "optimizer", "twin", "pruner", "policy", "make_follow"}
"""What the text describes and does not show, or what a reader has."""


@pytest.mark.parametrize("section", SECTIONS, ids=lambda text: text.partition("\n")[0])
def test_every_name_of_the_code_is_known(section: str) -> None:
    """Imports and definitions are run. Other statements are not, because they would register the op for all tests."""
    known: dict[str, Any] = {"__name__": __name__}
    blocks = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        tree = ast.parse(block)
        kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign)
        run = [node for node in tree.body if isinstance(node, kinds) and not _names(node, ast.Load) & OWN]
        exec(compile(ast.Module(body=run, type_ignores=[]), "extend.md", "exec"), known)  # our own page
        defined = known.keys() | vars(builtins).keys() | OWN | _names(tree, ast.Store) | _inner(tree)
        assert _names(tree, ast.Load) <= defined


def _names(tree: ast.AST, context: type[ast.expr_context]) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, context)}


def _inner(tree: ast.AST) -> set[str]:
    """Return the names of arguments and of functions."""
    found = (node for node in ast.walk(tree) if isinstance(node, ast.arg | ast.FunctionDef))
    return {node.arg if isinstance(node, ast.arg) else node.name for node in found}
