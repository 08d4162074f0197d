"""A kind of actions from outside of the package: whole numbers in a box, rounded by a head of its own.

It is learned from a teacher, written as ONNX and played, and is in no list of the package.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

from prunekit.compression.playing import deployed
from prunekit.compression.student import ImitationDataset, Scale, Student
from prunekit.compression.teacher import Teacher, teacher_of_actor
from prunekit.compression.tuning import tuner_of
from prunekit.environments import Spaces
from prunekit.errors import CheckError, InputError, UnusableEnvironmentError
from prunekit.export.onnx import export_onnx
from prunekit.export.session import tuned_session
from prunekit.graph.forms import MACS, MARGIN, ONNX, TORCH
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import OPS, Array, Coupling, Op, Spec, register_op, require_floats, unitwise
from prunekit.policy.artifact import load, make_artifact, save
from prunekit.policy.heads import KindHead
from prunekit.rollouts import EpisodeRunner, episode_return
from prunekit.spaces.curvature import Curvature, Normals
from prunekit.spaces.kind import KINDS, ActionKind, AnswerScale, Float64, Learning, register_kind

ENV = "prunekit-test/Dials-v0"


@final
@dataclass(frozen=True, kw_only=True)
class RoundToBounds:
    """The nearest whole numbers within bounds."""

    low: tuple[int, ...]
    high: tuple[int, ...]
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        require_floats(given, last=len(self.low))
        return (Spec(given[0].shape, "int64"),)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        return unitwise(given[0], ("x", "y"))[:-1]

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        return (np.clip(np.rint(values[0]), self.low, self.high).astype(np.int64),)


def torch_form(op: RoundToBounds, _: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
    return (torch.minimum(torch.maximum(x.round(), x.new_tensor(op.low)), x.new_tensor(op.high)).long(),)


def onnx_form(op: RoundToBounds, writer: OnnxWriter, x: str) -> tuple[str, ...]:
    above = writer.add("Max", [writer.add("Round", [x]), writer.constant(np.asarray(op.low, np.float32))])
    held = writer.add("Min", [above, writer.constant(np.asarray(op.high, np.float32))])
    return (writer.add("Cast", [held], to=7),)


@final
@dataclass(frozen=True, kw_only=True)
class WholeActions:
    """Whole numbers from ``low`` to ``high``; outputs are near them."""

    low: tuple[int, ...]
    high: tuple[int, ...]
    name: ClassVar[str] = "whole"
    sort: ClassVar[str] = "whole"
    spaces: ClassVar[str] = "integer Box"
    taught_by: ClassVar[str] = "outputs"

    @staticmethod
    def of_space(space: gym.Space[Any]) -> WholeActions | None:
        if not isinstance(space, gym.spaces.Box) or space.dtype != np.int64:
            return None
        return WholeActions(low=tuple(space.low.tolist()), high=tuple(space.high.tolist()))

    @staticmethod
    def of_head(head: Op, width: int) -> WholeActions | None:
        return WholeActions(low=head.low, high=head.high) if isinstance(head, RoundToBounds) else None

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> WholeActions:
        return WholeActions(low=tuple(data["low"]), high=tuple(data["high"]))

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.name, "low": list(self.low), "high": list(self.high)}

    @property
    def words(self) -> str:
        return "whole numbers"

    @property
    def outputs(self) -> int:
        return len(self.low)

    @property
    def choices(self) -> int:
        return len(self.low)

    def head(self) -> Op:
        return RoundToBounds(low=self.low, high=self.high)

    def takes(self, head: Op) -> bool:
        return head == self.head()

    def squashed(self) -> ActionKind:
        raise InputError("whole numbers are not squashed")

    def action(self, answer: Any) -> Any:
        numbers = np.asarray(answer).astype(np.int64)
        if numbers.shape != (len(self.low),) or (numbers < self.low).any() or (numbers > self.high).any():
            raise CheckError(f"action {numbers.tolist()} is not one of the whole numbers")
        return numbers

    def decided(self, outputs: Array) -> Any:
        return self.action(self.head().reference((outputs,))[0])

    def with_noise(self, action: Any, noise: float, generator: np.random.Generator) -> Any:
        others = generator.integers(self.low, np.asarray(self.high) + 1)
        return self.action(np.where(generator.random(len(self.low)) < noise, others, np.asarray(action)))

    def outputs_of(self, choices: Any) -> Float64:
        return np.asarray(choices, np.float64)

    def answers(self, outputs: Float64) -> Float64:
        return outputs

    def scale(self, answers: Float64) -> AnswerScale:
        low, high = (torch.tensor(bounds, dtype=torch.float32) for bounds in (self.low, self.high))
        return AnswerScale((low + high) / 2, (high - low) / 2, torch.ones(len(low), dtype=torch.bool))

    def loss(self, outputs: Tensor, answers: Tensor, scale: AnswerScale) -> Tensor:
        return (outputs - answers).square().sum(dim=1).mean()

    def curvature(self, deviation: float) -> Curvature:
        return Normals(torch.full((self.outputs,), deviation))

    def for_learner(self) -> Learning:
        return Learning(None, self.action)

    def for_student(self, scale: AnswerScale) -> Learning:
        middle, half = scale.middle.numpy(), scale.half.numpy()
        space = gym.spaces.Box(-1.0, 1.0, (self.outputs,), np.float32)
        return Learning(space, lambda action: self.decided(action * half + middle))


class Dials(gym.Env[Any, Any]):
    """Two dials are to be set to what is seen, ten times."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gym.spaces.Box(np.array([-4, 0]), np.array([4, 9]), dtype=np.int64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.left = 10
        return self._look(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self.left -= 1
        reward = -float(np.abs(action - wanted(self.seen[None])[0]).sum())
        return self._look(), reward, False, self.left == 0, {}

    def _look(self) -> Any:
        self.seen = self.np_random.normal(size=2).astype(np.float32)
        return self.seen


def wanted(seen: Any) -> Any:
    """Return what to do for observations [n, 2], integers [n, 2]."""
    return np.clip(np.rint([0, 4] + 2.0 * seen[:, ::-1]), [-4, 0], [4, 9]).astype(np.int64)


@pytest.fixture
def registered() -> Iterator[None]:
    register_op(RoundToBounds)
    TORCH.register(RoundToBounds)(torch_form)
    ONNX.register(RoundToBounds)(onnx_form)
    MACS.register(RoundToBounds)(lambda op, given: 0)
    MARGIN.register(RoundToBounds)(lambda op, x: 2 * np.abs(np.abs(x - np.floor(x)) - 0.5))
    register_kind(WholeActions)
    gym.register(ENV, Dials)
    yield
    gym.registry.pop(ENV)
    del OPS["RoundToBounds"], KINDS["whole"]


def test_without_it_its_environment_is_refused() -> None:
    gym.register(ENV, Dials)
    with pytest.raises(UnusableEnvironmentError, match="has actions of int64, but an actor gives fractions"):
        EpisodeRunner(ENV)
    gym.registry.pop(ENV)


@pytest.mark.usefixtures("registered")
def test_it_is_learned_written_and_played(tmp_path: Path) -> None:
    runner = EpisodeRunner(ENV)
    kind = WholeActions(low=(-4, 0), high=(4, 9))
    assert runner.spaces == Spaces(observation=2, actions=kind)
    assert Spaces.from_dict(runner.spaces.to_dict()) == runner.spaces
    teacher = Teacher(name="mine", spaces=runner.spaces, respond=wanted)
    teacher.probe()
    assert runner.play(teacher.act, 0).total == 0.0
    lessons = ImitationDataset(teacher)
    lessons.add(np.random.default_rng(0).normal(size=(2000, 2)).astype(np.float32))
    student = Student((6,), Scale.of(lessons, runner.spaces), runner.spaces, 0)
    student.fit(lessons, 1000)
    before = float(kind.loss(*answers_of(student, lessons), student.scale.answers))
    student.fit_gauss_newton(lessons, 10)
    assert float(kind.loss(*answers_of(student, lessons), student.scale.answers)) < before
    actor = student.actor
    assert actor.head == KindHead(kind)
    assert runner.play(deployed(actor, runner.spaces), 0).total > -4.0

    save(make_artifact(actor, None, {}), tmp_path / "model.pt")
    export_onnx(load(tmp_path / "model.pt").actor, tmp_path / "model.onnx", {})
    session = tuned_session((tmp_path / "model.onnx").read_bytes())
    total = episode_return(
        runner.environment, lambda seen: kind.action(session.run(["action"], {"obs": seen[None]})[0][0]), 0
    )
    assert total > -4.0
    assert teacher_of_actor(actor, "small", runner.spaces).responses(lessons.states).shape == (2000, 2)
    tuner = tuner_of(student.scale, runner, 0, warmup=2048)
    tuner.take(student.network)
    assert tuner.tune(2048, lambda: False) >= 2048
    tuner.close()
    runner.close()


def answers_of(student: Student, lessons: ImitationDataset) -> tuple[Tensor, Tensor]:
    """Return (what the student answers, what it should), both in its units."""
    middle, half, _ = student.scale.answers
    with torch.no_grad():
        found = student.network(student.scale.normalizer(torch.from_numpy(lessons.states)))
    return found, (torch.from_numpy(lessons.answers).float() - middle) / half
