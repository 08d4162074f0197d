"""What is compared when no model is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from prunekit import InputError
from prunekit.benching.defaults import default_models


def put(path: Path, size: int = 1, modified: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    if modified is not None:
        os.utime(path, (modified, modified))
    return path


def test_the_run_written_last_is_taken_whatever_its_name(tmp_path: Path) -> None:
    put(tmp_path / "runs/z/model.pt", modified=1_000)
    latest = put(tmp_path / "runs/a/deep/model.pt", modified=3_000)
    put(tmp_path / "runs/m/model.pt", modified=2_000)
    assert default_models(tmp_path / "runs", tmp_path / "models") == [latest]


def test_the_compact_file_beside_it_follows_its_masked_one(tmp_path: Path) -> None:
    masked = put(tmp_path / "runs/a/model.pt", modified=3_000)
    put(tmp_path / "runs/b/model.pt", modified=2_000)
    put(tmp_path / "runs/b/model.compact.onnx")
    put(tmp_path / "runs/a/model.onnx")
    put(tmp_path / "runs/a/model.compact.pt")
    assert default_models(tmp_path / "runs", tmp_path / "models") == [masked]
    compact = put(tmp_path / "runs/a/model.compact.onnx", modified=9_000)
    assert default_models(tmp_path / "runs", tmp_path / "models") == [masked, compact]


def test_without_runs_the_first_shipped_policy_is_taken_largest_file_first(tmp_path: Path) -> None:
    put(tmp_path / "models/a-card-only/README.md")
    put(tmp_path / "models/zebra/other.onnx", 9_999)
    small = put(tmp_path / "models/hopper/compact.onnx", 10)
    large = put(tmp_path / "models/hopper/dense.onnx", 1_000)
    put(tmp_path / "models/README.md")
    put(tmp_path / "models/loose.onnx")
    (tmp_path / "runs/unfinished").mkdir(parents=True)
    assert default_models(tmp_path / "runs", tmp_path / "models") == [large, small]


def test_a_run_goes_before_shipped_policies(tmp_path: Path) -> None:
    put(tmp_path / "models/hopper/dense.onnx")
    run = put(tmp_path / "runs/a/model.pt")
    assert default_models(tmp_path / "runs", tmp_path / "models") == [run]


@pytest.mark.parametrize("made", [(), ("runs", "models"), ("runs/a", "models/b")])
def test_neither_is_an_error_that_says_what_to_do(tmp_path: Path, made: tuple[str, ...]) -> None:
    for name in made:
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(InputError, match=r"no model was given.*runs.*prunekit train"):
        default_models(tmp_path / "runs", tmp_path / "models")
