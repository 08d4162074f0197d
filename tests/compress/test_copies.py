"""Copies of the teacher's own network: they do what it does, and a search begins with them."""

from __future__ import annotations

import math
import warnings
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from prunekit.compression import read as compression_read
from prunekit.compression import round_context
from prunekit.compression.branch import Phase, RoundSettings, branch_of_copies
from prunekit.compression.candidates import Baseline
from prunekit.compression.copies import copy_of
from prunekit.compression.judging import Judgement
from prunekit.compression.read import read_teacher
from prunekit.compression.rounds import advance
from prunekit.compression.settings import SearchSettings
from prunekit.compression.sizes import first_units
from prunekit.compression.student import ImitationDataset, Scale, Student
from prunekit.compression.teacher import Teacher, teacher_of_actor
from prunekit.environments import Spaces
from prunekit.export.onnx import export_onnx
from prunekit.policy.actor import Actor, Normalizer
from prunekit.policy.heads import ArgmaxHead, ClipHead, Head, TanhHead
from prunekit.readers import read
from prunekit.readers.policy_file import PolicyFile
from prunekit.spaces.box import BoxActions
from prunekit.spaces.discrete import DiscreteActions
from prunekit.spaces.kind import ActionKind
from prunekit.stats.betting import Paired
from prunekit.stats.clipping import ReturnRange

OBSERVATION, OUTPUTS = 5, 2
BOX = BoxActions(low=(-2.0, 0.0), high=(2.0, 3.0))
BOUNDS: dict[str, tuple[float, ...]] = {"low": BOX.low, "high": BOX.high}
HEADS: dict[str, tuple[Head, ActionKind]] = {
    "clip": (ClipHead(**BOUNDS), BOX),
    "tanh": (TanhHead(**BOUNDS), BOX),
    "argmax": (ArgmaxHead(), DiscreteActions(count=OUTPUTS)),
}
ACTIVATIONS = (nn.Tanh, nn.ReLU, nn.ELU, nn.SiLU)
NORMALIZER = Normalizer([0.5] * OBSERVATION, [2.0] * OBSERVATION, 10.0)


def layers(widths: tuple[int, ...], activation: type[nn.Module] = nn.Tanh, *, bias: bool = True) -> nn.Sequential:
    found: list[nn.Module] = []
    for before, after in pairwise((OBSERVATION, *widths, OUTPUTS)):
        found += [nn.Linear(before, after, bias=bias), activation()]
    return nn.Sequential(*found[:-1])


def teacher_of(network: nn.Module, head: str = "clip", normalizer: Normalizer | None = None) -> Teacher:
    spaces = Spaces(observation=OBSERVATION, actions=HEADS[head][1])
    return teacher_of_actor(Actor(network, HEADS[head][0], normalizer), "mine", spaces)


def lessons_of(teacher: Teacher, deviation: float = 1.0) -> ImitationDataset:
    dataset = ImitationDataset(teacher)
    seen = np.random.default_rng(0).normal(size=(500, OBSERVATION)) * deviation + 0.3
    dataset.add(seen.astype(np.float32))
    return dataset


@settings(max_examples=30, deadline=None)
def copied_of(teacher: Teacher, dataset: ImitationDataset) -> Student | None:
    return copy_of(teacher, dataset, Scale.of(dataset, teacher.spaces), 0)


@settings(max_examples=30, deadline=None)
@given(
    head=st.sampled_from(sorted(HEADS)),
    activation=st.sampled_from(ACTIVATIONS),
    widths=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    bias=st.booleans(),
    normalizer=st.sampled_from([None, NORMALIZER]),
    deviation=st.sampled_from([0.01, 1.0, 100.0]),
)
def test_a_copy_does_what_its_teacher_does(
    head: str, activation: Any, widths: list[int], bias: bool, normalizer: Normalizer | None, deviation: float
) -> None:
    torch.manual_seed(0)
    teacher = teacher_of(layers(tuple(widths), activation, bias=bias), head, normalizer)
    dataset = lessons_of(teacher, deviation)
    copied = copied_of(teacher, dataset)
    if sum(widths) == len(widths):
        assert copied is None
        return
    assert copied is not None
    assert copied.hidden == tuple(widths)
    with torch.no_grad():
        own = copied.actor.outputs(torch.from_numpy(dataset.states)).double().numpy()
        if head != "argmax":
            own = copied.actor(torch.from_numpy(dataset.states)).double().numpy()
    assert np.abs(own - dataset.answers).max() < 1e-4 * (1.0 + np.abs(dataset.answers).max())


