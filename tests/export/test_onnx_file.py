"""The ONNX file: its form, what is in it and what is not, and that a wrong one is never written."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto
from torch import Tensor, nn

from prunekit import Actor, ArgmaxHead, ClipHead, ExportMismatchError, InputError, Normalizer, TanhHead, export_onnx
from prunekit.export import onnx as exporter
from prunekit.export.onnx import read_metadata, to_onnx
from prunekit.policy.graphs import graph_of
from prunekit.policy.heads import Head
from prunekit.policy.program import Program, lower

RETURNS = {"mean": 1 / 3, "all": [0.1 + 0.2, 2.0**-1074, 1.7976931348623157e308], "none": None}
METADATA = {"env": {"id": "Hopper-v5", "kwargs": {}}, "returns": RETURNS, "note": 'a "quoted" ünit'}
HEADS: list[Head] = [
    ArgmaxHead(),
    ArgmaxHead(-2),
    ClipHead(low=(-0.1, -0.2, -math.inf), high=(0.1, math.inf, 0.3)),
    ClipHead(low=(-0.1,) * 3, high=(0.2,) * 3),
    ClipHead(low=(-math.inf,) * 3, high=(math.inf,) * 3),
    TanhHead(low=(-2.0, 0.0, -0.3), high=(2.0, 1.0, 0.1)),
]


def actor(head: Head, hidden: int = 18, activation: type[nn.Module] = nn.Tanh) -> Actor:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(11, hidden), activation(), nn.Linear(hidden, hidden), activation(), nn.Linear(hidden, 3)
    )
    # Only the outliers among the observations that an export is checked on lie beyond this clip.
    return Actor(network, head, Normalizer([0.1] * 11, [2.0] * 11, 30.0))


@pytest.fixture(params=HEADS, ids=repr)
def head(request: pytest.FixtureRequest) -> Head:
    chosen: Head = request.param
    return chosen


@pytest.fixture
def written(tmp_path: Path, head: Head) -> Path:
    report = export_onnx(actor(head), tmp_path / "policy.onnx", METADATA)
    assert report.path == tmp_path / "policy.onnx"
    assert report.size_bytes == report.path.stat().st_size
    return report.path


def test_one_self_contained_file_of_an_old_enough_format(written: Path) -> None:
    assert list(written.parent.iterdir()) == [written]
    model = onnx.load(str(written), load_external_data=False)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert 3 <= model.ir_version <= 10
    assert {tensor.data_location for tensor in model.graph.initializer} == {TensorProto.DEFAULT}
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    onnx.checker.check_model(str(written), full_check=True)


def test_inputs_and_outputs(written: Path, head: Head) -> None:
    session = onnxruntime.InferenceSession(written.read_bytes(), providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()
    assert (source.name, source.type, source.shape) == ("obs", "tensor(float)", ["batch", 11])
    action, *both = session.get_outputs()
    assert [entry.name for entry in both] == ["outputs", "scores"]  # the latter is what it was called before
    assert {(entry.type, tuple(entry.shape)) for entry in both} == {("tensor(float)", ("batch", 3))}
    expected = ("tensor(int64)", ["batch"]) if isinstance(head, ArgmaxHead) else ("tensor(float)", ["batch", 3])
    assert (action.name, action.type, action.shape) == ("action", *expected)


def test_any_batch_gives_what_torch_gives(written: Path, head: Head) -> None:
    policy, session = actor(head), onnxruntime.InferenceSession(written.read_bytes())
    for rows in (1, 2, 33):
        observations = np.random.default_rng(rows).normal(0.0, 3.0, (rows, 11)).astype(np.float32)
        action, scores, same = session.run(["action", "outputs", "scores"], {"obs": observations})
        np.testing.assert_array_equal(scores, same)
        with torch.no_grad():
            expected, wanted = policy(torch.from_numpy(observations)), policy.outputs(torch.from_numpy(observations))
        assert action.shape == tuple(expected.shape)
        np.testing.assert_allclose(scores, wanted.numpy(), atol=1e-5)
        np.testing.assert_allclose(action, expected.numpy(), atol=1e-5)


def test_nothing_in_it_tells_where_it_was_made(written: Path) -> None:
    model = onnx.load(str(written))
    everything = [model, model.graph, *model.graph.node, *model.graph.initializer]
    everything += [*model.graph.input, *model.graph.output, *model.graph.value_info]
    assert not any(entry.doc_string for entry in everything)
    assert not any(node.metadata_props for node in model.graph.node)
    content = written.read_bytes()
    for trace in (str(Path(exporter.__file__).parent), str(Path.cwd()), str(Path.home()), ".py", "site-packages"):
        assert trace.encode() not in content


def test_metadata_is_json_under_one_prefix_at_full_precision(written: Path) -> None:
    properties = {entry.key: entry.value for entry in onnx.load(str(written)).metadata_props}
    assert all(key.startswith("prunekit.") for key in properties)
    assert json.loads(properties["prunekit.returns"]) == RETURNS
    sizes = {"hidden": [18, 18], "units": 36, "parameters": 615, "macs": 11 * 18 + 18 * 18 + 18 * 3}
    expected = {**METADATA, "format": 2, "sizes": sizes}
    assert read_metadata(written) == expected
    assert read_metadata(written.read_bytes()) == expected


def test_the_same_arguments_give_the_same_bytes(head: Head) -> None:
    graph = graph_of(actor(head))
    assert to_onnx(graph, METADATA) == to_onnx(graph_of(actor(head)), dict(reversed(METADATA.items())))


@pytest.mark.parametrize("kind", HEADS, ids=repr)
def test_small_policies_make_small_files(kind: Head) -> None:
    bare = Actor(actor(kind).network, kind)
    size = len(to_onnx(graph_of(bare), {"env": {"id": "Hopper-v5", "kwargs": {}}}))
    assert 4 * 615 < size <= 3500


def swapped_head(program: Program) -> Program:
    other = {ArgmaxHead: ArgmaxHead(1), ClipHead: ClipHead(low=(-9.0,) * 3, high=(9.0,) * 3)}
    return replace(program, head=other.get(type(program.head), ClipHead(low=(-2.0,) * 3, high=(2.0,) * 3)))


def without_normalizer(program: Program) -> Program:
    return replace(program, ops=program.ops[1:])


def without_clip(program: Program) -> Program:
    return replace(program, ops=(replace(program.ops[0], clip=1e9), *program.ops[1:]))


@pytest.mark.parametrize("broken", [swapped_head, without_normalizer, without_clip])
@pytest.mark.parametrize("kind", [HEADS[0], HEADS[3], HEADS[5]], ids=repr)
def test_a_wrong_file_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Head, broken: Callable[[Program], Program]
) -> None:
    policy = actor(kind, activation=nn.ReLU)
    (tmp_path / "old.onnx").write_bytes(b"old")
    wrong = to_onnx(graph_of(broken(lower(policy))), METADATA)
    monkeypatch.setattr(exporter, "to_onnx", lambda *_: wrong)
    for name in ("new.onnx", "old.onnx"):
        with pytest.raises(ExportMismatchError, match=r"ONNX Runtime.*nothing was written"):
            export_onnx(policy, tmp_path / name, METADATA)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"old.onnx": b"old"}


@pytest.mark.parametrize("clip", [30.0, math.inf])
@pytest.mark.parametrize("double", [False, True])
def test_float64_policies_and_normalizers_without_clip_are_written(tmp_path: Path, clip: float, double: bool) -> None:
    network = actor(HEADS[5]).network
    policy = Actor(network.double() if double else network, HEADS[5], Normalizer([0.1] * 11, [2.0] * 11, clip))
    report = export_onnx(policy, tmp_path / "policy.onnx", {})
    assert 0.0 < report.largest_difference < 1e-4
    far = np.full((1, 11), 50.0, np.float32)
    action = onnxruntime.InferenceSession(report.path.read_bytes()).run(["action"], {"obs": far})[0]
    expected = policy(torch.from_numpy(far).to(policy.dtype)).detach().numpy()
    np.testing.assert_allclose(action, expected, atol=1e-5)


def test_metadata_that_is_no_plain_data_is_refused(tmp_path: Path) -> None:
    for value in (math.nan, {1, 2}, np.zeros(2)):
        with pytest.raises(InputError, match="metadata 'odd'"):
            export_onnx(actor(ArgmaxHead()), tmp_path / "odd.onnx", {"odd": [value]})
    assert not list(tmp_path.iterdir())


class Drifting(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x) + 1e-3


def test_a_program_that_is_not_the_actor_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = actor(HEADS[3])
    monkeypatch.setattr(exporter, "graph_from", lambda _: graph_of(policy))
    with pytest.raises(ExportMismatchError, match=r"outputs of torch differ from the reference's by 0\.001"):
        export_onnx(Actor(Drifting(policy.network), policy.head, policy.normalizer), tmp_path / "x.onnx", {})
    assert not list(tmp_path.iterdir())


def test_tied_scores_are_no_mismatch(tmp_path: Path) -> None:
    policy = actor(ArgmaxHead())
    with torch.no_grad():
        policy.network[4].weight[1] = policy.network[4].weight[0] * (1.0 + 1e-7)
        policy.network[4].bias[:2] = 5.0
    assert export_onnx(policy, tmp_path / "tied.onnx", {}).largest_difference < 1e-4


def test_a_policy_with_broken_weights_is_not_written(tmp_path: Path) -> None:
    policy = actor(ArgmaxHead())
    with torch.no_grad():
        policy.network[2].bias[3] = math.nan
    with pytest.raises(InputError, match=r"'2\.bias'"):
        export_onnx(policy, tmp_path / "nan.onnx", {})
    assert not list(tmp_path.iterdir())
