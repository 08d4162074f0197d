"""What ``import prunekit`` gives is what it lists: no name more, none less, all of them described."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import prunekit
from prunekit import api, errors

SOURCE = ast.parse(Path(prunekit.__file__).read_text())
# Classes and functions that the commands share with these, and that nobody is promised.
INNER = {
    "disturbance_of",
    "graph_of_network",
    "kind_of_actions",
    "load_named",
    "model_of",
    "options_of",
    "place_of",
    "require_numbers",
    "policy_of",
    "single_of",
    "workers_for",
}


def named_for_type_checkers() -> set[str]:
    """The names of the ``if TYPE_CHECKING`` block, which says to tools what is there."""
    (block,) = (node for node in SOURCE.body if isinstance(node, ast.If))
    imports = [
        alias.asname or alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    ]
    declared = [
        node.target.id for node in block.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]
    return {*imports, *declared}


def of_module(module: object, name: str) -> set[str]:
    return {
        key
        for key, value in vars(module).items()
        if not key.startswith("_")
        and getattr(value, "__module__", None) == name
        and (inspect.isclass(value) or inspect.isfunction(value))
    }


def test_all_names_are_listed_once_and_in_order() -> None:
    assert prunekit.__all__ == sorted(set(prunekit.__all__))
    assert dir(prunekit) == prunekit.__all__


def test_what_is_listed_is_what_type_checkers_see_and_every_error() -> None:
    raised = of_module(errors, "prunekit.errors")
    assert {"InputError", "TooLargeError"} <= raised
    assert set(prunekit.__all__) == named_for_type_checkers() | raised
    assert set(prunekit.__all__) == set(prunekit._HOME_OF) | raised | {"__version__"}


def test_the_functions_of_the_api_are_public_or_known_to_be_inner() -> None:
    found: set[str] = set()
    for entry in pkgutil.iter_modules(api.__path__, "prunekit.api."):
        found |= of_module(importlib.import_module(entry.name), entry.name)
    assert found - set(prunekit.__all__) == INNER


@pytest.mark.parametrize("name", [name for name in prunekit.__all__ if name != "__version__"])
def test_every_public_name_is_described(name: str) -> None:
    value = getattr(prunekit, name)
    assert callable(value) or isinstance(value, type) or inspect.getdoc(value)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert inspect.getdoc(value)


def test_functions_stay_functions_whatever_is_imported() -> None:
    """A package of the same name would take their place as soon as something in it is imported."""
    code = (
        "import pkgutil, prunekit, types\n"
        "inside = {entry.name for entry in pkgutil.iter_modules(prunekit.__path__)}\n"
        "assert not inside & set(prunekit.__all__), inside & set(prunekit.__all__)\n"
        "from prunekit import *\n"
        "assert isinstance(compress, types.FunctionType) and isinstance(bench, types.FunctionType)\n"
        "assert prunekit.__version__\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
