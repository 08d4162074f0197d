"""The deployed function: the normalizer, the heads, and what they are made into."""

from __future__ import annotations

import math
from collections.abc import Callable

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import Tensor, nn

from prunekit import Actor, ArgmaxHead, ClipHead, InputError, Normalizer, TanhHead
from prunekit.adapters.sb3 import normalizer_of
from prunekit.policy.probes import probe_observations

MEAN = [0.5, -3.0, 120.0, 0.0]
VARIANCE = [4.0, 0.01, 900.0, 1e-12]
CLIP = 2.5


@pytest.fixture
def vec_normalize() -> VecNormalize:
    wrapped = VecNormalize(DummyVecEnv([lambda: gym.make("CartPole-v1")]), clip_obs=CLIP, epsilon=1e-6)
    wrapped.obs_rms.mean, wrapped.obs_rms.var = np.asarray(MEAN), np.asarray(VARIANCE)
    return wrapped


def test_normalizer_is_the_formula_of_vec_normalize(vec_normalize: VecNormalize) -> None:
    generator = np.random.default_rng(0)
    deviation = np.sqrt(np.asarray(VARIANCE) + 1e-6)
    observations = (MEAN + generator.normal(0.0, 2.0, (500, 4)) * deviation).astype(np.float32)
    expected = np.asarray(vec_normalize.normalize_obs(observations))
    normalizer = normalizer_of(vec_normalize)
    assert normalizer is not None
    result = normalizer(torch.from_numpy(observations)).numpy()
    np.testing.assert_allclose(result, expected, rtol=2e-5, atol=2e-5)
    for limit in (-CLIP, CLIP):
        at_limit = expected == limit
        assert at_limit.sum() > 20, "too few clipped values to show the clip"
        assert (result == limit).sum() == pytest.approx(at_limit.sum(), abs=1)


def test_normalizer_is_absent_where_observations_are_left_alone(vec_normalize: VecNormalize) -> None:
    vec_normalize.norm_obs = False
    assert normalizer_of(vec_normalize) is None
    assert normalizer_of(None) is None


def test_normalizer_is_stored_with_the_actor_but_not_trained() -> None:
    actor = Actor(nn.Sequential(nn.Linear(2, 1)), ArgmaxHead(), Normalizer([1.0, 2.0], [3.0, 4.0], 5.0))
    assert {"normalizer.mean", "normalizer.scale"} <= set(actor.state_dict())
    assert {name for name, _ in actor.named_parameters()} == {"network.0.weight", "network.0.bias"}


def test_actor_normalizes_then_scores_then_decides() -> None:
    linear = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
    actor = Actor(
        nn.Sequential(linear), ClipHead(low=(-1.0, -1.0), high=(1.0, 0.25)), Normalizer([10.0, 0.0], [0.5, 2.0], 3.0)
    )
    observation = torch.tensor([[11.0, -0.1], [0.0, 9.0]])
    torch.testing.assert_close(actor.outputs(observation), torch.tensor([[0.5, 0.2], [-3.0, -3.0]]))
    torch.testing.assert_close(actor(observation), torch.tensor([[0.5, 0.2], [-1.0, -1.0]]))


class MeanAndDeviation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mean, self.log_deviation = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean(x), self.log_deviation(x)


def test_scores_are_the_first_of_several_outputs() -> None:
    network = MeanAndDeviation()
    observation = torch.randn(5, 3)
    actor = Actor(network, ClipHead(low=(-9.0,) * 2, high=(9.0,) * 2))
    assert torch.equal(actor.outputs(observation), network.mean(observation))


