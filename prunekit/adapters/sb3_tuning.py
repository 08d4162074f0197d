"""Fine-tuning of a working network by PPO: on rewards, with a new critic, in place."""

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
    """The settings of a tuner: PPO's own, under their names in PPO, and the number of environments, ``copies``.

    ``critic`` are the widths of the critic's hidden layers. ``log_deviation`` is the logarithm of the actions' standard
    deviation relative to half their range; it is small, because the policy already works. ``natural`` says how rollouts
    update the actor.
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
    """Return a vector environment of ``copies`` environments from ``make``, which step one after the other."""
    return DummyVecEnv([make] * copies)


@final
class Tuner:
    """Trains networks, one after the other, by PPO in ``environments``, which it closes when it is closed.

    A network maps observations [n, obs] to the parameters of an action distribution [n, k], which has the given
    ``curvature`` at the standard deviation in ``settings``. The critic is new at first, so only the critic learns for
    ``warmup`` environment steps. It is kept from one network to the next.
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
        """Begin with ``network`` and train it; it becomes the moving average of the networks during training."""
        self._model.take(network)

    def tune(self, steps: int, should_stop: Callable[[], bool]) -> int:
        """Train for ``steps`` environment steps, or until ``should_stop``; return the number of steps taken."""
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
        """Return the state on which the next ``tune`` depends, except the network, for ``resume``."""
        policy = self._model.policy
        critic = {name: value for name, value in policy.state_dict().items() if not name.startswith(_ACTOR)}
        optimizer, returns = policy.optimizer.state_dict(), self._environments.ret_rms
        return pickle.dumps((self._warmup, self._seed, critic, optimizer, returns, self._model.saved()))

    def resume(self, network: nn.Module | None, saved: bytes) -> None:
        """Restore what ``saved`` returned, possibly in another process; ``network`` is the one taken then, None if none
        was.

        The bytes come from this program, so they are unpickled.
        """
        self._warmup, self._seed, critic, optimizer, self._environments.ret_rms, actor = pickle.loads(saved)
        self._model.resume(network, actor)
        self._model.policy.load_state_dict(critic, strict=False)
        self._model.policy.optimizer.load_state_dict(optimizer)

    @property
    def latest(self) -> nn.Module:
        """The network after the latest rollout, without averaging."""
        return self._model.policy.action_net

    def close(self) -> None:
        """Close the environments."""
        self._environments.close()

    def _learn(self, steps: int, should_stop: Callable[[], bool]) -> int:
        before = self._model.num_timesteps
        self._model._last_obs = None  # episodes restart, so nothing depends on earlier ones
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
