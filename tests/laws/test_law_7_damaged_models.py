"""Law 7 for damaged and edited files: a ``model.pt`` is whole and sound, or refused; never anything else."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from law_files import FORMATS, SOUND, actor_with, content_of, loaded_or_refused, runs, sound_data, torch_saved

from prunekit.errors import ArtifactError, InputError
from prunekit.policy.artifact import load, make_artifact, save
from prunekit.policy.heads import ArgmaxHead, ClipHead, Head, KindHead, TanhHead
from prunekit.policy.model_file import read_model_file
from prunekit.spaces.multi_binary import MultiBinaryActions
from prunekit.spaces.multi_discrete import MultiDiscreteActions

# A warning raised as an error would hide how a damaged file is read under a user's settings.
pytestmark = pytest.mark.filterwarnings("ignore")

Path_ = tuple[Any, ...]
HEADS: dict[str, Head] = {
    "argmax": ArgmaxHead(1),
    "clip": ClipHead(low=(-1.0, -math.inf), high=(1.0, 2.0)),
    "tanh": TanhHead(low=(-1.0, 0.0), high=(1.0, 2.0)),
    "choices": KindHead(MultiDiscreteActions(counts=(1, 1), starts=(0, 4))),
    "switches": KindHead(MultiBinaryActions(count=2)),
}
DATA = {
    (version, name): sound_data(content_of(actor_with(head), version))
    for version in FORMATS
    for name, head in HEADS.items()
}
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
formats = pytest.mark.parametrize("version", FORMATS)


def places(version: int) -> st.SearchStrategy[int]:
    """Anywhere in the file, and as often in its pickle, where damage does more than change a weight."""
    content = SOUND[version]
    begin = content.find(b"\x80\x02}")
    return st.integers(0, len(content) - 1) | st.integers(begin, content.find(b"PK", begin) - 1)


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
    copied[path[0]] = edited(copied[path[0]], path[1:], value) if path[1:] else value
    return copied


@pytest.mark.parametrize(("version", "head"), DATA)
def test_the_sound_file_loads_and_runs(version: int, head: str) -> None:
    file = loaded_or_refused(torch_saved(DATA[version, head]))
    assert file is not None
    assert runs(file)


@formats
@settings(deadline=None, max_examples=120)
@given(st.data())
def test_flipped_bytes_load_or_are_refused(version: int, data: st.DataObject) -> None:
    content = bytearray(SOUND[version])
    damage = st.lists(st.tuples(places(version), st.integers(0, 255)), min_size=1, max_size=4)
    for place, value in data.draw(damage):
        content[place] = value
    loaded_or_refused(bytes(content))


@formats
@settings(deadline=None, max_examples=80)
@given(st.data())
def test_truncated_files_are_refused(version: int, data: st.DataObject) -> None:
    assert loaded_or_refused(SOUND[version][: data.draw(places(version))]) is None


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=200))
def test_noise_is_refused(content: bytes) -> None:
    assert loaded_or_refused(content) is None


@formats
@pytest.mark.parametrize("other", [None, "1", "2", 3, torch.ones(2)], ids=["none", "1", "2", "later", "tensor"])
def test_another_version_is_refused(version: int, other: Any) -> None:
    assert loaded_or_refused(torch_saved({**DATA[version, "clip"], "version": other})) is None


@formats
def test_what_is_said_to_be_of_the_other_format_is_refused(version: int) -> None:
    assert loaded_or_refused(torch_saved({**DATA[version, "clip"], "version": 3 - version})) is None


NORMALIZER, LAYER, LAST, HEAD = (("graph", "nodes", at, "fields") for at in (0, 1, 3, 4))
MISFITS: dict[str, tuple[Path_, Any]] = {
    "other dtype": (("layers", 0, "weight"), torch.ones(4, 3).double()),
    "long bias": (("layers", 0, "bias"), torch.ones(9)),
    "wide layer": (("layers", 2, "weight"), torch.ones(2, 7)),
    "many bounds": (("head", "low"), (-1.0,) * 5),
    "few bounds": (("head", "low"), (-1.0,)),
    "bounds that are not numbers": (("head", "low"), (math.nan, -1.0)),
    "crossed bounds": (("head", "low"), (3.0, 3.0)),
    "long mean": (("normalizer", "mean"), torch.zeros(9)),
    "short mean": (("normalizer", "mean"), torch.zeros(1)),
    "scale that is no number": (("normalizer", "scale"), torch.full((3,), math.nan)),
    "clip that is no number": (("normalizer", "clip"), math.nan),
    "negative clip": (("normalizer", "clip"), -1.0),
}
GRAPH_MISFITS: dict[str, tuple[Path_, Any]] = {
    "long bias": ((*LAYER, "bias"), torch.ones(9)),
    "wide layer": ((*LAST, "weight"), torch.ones(2, 7)),
    "many bounds": ((*HEAD, "low"), [-1.0] * 5),
    "bounds that are not numbers": ((*HEAD, "low"), [math.nan, -1.0]),
    "crossed bounds": ((*HEAD, "low"), [3.0, 3.0]),
    "short mean": ((*NORMALIZER, "mean"), torch.zeros(1)),
    "scale that is no number": ((*NORMALIZER, "scale"), torch.full((3,), math.nan)),
    "clip that is no number": ((*NORMALIZER, "clip"), math.nan),
    "negative clip": ((*NORMALIZER, "clip"), -1.0),
    "beyond float32": ((*LAYER, "weight"), torch.full((4, 3), 1e300, dtype=torch.float64)),
    "another head": (("graph", "nodes", 4), {"op": "Argmax", "fields": {"start": "x"}, "inputs": [], "outputs": []}),
    "no action": (("graph", "outputs"), ["outputs"]),
    "another order": (("graph", "outputs"), ["outputs", "action"]),
    "no inputs": (("graph", "inputs"), []),
    "another observation": (("graph", "inputs", 0, "shape"), [4]),
    "actions of another head": (("actions",), {"kind": "multi_discrete", "counts": [2], "starts": [0]}),
    "a mask too many": (("masks", "3"), torch.ones(2, dtype=torch.bool)),
    "a mask of numbers": (("masks", "0"), torch.ones(4)),
    "a mask without units": (("masks", "0"), torch.zeros(4, dtype=torch.bool)),
    "other widths before": (("provenance", "original_hidden"), [3]),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_parts_that_do_not_fit_together_are_refused(misfit: str) -> None:
    assert loaded_or_refused(torch_saved(edited(DATA[1, "clip"], *MISFITS[misfit]))) is None


@pytest.mark.parametrize("misfit", GRAPH_MISFITS)
def test_parts_of_a_graph_that_do_not_fit_together_are_refused(misfit: str) -> None:
    assert loaded_or_refused(torch_saved(edited(DATA[2, "clip"], *GRAPH_MISFITS[misfit]))) is None


def doubling(times: int, parts: int = 2) -> list[dict[str, Any]]:
    names = ["obs", *(f"twice_{at}" for at in range(times))]
    return [
        {"op": "Concat", "fields": {"parts": parts}, "inputs": [one, one], "outputs": [other]}
        for one, other in pairwise(names)
    ]


def rows_of_layers() -> list[dict[str, Any]]:
    """A layer of few weights over many rows, again and again."""
    shaped = {"op": "Reshape", "fields": {"shape": [1536, 64]}, "inputs": ["twice_14"], "outputs": ["rows_0"]}
    weights = {"weight": torch.ones(64, 64), "bias": torch.zeros(64)}
    layers = [
        {"op": "Affine", "fields": weights, "inputs": [f"rows_{at}"], "outputs": [f"rows_{at + 1}"]}
        for at in range(100)
    ]
    return [*doubling(15), shaped, *layers]


BOMBS = {
    "values": (doubling(60), "its values hold"),
    "work": (rows_of_layers(), "multiply-accumulates"),
    "names": (doubling(1, 10**15), "from 1 to"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_few_bytes_that_ask_for_much_are_refused_at_once(bomb: str, tmp_path: Path) -> None:
    nodes, words = BOMBS[bomb]
    data = edited(DATA[2, "clip"], ("graph", "nodes"), [*nodes, *DATA[2, "clip"]["graph"]["nodes"]])
    (tmp_path / "model.pt").write_bytes(torch_saved(data))
    with pytest.raises(ArtifactError, match=words):
        read_model_file(tmp_path / "model.pt")


def outcome(data: dict[str, Any], path: Path_, value: Any) -> str:
    try:
        file = loaded_or_refused(torch_saved(edited(data, path, value)))
        return "refused" if file is None else "runs" if runs(file) else "loads, but gives no action"
    except Exception as error:
        return type(error).__name__


@pytest.mark.parametrize(("version", "head"), DATA)
def test_what_is_loaded_from_an_edited_file_runs(version: int, head: str) -> None:
    """Every entry of the file is replaced by every odd value in turn; what the heads share is edited once."""
    data, own = DATA[version, head], ("head",) if version == 1 else ("graph", "nodes", 4)
    paths = [path for path in entries(data) if head == "clip" or path[: len(own)] == own or path[0] == "actions"]
    outcomes = {(path, str(value)): outcome(data, path, value) for path in paths for value in ODD_VALUES}
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