@pytest.mark.parametrize("head", sorted(HEADS))
def test_a_copy_that_lost_half_of_its_units_learns_and_still_ends_in_its_head(head: str) -> None:
    torch.manual_seed(1)
    teacher = teacher_of(layers((12, 12)), head)
    dataset = lessons_of(teacher)
    copied = copied_of(teacher, dataset)
    assert copied is not None
    copied.fit(dataset, 120, 8)
    copied.fit_gauss_newton(dataset, 1)
    assert sum(copied.hidden) == 16
    assert type(copied.actor.head) is type(HEADS[head][0])
    with torch.no_grad():
        found = copied.actor(torch.from_numpy(dataset.states)).numpy()
    if head == "argmax":
        assert float((found == dataset.answers.argmax(axis=1)).mean()) > 0.9
    else:
        assert float(np.abs(found - dataset.answers).mean()) < 0.1


def test_what_is_no_chain_of_layers_is_not_copied() -> None:
    spaces = Spaces(observation=OBSERVATION, actions=BOX)
    function = Teacher(name="mine", spaces=spaces, respond=lambda seen: seen[:, :2])
    linear = teacher_of(layers(()))
    begins = teacher_of(nn.Sequential(nn.Tanh(), nn.Linear(OBSERVATION, 4), nn.Tanh(), nn.Linear(4, OUTPUTS)))
    for teacher in (function, linear, begins):
        assert copied_of(teacher, lessons_of(teacher)) is None


def test_what_squashes_to_other_bounds_or_clips_a_good_deal_is_not_copied() -> None:
    torch.manual_seed(0)
    spaces = Spaces(observation=OBSERVATION, actions=BOX)
    narrow = TanhHead(low=(-1.0, 0.0), high=(1.0, 1.0))
    clipped = ClipHead(low=(-0.1, 0.1), high=(0.1, 0.2))
    for head in (narrow, clipped):
        teacher = teacher_of_actor(Actor(layers((4,)), head), "mine", spaces)
        assert copied_of(teacher, lessons_of(teacher)) is None


