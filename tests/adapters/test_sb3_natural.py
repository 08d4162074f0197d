"""Natural-gradient steps of PPO: how far they go, when they are undone, and the average that follows them."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym
import pytest
import torch
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor, nn

import prunekit.spaces  # noqa: F401  (registers the kinds of actions)
from prunekit.adapters import sb3_natural
from prunekit.adapters.sb3_natural import NaturalSettings
from prunekit.adapters.sb3_tuning import Tuner, TunerSettings
from prunekit.spaces.kind import kind_of_space

ROLLOUT = 2_048


def tuned(
    env_id: str, rollouts: int = 1, warmup: int = 0, natural: NaturalSettings | None = None
) -> tuple[Any, nn.Module, nn.Module, nn.Module]:
    """Return (the learner, the network it began with, the average, the latest)."""
    environment = gym.make(env_id)
    space: Any = environment.action_space
    outputs = int(space.n) if isinstance(space, gym.spaces.Discrete) else int(space.shape[0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Linear(int(environment.observation_space.shape[0]), 5), nn.Tanh(), nn.Linear(5, outputs)
        )
    environment.close()
    before = copy.deepcopy(network)
    settings = TunerSettings(natural=natural or NaturalSettings())
    environments = DummyVecEnv([lambda: gym.make(env_id)] * settings.copies)
    tuner = Tuner(environments, kind_of_space(space).curvature, 0, warmup, settings)
    tuner.take(network)
    tuner.tune(rollouts * ROLLOUT, lambda: False)
    tuner.close()
    return tuner._model, before, network, tuner._model.policy.action_net


def weights(network: nn.Module) -> Tensor:
    return torch.nn.utils.parameters_to_vector(network.parameters()).detach()


def moved(model: Any, before: nn.Module, latest: nn.Module) -> float:
    """Return the divergence of the policy from what it was before the rollout."""
    observations = next(model.rollout_buffer.get(None)).observations
    found = []
    for network in (before, latest):
        model.policy.action_net = network
        with torch.no_grad():
            found.append(model._distribution(observations))
    return sb3_natural.divergence(*found)


def test_a_rollout_moves_the_policy_by_about_the_divergence_it_may() -> None:
    model, before, _, latest = tuned("Pendulum-v1")
    assert 0.1 * 0.006 < moved(model, before, latest) < 1.5 * 0.006


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_a_way_that_went_too_far_is_shortened(env_id: str) -> None:
    model, before, _, latest = tuned(env_id, natural=NaturalSettings(divergence=0.2))
    assert 0.0 < moved(model, before, latest) <= 0.03


def test_a_way_that_stays_too_far_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sb3_natural, "divergence", lambda *_: float("nan"))
    _, before, average, latest = tuned("Pendulum-v1")
    assert torch.equal(weights(latest), weights(before))
    assert torch.equal(weights(average), weights(before))


def test_the_average_follows_the_latest() -> None:
    _, before, average, latest = tuned("CartPole-v1")
    assert not torch.equal(weights(latest), weights(before))
    torch.testing.assert_close(weights(average), weights(before).lerp(weights(latest), 2 / 3))
    _, _, average, latest = tuned("CartPole-v1", rollouts=2, natural=NaturalSettings(min_share_of_latest=1.0))
    assert torch.equal(weights(average), weights(latest))


def test_nothing_moves_while_the_critic_learns_alone() -> None:
    _, before, average, latest = tuned("CartPole-v1", rollouts=0, warmup=ROLLOUT)
    assert torch.equal(weights(average), weights(before))
    assert torch.equal(weights(latest), weights(before))


def test_deviations_stay_as_they_are() -> None:
    model, before, _, latest = tuned("Pendulum-v1", rollouts=3)
    assert not torch.equal(weights(latest), weights(before))
    assert torch.equal(model.policy.log_std.detach(), torch.full((1,), -2.0))


def test_a_gradient_is_one_of_the_latest_rollouts() -> None:
    kept = {rollouts: tuned("Pendulum-v1", rollouts=rollouts)[0]._latest for rollouts in (3, 5)}
    assert [len(latest) for latest in kept.values()] == [3, 4]
    assert torch.equal(kept[5][1].actions, kept[3][2].actions)
    alone = [weights(tuned("Pendulum-v1", rollouts=rollouts)[3]) for rollouts in (1, 2)]
    one = NaturalSettings(rollouts=1)
    together = [weights(tuned("Pendulum-v1", rollouts, natural=one)[3]) for rollouts in (1, 2)]
    assert torch.equal(alone[0], together[0])
    assert not torch.equal(alone[1], together[1])


def test_a_gradient_weighs_actions_by_importance_and_stops_a_way_off_from_where_the_steps_began() -> None:
    before = torch.tensor([0.4, 1.0, 3.0, 3.0, 3.0])
    gains = torch.tensor([1.0, -1.0, 2.0, 2.0, -2.0])
    ratio = (before + torch.tensor([0.0, 0.0, 0.1, 0.3, 0.3])).requires_grad_()
    gain = sb3_natural.clipped_gain(ratio, before, gains)
    assert gain.item() == pytest.approx((0.4 - 1.0 + 2.0 * 3.1 + 2.0 * 3.2 - 2.0 * 3.3) / 5)
    (slopes,) = torch.autograd.grad(gain, [ratio])
    torch.testing.assert_close(slopes, torch.tensor([1.0, -1.0, 2.0, 0.0, -2.0]) / 5)


def test_rollouts_of_another_network_are_forgotten() -> None:
    model, before, _, _ = tuned("Pendulum-v1")
    model.take(before)
    assert model._latest == ()


def test_the_policy_is_as_likely_to_act_as_it_did_until_it_moves() -> None:
    model, before, _, _ = tuned("Pendulum-v1")
    (rollout,) = model._latest
    assert not torch.allclose(model._ratio(rollout), torch.ones(ROLLOUT), atol=1e-3)
    model.policy.action_net = before
    torch.testing.assert_close(model._ratio(rollout), torch.ones(ROLLOUT), atol=1e-3, rtol=0.0)
