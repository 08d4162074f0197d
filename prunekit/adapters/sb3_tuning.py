"""A network that works already, trained on by PPO: on rewards, with a new critic, in place."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, final

import gymnasium as gym
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize
from torch import nn

from prunekit.adapters.sb3_natural import NaturalPPO, NaturalSettings
from prunekit.generators import isolated
from prunekit.spaces.curvature import Curvature


@final
@dataclass(frozen=True, kw_only=True)
class TunerSettings:
    """How a tuner trains: PPO's own settings by their names there, in so many ``copies`` of the environment.

    ``critic`` are the widths of its hidden layers. ``log_deviation`` is that of half an action's range: around a policy
    that works already, a narrow search. ``natural`` says how rollouts move the actor.
    """

    copies: int = 16
    n_steps: int = 128
    batch_size: int = 256
    learning_rate: float = 1e-3
    gamma: float = 0.995
    gae_lambda: float = 0.9
    log_deviation: float = -2.0
    critic: tuple[int, ...] = (128, 128)
    natural: NaturalSettings = field(default_factory=NaturalSettings)


TUNING = TunerSettings()
_ACTOR = "action_net."


def in_turn(make: Callable[[], gym.Env[Any, Any]], copies: int) -> VecEnv:
    """Return so many environments that ``make`` makes, which step one after the other."""
    return DummyVecEnv([make] * copies)


@final
class Tuner:
    """Trains networks, one after the other, by PPO in ``environments``, which it closes with itself.

    A network maps observations [n, obs] to what a distribution of actions is made of, [n, k], whose ``curvature`` is
    that for the deviation of the ``settings``. The critic is new at first, so that it learns alone for ``warmup``
    environment steps, and goes on from one network to the next.
    """

    def __init__(
        self,
        environments: VecEnv,
        curvature: Callable[[float], Curvature],
        seed: int,
        warmup: int,
        settings: TunerSettings = TUNING,
    ) -> None:
        self._warmup, self._seed = warmup, seed
        self.steps = 0
        self._environments = VecNormalize(environments, norm_obs=False, gamma=settings.gamma)
        with isolated(seed):
            self._model = NaturalPPO(
                "MlpPolicy",
                self._environments,
                n_steps=settings.n_steps,
                learning_rate=settings.learning_rate,
                batch_size=settings.batch_size,
                gamma=settings.gamma,
                gae_lambda=settings.gae_lambda,
                device="cpu",
                policy_kwargs={
                    "net_arch": {"pi": [], "vf": list(settings.critic)},
                    "log_std_init": settings.log_deviation,
                },
            )
            self._model.settings = settings.natural
            self._model.curvature = curvature(math.exp(settings.log_deviation))
            self._environments.seed(seed)
            self._model.set_logger(Logger(folder=None, output_formats=[]))
        self.initial = self.saved()

    def take(self, network: nn.Module) -> None:
        """Begin with ``network`` and go on from there: it becomes the average of what training went through lately."""
        self._model.take(network)

    def tune(self, steps: int, should_stop: Callable[[], bool]) -> int:
        """Train for ``steps`` environment steps, or until ``should_stop``; return how many were taken."""
        self._seed += 1
        with isolated(self._seed):
            taken = 0
            if self._warmup:
                self._model.policy.action_net.requires_grad_(False)
                taken = self._learn(self._warmup, should_stop)
                self._model.policy.action_net.requires_grad_(True)
                self._warmup = 0
            return taken + self._learn(steps, should_stop)

    def saved(self) -> bytes:
        """Return what the next ``tune`` depends on, besides the network that was taken: for ``resume``."""
        policy = self._model.policy
        critic = {name: value for name, value in policy.state_dict().items() if not name.startswith(_ACTOR)}
        optimizer, returns = policy.optimizer.state_dict(), self._environments.ret_rms
        return pickle.dumps((self._warmup, self._seed, critic, optimizer, returns, self._model.saved()))

    def resume(self, network: nn.Module | None, saved: bytes) -> None:
        """Go on from what ``saved`` returned, here or elsewhere; ``network`` is what was taken then, None if none was.

        What it holds is this program's own: it is unpickled.
        """
        self._warmup, self._seed, critic, optimizer, self._environments.ret_rms, actor = pickle.loads(saved)
        self._model.resume(network, actor)
        self._model.policy.load_state_dict(critic, strict=False)
        self._model.policy.optimizer.load_state_dict(optimizer)

    @property
    def latest(self) -> nn.Module:
        """What the network is after the latest rollout, which the average follows."""
        return self._model.policy.action_net

    def close(self) -> None:
        """Close the environments."""
        self._environments.close()

    def _learn(self, steps: int, should_stop: Callable[[], bool]) -> int:
        before = self._model.num_timesteps
        self._model._last_obs = None  # episodes begin anew, so that nothing depends on what was played before
        self._environments.seed(self._seed)
        self._model.learn(steps, callback=_Until(should_stop), reset_num_timesteps=False)
        self.steps = int(self._model.num_timesteps)
        return self.steps - before


@final
class _Until(BaseCallback):
    def __init__(self, should_stop: Callable[[], bool]) -> None:
        super().__init__()
        self._should_stop = should_stop

    def _on_step(self) -> bool:
        return not self._should_stop()
