"""What a training run is asked to do, and the learner built from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, final

import gymnasium as gym
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from prunekit.activations import Activation
from prunekit.adapters.sb3 import algorithm_for
from prunekit.environments import Spaces, make_environment
from prunekit.errors import InputError
from prunekit.pruning.penalties import Penalty
from prunekit.pruning.plan import PruningPlan
from prunekit.training.presets import Preset, rate_schedule


@final
@dataclass(frozen=True)
class TrainingRequest:
    """One run. ``plan`` None trains the dense control; ``hidden`` overrides the actor's widths, not the critic's.

    ``guard_share`` is the return guard's share, None for no guard.
    """

    env_id: str
    algorithm: str
    preset: Preset
    seed: int = 0
    steps: int | None = None
    plan: PruningPlan | None = None
    hidden: tuple[int, ...] | None = None
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    guard_share: float | None = 0.9

    def __post_init__(self) -> None:
        if self.total_steps < 1:
            raise InputError(f"steps must be at least 1, got {self.total_steps}")
        if self.hidden is not None and (not self.hidden or min(self.hidden) < 1):
            raise InputError(f"hidden widths must be positive, got {list(self.hidden)}")

    @property
    def total_steps(self) -> int:
        """Environment steps of the whole run."""
        return self.preset.steps if self.steps is None else self.steps

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for ``config.json``."""
        return {
            "env": {"id": self.env_id, "kwargs": dict(self.env_kwargs)},
            "algorithm": self.algorithm,
            "seed": self.seed,
            "steps": self.total_steps,
            "hidden": list(self.hidden or self.preset.hidden),
            "preset": asdict(self.preset),
            "guard_share": self.guard_share,
            "plan": None if self.plan is None else _plan_to_dict(self.plan),
        }


def build_learner(request: TrainingRequest, spaces: Spaces) -> BaseAlgorithm:
    """Return the SB3 model of ``request`` with its (normalized) vector environment, seeded."""
    preset = request.preset
    algorithm = algorithm_for(request.algorithm, spaces)
    environment: VecEnv = DummyVecEnv([_maker(request) for _ in range(preset.n_envs)])
    keywords = dict(preset.model)
    if preset.normalize:
        environment = VecNormalize(environment, gamma=keywords.get("gamma", 0.99))
    frozen_from = (request.plan or PruningPlan()).phases.end
    keywords["learning_rate"] = rate_schedule(preset.learning_rate_schedule, keywords.pop("learning_rate"), frozen_from)
    critic = list(preset.hidden)
    policy = {
        "net_arch": algorithm.net_arch(list(request.hidden or preset.hidden), critic),
        "activation_fn": type(Activation(preset.activation).to_module()),
        **preset.policy,
    }
    return algorithm.model("MlpPolicy", environment, policy_kwargs=policy, seed=request.seed, device="cpu", **keywords)


def _maker(request: TrainingRequest) -> Callable[[], gym.Env[Any, Any]]:
    return lambda: Monitor(make_environment(request.env_id, request.env_kwargs))


def _plan_to_dict(plan: PruningPlan) -> dict[str, Any]:
    names = {name: getattr(plan, name) for name in plan.__dataclass_fields__}
    names["threshold"] = {type(plan.threshold).__name__.lower(): plan.threshold.target}
    names["importance"] = getattr(plan.importance, "__name__", str(plan.importance))
    names["penalty"] = plan.penalty.name if isinstance(plan.penalty, Penalty) else str(plan.penalty)
    names["phases"] = asdict(plan.phases)
    return names
