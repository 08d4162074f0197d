"""What is no whole and sound ``model.pt`` is refused, with the file's name, before anything is made of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from format_1_files import format_1_bytes
from torch import nn

from prunekit import Actor, ArgmaxHead, ArtifactError, InputError, Normalizer, make_artifact, save
from prunekit.policy.artifact import Artifact, load


def sound() -> Artifact:
    network = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2))
    return make_artifact(Actor(network, ArgmaxHead(), Normalizer([1.0] * 4, [0.3] * 4, 7.5)), None, {})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A file of format 1."""
    (tmp_path / "model.pt").write_bytes(format_1_bytes(sound()))
    return tmp_path / "model.pt"


@pytest.fixture
def graph_saved(tmp_path: Path) -> Path:
    """A file of format 2."""
    save(sound(), tmp_path / "model.pt")
    return tmp_path / "model.pt"


both = pytest.mark.parametrize("kind", ["saved", "graph_saved"])


def edited(path: Path, edit: Callable[[dict[str, Any]], Any]) -> Path:
    data = torch.load(path, weights_only=True)
    edit(data)
    torch.save(data, path)
    return path


@both
@pytest.mark.parametrize("version", [3, 0, None, "1", 2.0, True])
def test_another_version_is_refused_with_all_versions(
    kind: str, version: object, request: pytest.FixtureRequest
) -> None:
    path = edited(request.getfixturevalue(kind), lambda data: data.update(version=version))
    with pytest.raises(ArtifactError, match=f"model.pt: format version {version}, .* reads versions 1 and 2"):
        load(path)


@pytest.mark.parametrize("content", [{}, {"format": "other"}, [1, 2], torch.zeros(2), {"state_dict": {}}], ids=repr)
def test_other_torch_files_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(ArtifactError, match=r"other.pt: a torch file, but not a prunekit model"):
        load(tmp_path / "other.pt")


@pytest.mark.parametrize("content", [b"", b"\x08\x01", b"PK\x03\x04" + b"\0" * 60])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.pt").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"bad\.pt: "):
        load(tmp_path / "bad.pt")


def test_missing_files_folders_and_onnx_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x08\x08\x12\x00")
    for path, reason in (
        (tmp_path / "nowhere.pt", "no such file"),
        (tmp_path, "is a folder"),
        (tmp_path / "model.onnx", "is an ONNX file"),
    ):
        with pytest.raises(ArtifactError, match=f"{path.name}: {reason}"):
            load(path)


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        *(("saved", field) for field in ("layers", "head", "normalizer", "masks", "provenance")),
        *(("graph_saved", field) for field in ("graph", "actions", "masks", "provenance")),
    ],
)
def test_a_missing_field_is_refused_by_name(kind: str, field: str, request: pytest.FixtureRequest) -> None:
    path = edited(request.getfixturevalue(kind), lambda data: data.pop(field))
    with pytest.raises(ArtifactError, match=f"model.pt: .*{field}"):
        load(path)


@pytest.mark.parametrize("parameter", [1e39, -1e39, math.inf, math.nan])
def test_activations_whose_parameter_is_beyond_float32_are_refused(saved: Path, parameter: float) -> None:
    edited(saved, lambda data: data["layers"][1].update(kind="elu", parameter=parameter))
    with pytest.raises(
        ArtifactError, match=r"model\.pt: its activation has the parameter .*, not a finite float32 number"
    ):
        load(saved)


@pytest.mark.parametrize("clip", [math.inf, 1e39])
def test_a_clip_that_float32_does_not_reach_is_none(saved: Path, clip: float) -> None:
    edited(saved, lambda data: data["normalizer"].update(clip=clip))
    assert load(saved).actor(torch.zeros(1, 4)).shape == (1,)


def halve(data: dict[str, Any]) -> None:
    for layer in data["layers"]:
        layer.update({name: value.half() for name, value in layer.items() if isinstance(value, torch.Tensor)})


