"""The settings of a training run, and the learner that is built from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from textwrap import shorten
from typing import Any, final

import gymnasium as gym
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from prunekit.activations import Activation
from prunekit.adapters.sb3 import algorithm_for
from prunekit.adapters.sb3_environment import LearnerEnvironment
from prunekit.environment_functions import first_line
from prunekit.environments import Spaces, make_environment
from prunekit.errors import ArtifactError, InputError
from prunekit.pruning.importance import IMPORTANCES
from prunekit.pruning.penalties import PENALTIES, Penalty
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.schedules import Budget, Phases, Sparsity
from prunekit.training.config import (
    MAX_LAYERS,
    MAX_SEED,
    MAX_STEPS,
    MAX_WIDTH,
    NAME,
    REMEDY,
    check_config,
    read_config,
)
from prunekit.training.presets import Preset, rate_schedule

_MAX_WEIGHTS = 2**25
"""Between two layers; with their gradients and moments half a gigabyte."""


@final
@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """One run in the environment ``env_id``; ``maker`` makes the environment if the id does not.

    ``plan`` None trains the unpruned control. ``hidden`` overrides the actor's widths but not the critic's; () is a
    linear policy. ``guard_share`` is the share of the return guard; None turns it off. ``live_shrink`` removes dead
    units physically during training. ``prune_critics`` prunes the critic with the same plan. A checkpoint is written
    every ``checkpoint_steps`` environment steps. Environments are reset there, so the interval affects the run. By
    default there are twenty, or fewer if an episode of ``episode_steps``, the environment's limit (None for no limit),
    would not fit between two in every environment.
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
    live_shrink: bool = True
    prune_critics: bool = False
    checkpoint_steps: int | None = None
    episode_steps: int | None = None
    maker: Callable[[], gym.Env[Any, Any]] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.total_steps < 1:
            raise InputError(f"steps must be at least 1, got {self.total_steps}")
        if self.total_steps > MAX_STEPS:
            raise InputError(f"steps must be at most {MAX_STEPS}, got {self.total_steps}")
        if not 0 <= self.seed <= MAX_SEED:
            raise InputError(f"the seed must be from 0 to {MAX_SEED}, got {self.seed}")
        for widths in (self.preset.hidden, self.hidden):
            if widths is not None:
                check_widths(widths)
        if self.checkpoint_steps is not None and self.checkpoint_steps < 1:
            raise InputError(f"checkpoints must be at least 1 step apart, got {self.checkpoint_steps}")
        if self.plan is not None and not self.widths:
            raise InputError("no hidden layers: a linear policy has no units to prune; train it with `dense`")
        if self.prune_critics and self.plan is None:
            raise InputError("`dense` and `prune_critics` exclude each other; give one")

    def environment(self) -> gym.Env[Any, Any]:
        """Make one environment; raises UnusableEnvironmentError if it cannot be made."""
        return make_environment(self.env_id, self.env_kwargs) if self.maker is None else self.maker()

    @property
    def total_steps(self) -> int:
        """The number of environment steps of the whole run."""
        return self.preset.steps if self.steps is None else self.steps

    @property
    def widths(self) -> tuple[int, ...]:
        """The actor's hidden widths; empty for a linear policy."""
        return self.preset.hidden if self.hidden is None else self.hidden

    @property
    def checkpoint_every(self) -> int:
        """The number of environment steps between checkpoints."""
        if self.checkpoint_steps is not None:
            return self.checkpoint_steps
        return min(max(1, self.total_steps // 20, self.steps_of_episodes(self.episode_steps or 0)), MAX_STEPS)

    @property
    def rollout_steps(self) -> int:
        """The number of environment steps of a rollout, all environments together; training ends with a whole one."""
        steps = self.preset.model.get("n_steps" if self.algorithm == "ppo" else "train_freq", 1)
        return self.preset.n_envs * (steps if isinstance(steps, int) else 1)

    @property
    def trained_steps(self) -> int:
        """``total_steps`` in whole rollouts."""
        return -(-self.total_steps // self.rollout_steps) * self.rollout_steps

    def steps_of_episodes(self, episode_steps: int) -> int:
        """Return after how many environment steps, in whole rollouts, every environment has made ``episode_steps``."""
        return -(-self.preset.n_envs * episode_steps // self.rollout_steps) * self.rollout_steps

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for ``config.json``."""
        return {
            "env": {"id": self.env_id, "kwargs": dict(self.env_kwargs)},
            "algorithm": self.algorithm,
            "seed": self.seed,
            "steps": self.total_steps,
            "hidden": list(self.widths),
            "preset": asdict(self.preset),
            "guard_share": self.guard_share,
            "live_shrink": self.live_shrink,
            "prune_critics": self.prune_critics,
            "checkpoint_every": self.checkpoint_every,
            "plan": None if self.plan is None else _plan_to_dict(self.plan),
        }


def check_widths(widths: Sequence[int]) -> None:
    """Raise InputError unless ``widths`` (empty for a linear policy) are valid hidden widths that fit into memory."""
    if min(widths, default=1) < 1:
        raise InputError(f"hidden widths must be positive, got {list(widths)}")
    if len(widths) > MAX_LAYERS:
        raise InputError(f"there are {len(widths)} hidden layers, but at most {MAX_LAYERS} can be trained; give fewer")
    weights = sum(one * other for one, other in pairwise(widths))
    if max(widths, default=0) > MAX_WIDTH or weights > _MAX_WEIGHTS:
        raise InputError(
            f"hidden widths must be at most {MAX_WIDTH}, with at most {_MAX_WEIGHTS} weights between them in all, got "
            f"{shorten(str(list(widths)), 60, placeholder='...')}"
        )


def request_of(folder: Path, env_id: str | None = None) -> TrainingRequest:
    """Return the request with which the run in ``folder`` was started, with the environment ``env_id`` if given.

    Gymnasium imports the module before a colon in an id, so only ``env_id``, which a user gave, may name one (law 7).
    Raises ArtifactError, naming ``config.json`` and the value, if a run would not write it.
    """
    config, path = read_config(folder), folder / NAME
    check_config(config, path)
    named = config["env"]["id"]
    if env_id is None and ":" in named:
        raise ArtifactError(
            f"{path}: env.id is {named!a}, which would import a module; if you trust it, give it again as `env`"
        )
    preset = Preset(**{**config["preset"], "hidden": tuple(config["preset"]["hidden"])})
    try:
        return TrainingRequest(
            env_id=env_id or named,
            algorithm=config["algorithm"],
            preset=preset,
            seed=config["seed"],
            steps=config["steps"],
            plan=None if config["plan"] is None else _plan_from_dict(config["plan"]),
            hidden=None if config["hidden"] == list(preset.hidden) else tuple(config["hidden"]),
            env_kwargs=config["env"]["kwargs"],
            guard_share=config["guard_share"],
            live_shrink=config["live_shrink"],
            prune_critics=config["prune_critics"],
            checkpoint_steps=config["checkpoint_every"],
        )
    except InputError as error:  # values that are sound one by one, but not together
        raise ArtifactError(f"{path}: does not describe a run ({error}); {REMEDY}") from error


def build_learner(request: TrainingRequest, spaces: Spaces) -> BaseAlgorithm:
    """Return the seeded SB3 model of ``request`` with its (normalized) vector environment.

    Raises InputError if the algorithm does not support ``spaces`` or does not take the settings of the preset.
    """
    preset = request.preset
    algorithm = algorithm_for(request.algorithm, spaces)
    environment: VecEnv = DummyVecEnv([_maker(request) for _ in range(preset.n_envs)])
    keywords = dict(preset.model)
    if preset.normalize:
        environment = VecNormalize(environment, gamma=keywords.get("gamma", 0.99))
    frozen_from = (request.plan or PruningPlan()).phases.end
    keywords["learning_rate"] = rate_schedule(preset.learning_rate_schedule, keywords.pop("learning_rate"), frozen_from)
    critic = list(preset.hidden)
    deviation = keywords.pop("action_noise_std", None)
    if deviation is not None:
        keywords["action_noise"] = NormalActionNoise(
            np.zeros(spaces.outputs), np.full(spaces.outputs, float(deviation))
        )
    policy = {
        "net_arch": algorithm.net_arch(list(request.widths), critic),
        "activation_fn": type(Activation(name=preset.activation).to_module()),
        **preset.policy,
    }
    try:
        return algorithm.model(
            "MlpPolicy", environment, policy_kwargs=policy, seed=request.seed, device="cpu", **keywords
        )
    except MemoryError as error:
        raise InputError(
            f"the learner does not fit into memory ({error}); lower buffer_size, n_steps, n_envs or the widths"
        ) from error
    except (AssertionError, TypeError, ValueError) as error:
        raise InputError(
            f"Stable-Baselines3 does not take the settings of the preset ({type(error).__name__}: {first_line(error)})"
        ) from error


def _maker(request: TrainingRequest) -> Callable[[], gym.Env[Any, Any]]:
    return lambda: Monitor(LearnerEnvironment(request.environment()))


_THRESHOLDS: dict[str, type[Sparsity] | type[Budget]] = {"sparsity": Sparsity, "budget": Budget}


def _plan_to_dict(plan: PruningPlan) -> dict[str, Any]:
    names = {name: getattr(plan, name) for name in plan.__dataclass_fields__}
    names["threshold"] = {type(plan.threshold).__name__.lower(): plan.threshold.goal}
    names["importance"] = getattr(plan.importance, "__name__", str(plan.importance))
    names["penalty"] = plan.penalty.name if isinstance(plan.penalty, Penalty) else str(plan.penalty)
    names["phases"] = asdict(plan.phases)
    if plan.max_divergence is None:  # so that a plan without it is what it was before there was one
        del names["max_divergence"]
    if plan.reconstruction == 0:
        del names["reconstruction"]
    return names


def _plan_from_dict(names: Mapping[str, Any]) -> PruningPlan:
    ((kind, goal),) = names["threshold"].items()
    found = {
        "threshold": _THRESHOLDS[kind](goal),
        "importance": IMPORTANCES[names["importance"]],
        "penalty": PENALTIES[names["penalty"]],
        "phases": Phases(**names["phases"]),
    }
    return PruningPlan(**{**names, **found})