@pytest.mark.parametrize("kept", [torch.float32, torch.float64])
@pytest.mark.parametrize("observed", [torch.float32, torch.float64])
def test_observations_of_either_float_type_are_served(kept: torch.dtype, observed: torch.dtype) -> None:
    network = nn.Sequential(nn.Linear(3, 4, dtype=kept), nn.ReLU(), nn.Linear(4, 2, dtype=kept))
    observation = torch.randn(5, 3)
    for normalizer in (None, Normalizer([1.0] * 3, [2.0] * 3, 4.0)):
        actor = Actor(network, ClipHead(low=(-1.0,) * 2, high=(1.0,) * 2), normalizer)
        action = actor(observation.to(observed))
        assert action.dtype == kept
        torch.testing.assert_close(action, actor(observation.to(kept)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Normalizer([0.0], [1.0], 0.0), "clip must be positive"),
        (lambda: Normalizer([0.0], [1.0], math.nan), "clip must be positive"),
        (lambda: Normalizer([0.0], [1.0, 2.0], 5.0), "mean .* and scale .* differ"),
        (lambda: ArgmaxHead(2**31), "32-bit integer"),
        (lambda: ArgmaxHead(1.5), "32-bit integer"),  # type: ignore[arg-type]
        (lambda: ClipHead(low=(2.0,), high=(1.0,)), "low <= high"),
        (lambda: ClipHead(low=(math.nan,), high=(1.0,)), "low <= high"),
        (lambda: ClipHead(low=(0.0, 0.0), high=(1.0,)), "low <= high"),
        (lambda: ClipHead(low=(), high=()), "one per component"),
        (lambda: TanhHead(low=(-math.inf,), high=(1.0,)), "low <= high and no larger"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()


@pytest.mark.parametrize("start", [0, 1, -3])
def test_argmax_head_counts_from_the_first_action(start: int) -> None:
    scores = torch.tensor([[0.1, 0.3, 0.2], [5.0, -1.0, 4.0], [-3.0, -2.0, -1.0]])
    actions = ArgmaxHead(start)(scores)
    assert actions.dtype == torch.int64
    assert actions.tolist() == [1 + start, 0 + start, 2 + start]


def test_clip_head_takes_a_bound_per_component_and_infinite_ones() -> None:
    head = ClipHead(low=(-1.0, -math.inf, 0.0, -math.inf), high=(2.0, 0.5, math.inf, math.inf))
    far = torch.tensor([[-1e30] * 4, [1e30] * 4])
    assert torch.equal(head(far), torch.tensor([[-1.0, -1e30, 0.0, -1e30], [2.0, 0.5, 1e30, 1e30]]))
    inside = torch.tensor([[1.5, -7.0, 3.0, 42.0]])
    assert torch.equal(head(inside), inside)


def test_tanh_head_maps_to_the_whole_range() -> None:
    head = TanhHead(low=(-2.0, 0.0), high=(2.0, 10.0))
    scores = torch.tensor([[0.0, 0.0], [0.3, -0.3], [99.0, 99.0], [-99.0, -99.0]])
    squashed = math.tanh(0.3)
    expected = torch.tensor([[0.0, 5.0], [2 * squashed, 5 - 5 * squashed], [2.0, 10.0], [-2.0, 0.0]])
    torch.testing.assert_close(head(scores), expected)


def test_tanh_head_never_leaves_the_bounds_by_rounding() -> None:
    generator = np.random.default_rng(0)
    bounds = np.sort(generator.normal(0.0, 3.0, (2000, 2)).astype(np.float32), axis=1)
    low, high = bounds.T
    head = TanhHead(low=tuple(map(float, low)), high=tuple(map(float, high)))
    scores = torch.tensor([[-50.0], [50.0], [-8.9], [8.9]]).expand(4, len(low))
    actions = head(scores).numpy()
    assert ((actions >= low) & (actions <= high)).all()
    half, middle = (torch.tensor(values) for values in head.affine)
    unclipped = (torch.tanh(scores) * half + middle).numpy()
    assert ((unclipped < low) | (unclipped > high)).any(), "no rounding to guard against: this test shows nothing"


def test_probes_reach_beyond_both_sides_of_the_clip() -> None:
    normalizer = Normalizer(MEAN, [0.5, 10.0, 1.0 / 30.0, 3.0], 10.0)
    probes = probe_observations(4, normalizer, np.random.default_rng(0))
    assert probes.dtype == np.float32
    assert probes.shape == (256, 4)
    normalized = normalizer(torch.from_numpy(probes)).numpy()
    assert ((normalized == 10.0).any(axis=0) & (normalized == -10.0).any(axis=0)).all()
    assert (np.abs(normalized) < 10.0).mean() > 0.5
    assert np.array_equal(probes, probe_observations(4, normalizer, np.random.default_rng(0)))
