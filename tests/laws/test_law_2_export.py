"""Law 2: torch, ONNX Runtime and the NumPy float64 oracle give the same actions on raw observations."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from law_strategies import Deployed, deployed
from numpy.typing import NDArray

from prunekit.benching.models import BenchModel
from prunekit.benching.runtimes import OnnxRuntime
from prunekit.environments import Spaces
from prunekit.export.onnx import export_onnx, read_metadata, to_onnx
from prunekit.export.session import tuned_session
from prunekit.policy.actor import Actor
from prunekit.policy.graphs import graph_of
from prunekit.policy.heads import ArgmaxHead, ClipHead, Head
from prunekit.policy.oracle import run_oracle
from prunekit.policy.program import lower
from prunekit.spaces.box import BoxActions
from prunekit.spaces.discrete import DiscreteActions

TOLERANCE = 1e-5
Pair = tuple[NDArray[Any], NDArray[Any]]


@torch.no_grad()
def run_torch(actor: Actor, observations: NDArray[Any]) -> Pair:
    tensor = torch.from_numpy(observations)
    return actor(tensor).numpy(), actor.outputs(tensor).numpy()


def run_onnx(actor: Actor, observations: NDArray[np.float32]) -> Pair:
    session = tuned_session(to_onnx(graph_of(actor), {}))
    action, scores = session.run(["action", "scores"], {"obs": observations})
    return action, scores


def assert_agree(found: Pair, expected: Pair, tolerance: float) -> None:
    action, scores = found
    expected_action, expected_scores = expected
    assert scores.shape == expected_scores.shape
    assert action.shape == expected_action.shape
    allowed = tolerance * max(1.0, float(np.abs(expected_scores).max()))
    np.testing.assert_allclose(scores, expected_scores, rtol=0.0, atol=allowed)
    if expected_action.dtype != np.int64:
        limit = tolerance * max(1.0, float(np.abs(expected_action).max()))
        np.testing.assert_allclose(action, expected_action, rtol=0.0, atol=max(limit, allowed))
        return
    assert action.dtype == np.int64
    best_two = np.sort(expected_scores, axis=1)[:, -2:]
    clear = np.ptp(best_two, axis=1) > 2 * allowed if best_two.shape[1] == 2 else np.ones(len(action), bool)
    np.testing.assert_array_equal(action[clear], expected_action[clear])


@settings(deadline=None, max_examples=80)
@given(deployed())
def test_torch_and_onnx_runtime_and_the_oracle_agree(case: Deployed) -> None:
    expected = run_oracle(lower(case.actor), case.observations.astype(np.float64))
    assert_agree(run_torch(case.actor, case.observations), expected, TOLERANCE)
    assert_agree(run_onnx(case.actor, case.observations), expected, TOLERANCE)


@settings(deadline=None, max_examples=60)
@given(deployed())
def test_the_oracle_is_the_actor_in_float64(case: Deployed) -> None:
    """Softplus is exact in the oracle and linear above 20 in torch, 2e-9 away: hence no tighter tolerance."""
    raw = case.observations.astype(np.float64)
    assert_agree(run_oracle(lower(case.actor), raw), run_torch(copy.deepcopy(case.actor).double(), raw), 1e-7)


@settings(deadline=None, max_examples=60)
@given(deployed())
def test_one_row_at_a_time_gives_what_a_batch_gives(case: Deployed) -> None:
    session = tuned_session(to_onnx(graph_of(case.actor), {}))
    rows = [session.run(["action", "scores"], {"obs": row[None]}) for row in case.observations]
    alone = np.concatenate([row[0] for row in rows]), np.concatenate([row[1] for row in rows])
    assert_agree(alone, run_onnx(case.actor, case.observations), TOLERANCE)


def decided(head: Head, scores: NDArray[np.float64]) -> NDArray[Any]:
    """The definition of each head, written once more: the three ways share ``TanhHead.affine``."""
    if isinstance(head, ArgmaxHead):
        return np.asarray(np.argmax(scores, axis=1) + head.start)
    low, high = np.asarray(head.low), np.asarray(head.high)
    action = scores if isinstance(head, ClipHead) else low + (np.tanh(scores) + 1) / 2 * (high - low)
    return np.asarray(np.clip(action, low, high))


@settings(deadline=None, max_examples=60)
@given(deployed())
def test_the_oracle_decides_as_the_head_is_defined(case: Deployed) -> None:
    action, scores = run_oracle(lower(case.actor), case.observations.astype(np.float64))
    np.testing.assert_allclose(action, decided(case.actor.head, scores), rtol=0.0, atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(deployed())
def test_every_way_keeps_actions_within_the_bounds(case: Deployed) -> None:
    head, outputs = case.actor.head, lower(case.actor).outputs
    oracle = run_oracle(lower(case.actor), case.observations.astype(np.float64))
    for action, _ in (oracle, run_torch(case.actor, case.observations), run_onnx(case.actor, case.observations)):
        if isinstance(head, ArgmaxHead):
            assert ((action >= head.start) & (action < head.start + outputs)).all()
        else:
            assert ((action >= np.asarray(head.low)) & (action <= np.asarray(head.high))).all()


@settings(deadline=None, max_examples=40)
@given(deployed())
def test_float64_observations_are_served_one_by_one(case: Deployed) -> None:
    program, content = lower(case.actor), to_onnx(graph_of(case.actor), {})
    head = case.actor.head
    actions = (
        Spaces(observation=program.inputs, actions=DiscreteActions(count=program.outputs, start=head.start))
        if isinstance(head, ArgmaxHead)
        else Spaces(observation=program.inputs, actions=BoxActions(low=head.low, high=head.high))
    )
    model = BenchModel(
        path=Path("policy.onnx"),
        content=content,
        size_bytes=len(content),
        hidden=program.hidden,
        parameters=program.parameters,
        macs=program.macs,
    )
    runtime = OnnxRuntime(model, actions)
    action, scores = run_onnx(case.actor, case.observations)
    served = np.stack([runtime.act(row) for row in case.observations.astype(np.float64)])
    assert_agree((served, scores), (action, scores), TOLERANCE)


@settings(deadline=None, max_examples=40)
@given(
    deployed(),
    st.dictionaries(st.sampled_from("abcdef"), st.integers() | st.floats(allow_nan=False, allow_infinity=False)),
)
def test_the_same_arguments_give_the_same_bytes(case: Deployed, metadata: dict[str, int | str]) -> None:
    content = to_onnx(graph_of(case.actor), metadata)
    again = to_onnx(graph_of(copy.deepcopy(case.actor)), dict(reversed(metadata.items())))
    assert content == again
    assert {key: value for key, value in read_metadata(content).items() if key in metadata} == metadata


@settings(deadline=None, max_examples=30)
@given(deployed())
def test_export_writes_the_checked_bytes(case: Deployed) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.onnx"
        report = export_onnx(case.actor, path, {"env": "none"})
        assert path.read_bytes() == to_onnx(graph_of(case.actor), {"env": "none"})
        assert report.size_bytes == path.stat().st_size
        onnx.checker.check_model(onnx.load_from_string(path.read_bytes()), full_check=True)
        assert [entry.name for entry in Path(folder).iterdir()] == ["policy.onnx"]
