"""Readers: found by content, also those of other packages, with options of their own."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_files import mlp

from prunekit.api.loading import load
from prunekit.environments import Spaces
from prunekit.errors import ArtifactError, InputError
from prunekit.ops.affine import Affine
from prunekit.ops.identity import Identity
from prunekit.readers import registry
from prunekit.readers.opened import Opened
from prunekit.readers.policy_file import OPTION_WORDS, PolicyFile, PolicyOptions
from prunekit.readers.read import policy_kind, read_policy
from prunekit.readers.registry import Reader, readers
from prunekit.readers.weights.policy import graph_of_ops


def _read(opened: Opened, options: PolicyOptions, _: Spaces | None) -> PolicyFile:
    rows = np.loadtxt(opened.path.read_text().splitlines()[1:], ndmin=2, dtype=np.float32)
    graph = graph_of_ops([Affine(weight=rows, bias=np.zeros(len(rows), np.float32))], Identity())
    return PolicyFile(path=opened.path, recognised=f"gains, {options.head}", graph=graph)


def _recognised(opened: Opened) -> bool:
    return opened.path.read_bytes().startswith(b"GAINS")


GAINS = Reader(name="gains", called="tables of gains", recognises=_recognised, read=_read, options=("head",))


def with_entry(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(group: str) -> list[EntryPoint]:
        assert group == "prunekit.readers"
        return [EntryPoint(name="gains", value=value, group=group)]

    monkeypatch.setattr(registry, "entry_points", found)


@pytest.fixture(autouse=True)
def _fresh() -> Any:
    registry.outside.cache_clear()
    yield
    registry.outside.cache_clear()


def test_a_reader_of_another_package_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "policy.txt"
    path.write_text("GAINS\n1 2 3\n0 1 0\n")
    with pytest.raises(ArtifactError, match="unknown kind of file"):
        read_policy(path)
    registry.outside.cache_clear()
    with_entry(f"{__name__}:GAINS", monkeypatch)
    assert policy_kind(path) == "gains"
    assert read_policy(path, PolicyOptions(head="none")).recognised == "gains, none"
    np.testing.assert_array_equal(load(path).act(np.array([1.0, 1.0, 1.0])), [6.0, 1.0])
    with pytest.raises(InputError, match=r"policy\.txt: `layers` is for checkpoints and state dicts; leave it out"):
        read_policy(path, PolicyOptions(layers=("a",)))


@pytest.mark.parametrize(
    ("value", "words"),
    [("nothing.there:READER", "does not load: No module named"), (f"{__name__}:_read", "is not a prunekit.readers")],
)
def test_a_reader_that_is_none_is_named(
    value: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "policy.txt").write_text("text")
    with_entry(value, monkeypatch)
    with pytest.raises(InputError, match=rf"the reader 'gains' \({value}\) {words}"):
        read_policy(tmp_path / "policy.txt")


def test_readers_have_names_of_their_own_and_options_that_exist() -> None:
    found = list(readers())
    assert len({reader.name for reader in found}) == len(found)
    for reader in found:
        assert set(reader.options) <= set(OPTION_WORDS)


def test_options_through_python(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = mlp(4, 8, 3, activation=torch.nn.Tanh)
    torch.save({"a": network.state_dict(), "b": network.state_dict()}, tmp_path / "file.pt")
    policy = load(tmp_path / "file.pt", layers=["0", "2"], activation="tanh", head="argmax", nesting="b")
    seen = torch.randn(20, 4, dtype=torch.float64)
    expected = network(seen).argmax(-1).numpy()
    np.testing.assert_array_equal(policy.act(seen.numpy().astype(np.float32)), expected)
