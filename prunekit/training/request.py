"""What a training run is asked to do, and the learner built from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
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
from prunekit.environments import Spaces, make_environment
from prunekit.errors import ArtifactError, InputError
from prunekit.pruning.importance import IMPORTANCES
from prunekit.pruning.penalties import PENALTIES, Penalty
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.schedules import Budget, Phases, Sparsity
from prunekit.training.presets import Preset, check_schedule, rate_schedule

_REMEDY = "restore it, or remove the run's folder to begin anew"


@final
@dataclass(frozen=True)
class TrainingRequest:
    """One run. ``plan`` None trains the dense control; ``hidden`` overrides the actor's widths, not the critic's.

    ``guard_share`` is the return guard's share, None for no guard. ``live_shrink`` removes dead units physically while
    training; ``prune_critics`` prunes the critic by the same plan. A checkpoint is written every ``checkpoint_steps``
    environment steps, by default twenty times in a run; environments are reset there, which makes it part of the run.
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

    def __post_init__(self) -> None:
        if self.total_steps < 1:
            raise InputError(f"steps must be at least 1, got {self.total_steps}")
        if self.hidden is not None and (not self.hidden or min(self.hidden) < 1):
            raise InputError(f"hidden widths must be positive, got {list(self.hidden)}")
        if self.checkpoint_steps is not None and self.checkpoint_steps < 1:
            raise InputError(f"checkpoints must be at least 1 step apart, got {self.checkpoint_steps}")
        if self.prune_critics and self.plan is None:
            raise InputError("a dense run prunes no critics; ask for one or the other")

    @property
    def total_steps(self) -> int:
        """Environment steps of the whole run."""
        return self.preset.steps if self.steps is None else self.steps

    @property
    def checkpoint_every(self) -> int:
        """Environment steps from one checkpoint to the next."""
        return max(1, self.total_steps // 20) if self.checkpoint_steps is None else self.checkpoint_steps

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
            "live_shrink": self.live_shrink,
            "prune_critics": self.prune_critics,
            "checkpoint_every": self.checkpoint_every,
            "plan": None if self.plan is None else _plan_to_dict(self.plan),
        }


def read_config(folder: Path) -> dict[str, Any]:
    """Return ``config.json`` of the run in ``folder``; ArtifactError where it is no JSON object."""
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"{folder}: holds no run to resume (no config.json); name an interrupted one with --out")
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error}); {_REMEDY}") from error
    if not isinstance(content, dict):
        raise ArtifactError(f"{path}: is no run's config; {_REMEDY}")
    return content


def request_of(folder: Path) -> TrainingRequest:
    """Return the request that the run in ``folder`` was begun with; ArtifactError where its config is damaged."""
    config = read_config(folder)
    path = folder / "config.json"
    try:
        preset = Preset(**{**config["preset"], "hidden": tuple(config["preset"]["hidden"])})
        check_schedule(preset.learning_rate_schedule)
        return TrainingRequest(
            config["env"]["id"],
            config["algorithm"],
            preset,
            config["seed"],
            config["steps"],
            None if config["plan"] is None else _plan_from_dict(config["plan"]),
            None if config["hidden"] == list(preset.hidden) else tuple(config["hidden"]),
            config["env"]["kwargs"],
            config["guard_share"],
            config["live_shrink"],
            config["prune_critics"],
            config["checkpoint_every"],
        )
    except Exception as error:  # a file edited by hand can be wrong in any way
        raise ArtifactError(f"{path}: describes no run ({type(error).__name__}: {error}); {_REMEDY}") from error


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
    deviation = keywords.pop("action_noise_std", None)
    if deviation is not None:
        keywords["action_noise"] = NormalActionNoise(
            np.zeros(spaces.outputs), np.full(spaces.outputs, float(deviation))
        )
    policy = {
        "net_arch": algorithm.net_arch(list(request.hidden or preset.hidden), critic),
        "activation_fn": type(Activation(preset.activation).to_module()),
        **preset.policy,
    }
    return algorithm.model("MlpPolicy", environment, policy_kwargs=policy, seed=request.seed, device="cpu", **keywords)


def _maker(request: TrainingRequest) -> Callable[[], gym.Env[Any, Any]]:
    return lambda: Monitor(LearnerEnvironment(make_environment(request.env_id, request.env_kwargs)))


_THRESHOLDS: dict[str, type[Sparsity] | type[Budget]] = {"sparsity": Sparsity, "budget": Budget}


def _plan_to_dict(plan: PruningPlan) -> dict[str, Any]:
    names = {name: getattr(plan, name) for name in plan.__dataclass_fields__}
    names["threshold"] = {type(plan.threshold).__name__.lower(): plan.threshold.target}
    names["importance"] = getattr(plan.importance, "__name__", str(plan.importance))
    names["penalty"] = plan.penalty.name if isinstance(plan.penalty, Penalty) else str(plan.penalty)
    names["phases"] = asdict(plan.phases)
    return names


def _plan_from_dict(names: Mapping[str, Any]) -> PruningPlan:
    ((kind, target),) = names["threshold"].items()
    found = {
        "threshold": _THRESHOLDS[kind](target),
        "importance": IMPORTANCES[names["importance"]],
        "penalty": PENALTIES[names["penalty"]],
        "phases": Phases(**names["phases"]),
    }
    return PruningPlan(**{**names, **found})
