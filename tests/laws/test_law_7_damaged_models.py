"""Law 7 for damaged and edited files: a ``model.pt`` is whole and sound, or refused; never anything else."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from law_files import SOUND, actor_with, content_of, loaded_or_refused, runs, sound_data, torch_saved

from prunekit.errors import InputError
from prunekit.policy.artifact import load, make_artifact, save
from prunekit.policy.heads import ArgmaxHead, ClipHead, Head, KindHead, TanhHead
from prunekit.spaces.multi_binary import MultiBinaryActions
from prunekit.spaces.multi_discrete import MultiDiscreteActions

# A warning raised as an error would hide how a damaged file is read under a user's settings.
pytestmark = pytest.mark.filterwarnings("ignore")

PICKLE = range(SOUND.find(b"\x80\x02}"), SOUND.find(b"PK", SOUND.find(b"\x80\x02}")))
HEADS: dict[str, Head] = {
    "argmax": ArgmaxHead(1),
    "clip": ClipHead((-1.0, -math.inf), (1.0, 2.0)),
    "tanh": TanhHead((-1.0, 0.0), (1.0, 2.0)),
    "choices": KindHead(MultiDiscreteActions(counts=(1, 1), starts=(0, 4))),
    "switches": KindHead(MultiBinaryActions(count=2)),
}
DATA = {name: sound_data(content_of(actor_with(head))) for name, head in HEADS.items()}
ODD_VALUES: tuple[Any, ...] = (
    *(None, -1, 0, 2**80, math.nan, math.inf, "tanh", b"tanh", [], {}, (), (1.0, 1.0), (5.0,) * 5, True),
    *(torch.ones(()), torch.ones(2), torch.ones(7), torch.ones(2, 7), torch.ones(0, 4), torch.full((4, 3), math.nan)),
    *(torch.ones(4, 3).double(), torch.ones(4, 3).half(), torch.ones(4, 3).int(), torch.zeros(4, dtype=torch.bool)),
)
JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
Path_ = tuple[Any, ...]


def places() -> st.SearchStrategy[int]:
    """Anywhere in the file, and as often in its pickle, where damage does more than change a weight."""
    return st.integers(0, len(SOUND) - 1) | st.sampled_from(PICKLE)


def entries(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Yield the path of everything in the data but provenance, which may hold anything."""
    keys = range(len(value)) if isinstance(value, list) else value if isinstance(value, dict) else ()
    for key in keys:
        if key != "provenance":
            yield (*path, key)
            yield from entries(value[key], (*path, key))


def edited(data: Any, path: Path_, value: Any) -> Any:
    """Return ``data`` with the entry at ``path`` replaced."""
    if not path:
        return value
    copied = list(data) if isinstance(data, list) else dict(data)
    copied[path[0]] = edited(copied[path[0]], path[1:], value)
    return copied


@pytest.mark.parametrize("head", DATA)
def test_the_sound_file_loads_and_runs(head: str) -> None:
    artifact = loaded_or_refused(torch_saved(DATA[head]))
    assert artifact is not None
    assert runs(artifact)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(places(), st.integers(0, 255)), min_size=1, max_size=4))
def test_flipped_bytes_load_or_are_refused(damage: list[tuple[int, int]]) -> None:
    content = bytearray(SOUND)
    for place, value in damage:
        content[place] = value
    loaded_or_refused(bytes(content))


@settings(deadline=None, max_examples=100)
@given(places())
def test_truncated_files_are_refused(end: int) -> None:
    assert loaded_or_refused(SOUND[:end]) is None


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=200))
def test_noise_is_refused(content: bytes) -> None:
    assert loaded_or_refused(content) is None


@pytest.mark.parametrize("version", [None, "1", 2, torch.ones(2)], ids=["none", "text", "later", "tensor"])
def test_another_version_is_refused(version: Any) -> None:
    assert loaded_or_refused(torch_saved({**DATA["clip"], "version": version})) is None


MISFITS: dict[str, tuple[Path_, Any]] = {
    "other dtype": (("layers", 0, "weight"), torch.ones(4, 3).double()),
    "long bias": (("layers", 0, "bias"), torch.ones(9)),
    "wide layer": (("layers", 2, "weight"), torch.ones(2, 7)),
    "many bounds": (("head", "low"), (-1.0,) * 5),
    "few bounds": (("head", "low"), (-1.0,)),
    "bounds that are no numbers": (("head", "low"), (math.nan, -1.0)),
    "crossed bounds": (("head", "low"), (3.0, 3.0)),
    "long mean": (("normalizer", "mean"), torch.zeros(9)),
    "short mean": (("normalizer", "mean"), torch.zeros(1)),
    "scale that is no number": (("normalizer", "scale"), torch.full((3,), math.nan)),
    "clip that is no number": (("normalizer", "clip"), math.nan),
    "negative clip": (("normalizer", "clip"), -1.0),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_parts_that_do_not_fit_together_are_refused(misfit: str) -> None:
    assert loaded_or_refused(torch_saved(edited(DATA["clip"], *MISFITS[misfit]))) is None


def outcome(data: dict[str, Any], path: Path_, value: Any) -> str:
    try:
        artifact = loaded_or_refused(torch_saved(edited(data, path, value)))
        return "refused" if artifact is None else "runs" if runs(artifact) else "loads, but gives no action"
    except Exception as error:
        return type(error).__name__


@pytest.mark.parametrize("head", DATA)
def test_what_is_loaded_from_an_edited_file_runs(head: str) -> None:
    """Every entry of the file is replaced by every odd value in turn; what the heads share is edited once."""
    paths = [path for path in entries(DATA[head]) if head == "clip" or path[0] == "head"]
    outcomes = {(path, str(value)): outcome(DATA[head], path, value) for path in paths for value in ODD_VALUES}
    assert {found: name for found, name in outcomes.items() if name not in ("refused", "runs")} == {}


@settings(deadline=None, max_examples=20)
@given(st.dictionaries(st.text(), JSON_LIKE, max_size=4))
def test_provenance_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, provenance: dict[str, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "provenance.pt"
    save(make_artifact(actor_with(ArgmaxHead()), None, provenance), path)
    assert load(path).provenance == provenance


@pytest.mark.parametrize("value", [np.float64(1.0), np.ones(2), Path("runs"), len], ids=repr)
def test_nothing_is_saved_that_cannot_be_loaded(value: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    try:
        save(make_artifact(actor_with(ArgmaxHead()), None, {"odd": value}), path)
    except InputError:
        assert not path.exists()
        return
    load(path)