ONE_BOUND = {"kind": "clip", "low": (0.0,), "high": (1.0,)}
NAN, EMPTY = torch.full((6, 4), math.nan), torch.zeros(6, dtype=torch.bool)
WRONG: dict[str, Callable[[dict[str, Any]], Any]] = {
    "layers-is-a-number": lambda data: data.update(layers=3),
    "no-layers": lambda data: data.update(layers=[]),
    "layer-without-kind": lambda data: data["layers"][0].pop("kind"),
    "layer-without-weight": lambda data: data["layers"][0].pop("weight"),
    "unknown-activation": lambda data: data["layers"][1].update(kind="swishish"),
    "parameter-is-text": lambda data: data["layers"][1].update(parameter="x"),
    "parameter-is-nan": lambda data: data["layers"][1].update(kind="elu", parameter=math.nan),
    "parameter-is-infinite-text": lambda data: data["layers"][1].update(kind="leaky_relu", parameter="1e999"),
    "too-many-layers": lambda data: data.update(layers=data["layers"] * 200),
    "original-widths-are-text": lambda data: data["provenance"].update(original_hidden="x"),
    "original-widths-of-text": lambda data: data["provenance"].update(original_hidden=["a", "b"]),
    "original-widths-too-few": lambda data: data["provenance"].update(original_hidden=[64]),
    "original-widths-smaller": lambda data: data["provenance"].update(original_hidden=[-5, 64]),
    "original-widths-beyond-all-bounds": lambda data: data["provenance"].update(original_hidden=[10**30, 64]),
    "integer-weights": lambda data: data["layers"][0].update(weight=torch.zeros(6, 4, dtype=torch.int64)),
    "weights-are-a-list": lambda data: data["layers"][0].update(weight=[[0.0] * 4] * 6),
    "weights-of-the-wrong-width": lambda data: data["layers"][2].update(weight=torch.zeros(5, 7)),
    "bias-of-the-wrong-width": lambda data: data["layers"][0].update(bias=torch.zeros(5)),
    "bias-of-two-dimensions": lambda data: data["layers"][0].update(bias=torch.zeros(6, 1)),
    "weights-of-two-types": lambda data: data["layers"][2].update(weight=torch.zeros(5, 6, dtype=torch.float64)),
    "weights-of-half-precision": halve,
    "weights-are-nan": lambda data: data["layers"][0].update(weight=NAN),
    "unknown-head": lambda data: data.update(head={"kind": "softmax"}),
    "head-with-other-fields": lambda data: data.update(head={"kind": "argmax", "low": 0.0}),
    "head-with-too-few-bounds": lambda data: data.update(head=ONE_BOUND),
    "normalizer-of-the-wrong-width": lambda data: data["normalizer"].update(mean=torch.zeros(3), scale=torch.ones(3)),
    "normalizer-mean-of-the-wrong-width": lambda data: data["normalizer"].update(mean=torch.zeros(3)),
    "normalizer-scale-of-the-wrong-width": lambda data: data["normalizer"].update(scale=torch.ones(1)),
    "normalizer-without-scale": lambda data: data["normalizer"].pop("scale"),
    "normalizer-clip-is-nan": lambda data: data["normalizer"].update(clip=math.nan),
    "normalizer-clip-is-negative": lambda data: data["normalizer"].update(clip=-1.0),
    "first-action-is-text": lambda data: data.update(head={"kind": "argmax", "start": "x"}),
    "low-above-high": lambda data: data.update(head={"kind": "clip", "low": (2.0,) * 2, "high": (1.0,) * 2}),
    "bounds-of-two-numbers": lambda data: data.update(head={"kind": "clip", "low": (0.0,) * 2, "high": (1.0,)}),
    "tanh-without-bounds": lambda data: data.update(head={"kind": "tanh", "low": (-math.inf,) * 2, "high": (1.0,) * 2}),
    "normalizer-clip-is-text": lambda data: data["normalizer"].update(clip="x"),
    "mask-of-another-width": lambda data: data["masks"].update({"0": torch.ones(7, dtype=torch.bool)}),
    "mask-of-numbers": lambda data: data["masks"].update({"0": torch.ones(6)}),
    "mask-missing": lambda data: data["masks"].pop("2"),
    "mask-of-no-group": lambda data: data["masks"].update({"4": torch.ones(2, dtype=torch.bool)}),
    "mask-that-leaves-no-unit": lambda data: data["masks"].update({"0": EMPTY}),
    "provenance-is-text": lambda data: data.update(provenance="x"),
}