def test_a_file_that_plays_as_it_is_can_be_copied(tmp_path: Path) -> None:
    path = tmp_path / "policy.onnx"
    export_onnx(Actor(layers((6, 4)), HEADS["tanh"][0]), path, {})
    teacher = read_teacher(path, Spaces(observation=OBSERVATION, actions=BOX))
    assert teacher.graph is None
    copied = copied_of(teacher, lessons_of(teacher))
    assert copied is not None
    assert copied.hidden == (6, 4)
    assert isinstance(copied.actor.head, TanhHead)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return a list that fills with the files that are read into graphs for teachers."""
    found: list[Path] = []

    def read_policy(path: Path, *given: Any) -> PolicyFile:
        found.append(path)
        return read.read_policy(path, *given)

    monkeypatch.setattr(compression_read, "read_policy", read_policy)
    return found


@pytest.mark.parametrize("suffix", ["onnx", "ts"])
def test_a_file_that_plays_as_it_is_is_read_once_and_only_for_a_copy(
    suffix: str, tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(f"policy.{suffix}")
    if suffix == "onnx":
        export_onnx(Actor(layers((6, 4)), HEADS["clip"][0]), path, {})
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.jit.script(layers((6, 4))).save(str(path))  # type: ignore[no-untyped-call]
    teacher = read_teacher(path, Spaces(observation=OBSERVATION, actions=BOX))
    teacher.act(np.zeros(OBSERVATION, np.float32))
    dataset = lessons_of(teacher)
    assert reads == []
    monkeypatch.chdir("/")  # as an environment may
    for _ in range(2):
        copied = copied_of(teacher, dataset)
        assert copied is not None
        assert copied.hidden == (6, 4)
    assert reads == [tmp_path / path]


def test_a_file_that_cannot_be_read_plays_and_is_not_copied(tmp_path: Path, reads: list[Path]) -> None:
    weights = onnx.numpy_helper.from_array(np.eye(OBSERVATION, OUTPUTS, dtype=np.float32), "weights")
    ports = [onnx.helper.make_tensor_value_info(*port) for port in (
        ("obs", onnx.TensorProto.FLOAT, ["batch", OBSERVATION]), ("action", onnx.TensorProto.FLOAT, ["batch", OUTPUTS])
    )]  # fmt: skip
    nodes = [
        onnx.helper.make_node("Round", ["obs"], ["whole"]),
        onnx.helper.make_node("MatMul", ["whole", "weights"], ["action"]),
    ]
    graph = onnx.helper.make_graph(nodes, "policy", ports[:1], ports[1:], [weights])
    path = tmp_path / "policy.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    teacher = read_teacher(path, Spaces(observation=OBSERVATION, actions=BOX))
    assert teacher.responses(np.full((1, OBSERVATION), 0.9, np.float32)).tolist() == [[1.0, 1.0]]
    assert copied_of(teacher, lessons_of(teacher)) is None
    assert reads == [path]


def test_a_final_tanh_between_bounds_of_one_is_a_squashing_head() -> None:
    ones = BoxActions(low=(-1.0,) * OUTPUTS, high=(1.0,) * OUTPUTS)
    network = nn.Sequential(*layers((6,)), nn.Tanh())
    head = ClipHead(low=ones.low, high=ones.high)
    teacher = teacher_of_actor(Actor(network, head), "mine", Spaces(observation=OBSERVATION, actions=ones))
    copied = copied_of(teacher, lessons_of(teacher))
    assert copied is not None
    assert isinstance(copied.actor.head, TanhHead)


@pytest.mark.parametrize(
    ("hidden", "units"), [((64, 64), 64), ((16,), 8), ((256, 256), 170), ((512, 256, 128), 298), ((1, 1), 2), ((3,), 1)]
)
def test_the_first_copy_is_a_half_or_less_of_a_large_network(hidden: tuple[int, ...], units: int) -> None:
    assert first_units(hidden) == units


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the function to the widths that a branch of copies tries, where networks are good that have so many."""

    def run(enough: int, *, anything_good: bool = False, fewer_than: float = math.inf) -> list[int]:
        torch.manual_seed(0)
        network = layers((8, 8))
        if fewer_than < math.inf:  # one of the second layer's units matters
            with torch.no_grad():
                network[-1].weight[:, 1:] = 0.0
        teacher = teacher_of(network)
        dataset = lessons_of(teacher)
        deployed_units: list[int] = []
        tried: list[int] = []

        def judged(*_: Any, **__: Any) -> Judgement:
            tried.append(deployed_units[-1])
            good = tried[-1] >= enough
            played = Paired(small=np.ones(4), teacher=np.ones(4), random=np.zeros(4))
            return Judgement(played=played, retention=0.99 if good else 0.5, good=good)

        def deployed(actor: Actor, *_: Any) -> None:
            deployed_units.append(
                sum(layer.out_features for layer in list(actor.network)[:-1] if isinstance(layer, nn.Linear))
            )

        monkeypatch.setattr(round_context, "judged", judged)
        monkeypatch.setattr(round_context, "deployed", deployed)
        runner: Any = SimpleNamespace(
            steps=0,
            spaces=teacher.spaces,
            stopped=lambda: False,
            play_all=lambda _, seeds: [
                SimpleNamespace(observations=np.zeros((3, OBSERVATION), np.float32)) for _ in seeds
            ],
        )
        worker: Any = SimpleNamespace(runner=runner, teacher=teacher)
        copied = copied_of(teacher, dataset)
        assert copied is not None
        branch = branch_of_copies(copied, 4, dataset)
        good = anything_good
        while branch.phase is not Phase.DONE:
            found = advance(
                worker,
                branch,
                RoundSettings(
                    search=SearchSettings(steps=40, lesson_steps=2, refinements=0, tuning=False, fresh_episodes=0),
                    baseline=Baseline(teacher=np.ones(80), random=np.zeros(80)),
                    clip_range=ReturnRange(low=0.0, high=1.0),
                    max_parameters=fewer_than,
                    anything_good=good,
                ),
            )
            assert all(one.parameters < fewer_than for one in found.candidates)
            good = good or any(one.good for one in found.candidates)
            branch = found.branch
        return tried

    return run


def test_copies_shrink_by_halves_and_then_between(searched: Any) -> None:
    tried = searched(3)
    assert tried[:3] == [8, 4, 2]
    assert min(units for units in tried if units >= 3) == 3


@pytest.mark.parametrize(("fewer_than", "sizes"), [(54, True), (40, True), (12, False)])
def test_no_copy_is_judged_that_has_more_parameters_than_something_good(
    searched: Any, fewer_than: int, sizes: bool
) -> None:
    """Which units go decides the parameters: the first copy has 7 and 1 units, and not 4 and 4."""
    assert bool(searched(4, anything_good=True, fewer_than=fewer_than)) == sizes


def test_larger_copies_come_first_while_nothing_is_good_and_smaller_ones_again_after_it(searched: Any) -> None:
    tried = searched(10)
    assert tried[:3] == [8, 8, 11]
    assert tried[3:8] == [6] * 5
    assert searched(10, anything_good=True)[:5] == [8] * 5
