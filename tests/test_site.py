"""The hooks by which pages of the repository become pages of the site."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import prunekit

pytest.importorskip("mkdocs", reason="needs mkdocs (make docs)")
ROOT = Path(prunekit.__file__).parents[1]


def hooks() -> Any:
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / ".ci" / "site_hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_block_with_a_prompt_is_a_session_of_a_shell() -> None:
    page = SimpleNamespace(file=SimpleNamespace(src_uri="compress.md"))
    plain = "```\nmake demo\n```\n\n```c\n$ x\n```\n"
    given = f"```\n$ prunekit inspect model.onnx\nfile\n```\n\n{plain}"
    made = hooks().on_page_markdown(given, page=page, files=None)
    assert made == f"```console\n$ prunekit inspect model.onnx\nfile\n```\n\n{plain}"
