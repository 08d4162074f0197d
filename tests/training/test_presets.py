"""Presets: every entry is whole, and schedules do what their names say."""

from __future__ import annotations

import pytest

from prunekit.training.presets import algorithms_of, preset_for, rate_schedule

PRESETS = [
    ("CartPole-v1", "ppo"),
    ("CartPole-v1", "dqn"),
    ("LunarLander-v3", "ppo"),
    ("LunarLander-v3", "dqn"),
    ("Hopper-v5", "ppo"),
    ("Walker2d-v5", "ppo"),
    ("HalfCheetah-v5", "ppo"),
    ("Unheard-of-v0", "ppo"),
    ("Unheard-of-v0", "dqn"),
]


@pytest.mark.parametrize(("env_id", "algorithm"), PRESETS)
def test_every_preset_is_whole(env_id: str, algorithm: str) -> None:
    preset = preset_for(env_id, algorithm)
    assert preset.steps >= 50_000
    assert preset.hidden == (256, 256)
    assert preset.model["learning_rate"] > 0
    rate_schedule(preset.learning_rate_schedule, 1e-3, 0.7)


def test_the_preferred_algorithm_comes_first() -> None:
    assert algorithms_of("CartPole-v1")[0] == "ppo"
    assert algorithms_of("Unheard-of-v0") == ()


def test_presets_lie_over_the_defaults() -> None:
    default, hopper = (preset_for(name, "ppo") for name in ("Unheard-of-v0", "Hopper-v5"))
    assert hopper.policy == {"log_std_init": -1.0}
    assert default.policy == {}
    assert hopper.model == default.model


@pytest.mark.parametrize("name", ["constant", "linear", "hold"])
@pytest.mark.parametrize("frozen_from", [0.7, 1.0])
def test_the_rate_is_never_negative_past_the_end(name: str, frozen_from: float) -> None:
    schedule = rate_schedule(name, 1.0, frozen_from)
    assert schedule(-0.01) == schedule(0.0) >= 0.0


@pytest.mark.parametrize(
    ("name", "rates"),
    [("constant", (1.0, 1.0, 1.0, 1.0)), ("linear", (1.0, 0.5, 0.3, 0.0)), ("hold", (1.0, 1.0, 1.0, 0.0))],
)
def test_schedules(name: str, rates: tuple[float, ...]) -> None:
    schedule = rate_schedule(name, 1.0, 0.7)
    assert [schedule(remaining) for remaining in (1.0, 0.5, 0.3, 0.0)] == pytest.approx(rates)
    assert rate_schedule("hold", 2.0, 0.7)(0.15) == pytest.approx(1.0)
