"""What prunekit reads of an ONNX file's metadata: plain JSON under plain words, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from foreign_models import write_product

from prunekit import ArtifactError
from prunekit.benching.models import read_model
from prunekit.export.onnx import read_metadata


@pytest.mark.parametrize(
    ("key", "text", "reason"),
    [
        ("note", "NaN", "NaN is not a JSON number"),
        ("note", '{"a": [-Infinity]}', "-Infinity is not a JSON number"),
        ("note", "1e999", "1e999 is too large"),
        ("note", "1" * 5000, "'note': "),
        ("note", "[" * 40 + "]" * 40, "nested deeper than 32"),
        ("note", '{"a":' * 40 + "1" + "}" * 40, "nested deeper than 32"),
        ("note", "[" * 100_000, "nested deeper than 32"),
        ("note", '"\\ud800"', "surrogates not allowed"),
        ("note", '{"\\ud800": 1}', "surrogates not allowed"),
        ("[/x]", "1", r"its key '[/x]' is not a plain word"),
        ("\x1b[31mred", "1", r"its key '\x1b[31mred' is not a plain word"),
        ("", "1", "its key '' is not a plain word"),
        ("k" * 101, "1", "is not a plain word"),
    ],
)
def test_metadata_that_is_no_plain_json_is_refused(tmp_path: Path, key: str, text: str, reason: str) -> None:
    path = write_product(tmp_path / "m.onnx", np.zeros((4, 2)), properties={f"prunekit.{key}": text})
    for read in (read_model, read_metadata):
        with pytest.raises(ArtifactError) as refusal:
            read(path)
        assert str(refusal.value).startswith(f"{path}: its prunekit metadata is damaged (")
        assert reason in str(refusal.value)
        assert str(refusal.value).isprintable()


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    import onnx

    path = write_product(tmp_path / "m.onnx", np.zeros((4, 2)), properties={"prunekit.seed": "1"})
    model = onnx.load(path)
    model.metadata_props.add().CopyFrom(model.metadata_props[0])
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match="'seed' is there twice"):
        read_model(path)


def test_plain_metadata_is_read(tmp_path: Path) -> None:
    deep = "[" * 20 + "1.5" + "]" * 20
    path = write_product(
        tmp_path / "m.onnx", np.zeros((4, 2)), properties={"prunekit.a note": deep, "other.[x]": "NaN"}
    )
    assert str(read_metadata(path)) == f"{{'a note': {deep}}}"
