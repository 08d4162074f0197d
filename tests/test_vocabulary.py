"""Names that were given up (``docs/glossary.md``) do not come back, and records take keywords alone."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "prunekit"
PATHS = sorted(PACKAGE.rglob("*.py"))
ALIAS = "one release"
"""Lines with these words keep an old name for one release."""

NAMES = {
    "Dense": "AffineStep",
    "ExportWords": "ExportOptions",
    "Gauge": "ImportanceTracker",
    "Observation": "ForwardPass, where it is one; an environment's is an observation",
    "Part": "Chip or PrunableNetwork",
    "Pull": "PenaltyWeights",
    "Scores": "UnitImportance",
    "Target": "Core",
    "Words": "TrainOptions",
    "decision": "output_of",
    "hold_": "zero_dead_",
    "kill_": "prune_",
    "scores": "outputs or importance",
    "scores_of": "outputs_of",
    "scores_path": "outputs_path",
    "usual_norm": "median_norm",
}
WORDS = {"least": "min_", "most": "max_", "haste": "catch_up_rate", "gauge": "importance tracker"}
GOOD = {"at_least", "most_promising"}
# Records that are handed over as functions of their fields.
FUNCTIONS = {"Record"}


def given_up(text: str) -> Iterator[str]:
    """Yield the names in Python ``text`` that are not to be used, with what to say instead."""
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.NAME or ALIAS in lines[token.start[0] - 1] or token.string in GOOD:
            continue
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", token.string).lower().split("_")
        instead = NAMES.get(token.string) or next((WORDS[word] for word in words if word in WORDS), None)
        if instead is not None:
            yield f"line {token.start[0]}: {token.string}, say {instead}"


def positional(text: str) -> Iterator[str]:
    """Yield the dataclasses of two fields or more in Python ``text`` that take positional arguments."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.ClassDef) or node.name in FUNCTIONS:
            continue
        marks = [ast.unparse(mark) for mark in node.decorator_list if ast.unparse(mark).startswith("dataclass")]
        fields = [entry for entry in node.body if isinstance(entry, ast.AnnAssign)]
        given = [entry for entry in fields if "ClassVar" not in ast.unparse(entry.annotation)]
        given = [entry for entry in given if "init=False" not in ast.unparse(entry)]
        if marks and len(given) > 1 and not any("kw_only=True" in mark for mark in marks):
            yield node.name


@pytest.mark.parametrize("path", PATHS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_names_that_were_given_up_do_not_come_back(path: Path) -> None:
    # What an environment shows keeps the name.
    found = [told for told in given_up(path.read_text()) if "Observation" not in told or "pruning" in path.parts]
    assert not found


def test_records_take_keywords_alone() -> None:
    found = {str(path.relative_to(PACKAGE)): list(positional(path.read_text())) for path in PATHS}
    assert {path: names for path, names in found.items() if names} == {}


def test_both_checks_see_what_they_look_for() -> None:
    text = "@dataclass(frozen=True)\nclass Pull:\n    most: int\n    right: int\n"
    assert len(list(given_up(text))) == 2
    assert list(positional(text)) == ["Pull"]
    assert list(given_up("def scores(self):  # one release more\n    at_least(maximum)\n")) == []
    assert list(positional(text.replace("frozen=True", "kw_only=True"))) == []
