"""Law 7: no file that prunekit reads can make it execute code."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from law_files import SOUND, actor_with, sound_data, torch_saved

from prunekit.benching.models import read_model
from prunekit.errors import ArtifactError, InputError
from prunekit.export.session import tuned_session
from prunekit.policy.artifact import load
from prunekit.policy.heads import ArgmaxHead

# A warning raised as an error would stop a reader short of the trap, which no user's settings do.
pytestmark = pytest.mark.filterwarnings("ignore")


class Mkdir:
    """Unpickled freely, makes the folder ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


class Evaluated(Mkdir):
    """The same through ``eval``."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return eval, (f"__import__('os').mkdir({str(self.path)!r})",)


def with_entry(trap: Mkdir, *path: Any, version: int = 1) -> dict[str, Any]:
    data = sound_data(SOUND[version])
    place: Any = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = trap
    return data


def repacked(trap: Mkdir, entry: str) -> bytes:
    """Return the sound file with one entry of its zip replaced, or added, by a bare pickle of the trap."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(SOUND[2])) as source, zipfile.ZipFile(buffer, "w") as target:
        folder = source.namelist()[0].split("/")[0]
        for name in {*source.namelist(), f"{folder}/{entry}"}:
            bare = name.endswith(f"/{entry}")
            target.writestr(name, pickle.dumps(trap, protocol=2) if bare else source.read(name))
    return buffer.getvalue()


def in_tar(trap: Mkdir) -> bytes:
    """Return the oldest of torch's formats: a tar of pickles."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as target:
        for name in ("storages", "tensors", "pickle"):
            content = pickle.dumps(trap, protocol=2)
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            target.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def pickled(at: Path, protocol: int) -> bytes:
    return pickle.dumps(Mkdir(at), protocol)


SHAPES: dict[str, Callable[[Path], bytes]] = {
    **{f"pickle, protocol {protocol}": partial(pickled, protocol=protocol) for protocol in range(6)},
    "pickle of a sound dictionary": lambda at: pickle.dumps({"format": "prunekit.model", "version": Mkdir(at)}),
    "torch, bare": lambda at: torch_saved(Mkdir(at)),
    "torch, eval": lambda at: torch_saved(Evaluated(at)),
    "torch, list items": lambda at: torch_saved([Mkdir(at)]),
    "torch, format": lambda at: torch_saved(with_entry(Mkdir(at), "format")),
    "torch, layers": lambda at: torch_saved(with_entry(Mkdir(at), "layers", 1)),
    "torch, weight": lambda at: torch_saved(with_entry(Mkdir(at), "layers", 0, "weight")),
    "torch, head": lambda at: torch_saved(with_entry(Mkdir(at), "head", "low")),
    "torch, normalizer": lambda at: torch_saved(with_entry(Mkdir(at), "normalizer", "clip")),
    "torch, masks": lambda at: torch_saved(with_entry(Mkdir(at), "masks", "0")),
    "torch, op": lambda at: torch_saved(with_entry(Mkdir(at), "graph", "nodes", 1, "op", version=2)),
    "torch, field": lambda at: torch_saved(with_entry(Evaluated(at), "graph", "nodes", 1, "fields", "bias", version=2)),
    "torch, input": lambda at: torch_saved(with_entry(Mkdir(at), "graph", "inputs", 0, "name", version=2)),
    "torch, actions": lambda at: torch_saved(with_entry(Mkdir(at), "actions", version=2)),
    "torch, masks of a graph": lambda at: torch_saved(with_entry(Mkdir(at), "masks", "0", version=2)),
    "torch, provenance": lambda at: torch_saved(with_entry(Evaluated(at), "provenance", "env", "id")),
    "torch, ordered": lambda at: torch_saved(OrderedDict(with_entry(Mkdir(at), "extra"))),
    "torch, legacy": lambda at: torch_saved(with_entry(Mkdir(at), "extra"), _use_new_zipfile_serialization=False),
    "torch, legacy bare": lambda at: torch_saved(Evaluated(at), _use_new_zipfile_serialization=False),
    "torch, tar": lambda at: in_tar(Mkdir(at)),
    "sound zip, data.pkl replaced": lambda at: repacked(Mkdir(at), "data.pkl"),
}
TORCHSCRIPT: dict[str, Callable[[Path], bytes]] = {
    "sound zip, constants.pkl added": lambda at: repacked(Mkdir(at), "constants.pkl"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_trap_works_where_a_file_is_read_freely(shape: str, tmp_path: Path) -> None:
    path, trap = tmp_path / "model.pt", tmp_path / "sprung"
    path.write_bytes(SHAPES[shape](trap))
    with contextlib.suppress(Exception):  # what a sprung trap leaves behind need not be a model
        torch.load(path, weights_only=False)
    assert trap.is_dir()


@pytest.mark.parametrize("read", [load, read_model, tuned_session], ids=lambda read: read.__name__)
@pytest.mark.parametrize("suffix", [".pt", ".onnx"])
@pytest.mark.parametrize("shape", [*SHAPES, *TORCHSCRIPT])
def test_no_reader_springs_the_trap(shape: str, suffix: str, read: Callable[[Path], object], tmp_path: Path) -> None:
    path, trap = tmp_path / f"model{suffix}", tmp_path / "sprung"
    path.write_bytes({**SHAPES, **TORCHSCRIPT}[shape](trap))
    with pytest.raises(InputError, match=path.name):
        read(path)
    assert not trap.exists()


@pytest.mark.parametrize("shape", ["pickle, protocol 2", "torch, bare", "torch, legacy", "torch, tar"])
def test_torch_cannot_be_told_to_spring_the_trap(shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path, trap = tmp_path / "model.pt", tmp_path / "sprung"
    path.write_bytes(SHAPES[shape](trap))
    with pytest.raises(ArtifactError, match=r"model\.pt"):
        load(path)
    assert not trap.exists()


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(actor_with(ArgmaxHead()), path)
    with pytest.raises(ArtifactError, match="could run code"):
        load(path)