@pytest.mark.parametrize("edit", WRONG.values(), ids=WRONG)
def test_contents_that_do_not_fit_are_refused(saved: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    load(saved)
    edited(saved, edit)
    with pytest.raises(ArtifactError, match=r"model\.pt: "):
        load(saved)


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def laughing(levels: int) -> list[Any]:
    value: list[Any] = ["ha"]
    for _ in range(levels):
        value = [value, value]
    return value


PROVENANCE: dict[str, tuple[Any, str]] = {
    "keys-of-two-types": ({1: "a", "b": 2}, "has the key '1', which is not a string"),
    "a-key-that-is-none": ({"a": {None: 2}}, "has the key 'None', which is not a string"),
    "a-key-of-a-lone-surrogate": ({"\ud800": 1}, "not valid Unicode"),
    "a-text-of-a-lone-surrogate": ({"a": ["b\udc00"]}, "not valid Unicode"),
    "a-tensor": ({"a": torch.ones(2)}, "holds Tensor"),
    "bytes": ({"a": b"b"}, "holds bytes"),
    "no-number": ({"a": math.nan}, "holds float"),
    "a-large-number": ({"a": 2**20_000}, "more than 4096 bits"),
    "a-deep-nest": ({"a": nested(150)}, "nested deeper than 100 levels"),
    "an-endless-walk": ({"a": laughing(40)}, "repeat themselves beyond its own size"),
}


@both
@pytest.mark.parametrize("name", PROVENANCE)
def test_provenance_that_is_no_plain_data_is_refused(kind: str, name: str, request: pytest.FixtureRequest) -> None:
    value, reason = PROVENANCE[name]
    path = edited(request.getfixturevalue(kind), lambda data: data.update(provenance=value))
    with pytest.raises(ArtifactError, match=rf"model\.pt: .*{reason}") as refused:
        load(path)
    assert "\n" not in str(refused.value)


def test_a_reason_that_quotes_the_file_is_one_short_line(saved: Path) -> None:
    edited(saved, lambda data: data.update(head={"kind": "clip", "low": "a\nb" * 1000, "high": (1.0,)}))
    with pytest.raises(ArtifactError, match=r"model\.pt: .*action bounds") as refused:
        load(saved)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 500


def test_numbers_of_a_graph_that_repeat_are_refused(graph_saved: Path) -> None:
    large = torch.ones(1).expand(30_000, 30_000)
    edited(graph_saved, lambda data: data["graph"]["nodes"][1]["fields"].update(weight=large))
    with pytest.raises(ArtifactError, match=r"model\.pt: .*larger than itself"):
        load(graph_saved)


@pytest.mark.parametrize("layer", [0, 2])
def test_weights_that_repeat_one_number_are_refused(saved: Path, layer: int) -> None:
    edited(saved, lambda data: data["layers"][layer].update(weight=torch.ones(1).expand(30_000, 30_000)))
    with pytest.raises(ArtifactError, match=r"model\.pt: .*larger than itself"):
        load(saved)


def test_nothing_is_saved_that_would_not_be_loaded(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2))
    for levels in (150, 500, 5000):
        artifact = make_artifact(Actor(network, ArgmaxHead()), None, {"a": nested(levels)})
        with pytest.raises(InputError, match=r"provenance is (not plain JSON data|nested too deeply)"):
            save(artifact, tmp_path / "model.pt")
    assert not list(tmp_path.iterdir())


def test_weights_of_three_dimensions_are_refused(saved: Path) -> None:
    edited(saved, lambda data: data["layers"][2].update(weight=torch.zeros(5, 6, 1)))
    with pytest.raises(ArtifactError, match=r"model\.pt: "):
        load(saved)


def test_masks_that_loading_would_refuse_are_not_saved(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    artifact = make_artifact(Actor(network, ArgmaxHead()), None, {})
    artifact.masks["0"] = torch.ones(3, dtype=torch.bool)
    with pytest.raises(InputError, match="mask '0'"):
        save(artifact, tmp_path / "model.pt")
    assert not list(tmp_path.iterdir())
