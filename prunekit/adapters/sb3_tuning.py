"""A network that works already, trained on by PPO: on rewards, with a new critic, in place."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any, final

import gymnasium as gym
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

from prunekit.adapters.sb3_natural import NaturalPPO
from prunekit.generators import isolated
from prunekit.spaces.curvature import Curvature

_COPIES = 16
_ROLLOUT = 128
_BATCH = 256
_CRITIC_RATE = 1e-3
_DISCOUNT, _LAMBDA = 0.995, 0.9
# exp(-2) of half an action's range: around a policy that works already, a narrow search.
_LOG_DEVIATION = -2.0
_CRITIC = (128, 128)
_ACTOR = "action_net."


@final
class Tuner:
    """Trains networks, one after the other, by PPO in environments that ``make`` makes; ``close`` it in the end.

    A network maps observations [n, obs] to what a distribution of actions is made of, [n, k], whose ``curvature`` is
    that for a deviation, exp(-2) of continuous ones. The critic is new at first, so that it learns alone for ``warmup``
    environment steps, and goes on from one network to the next.
    """

    def __init__(
        self,
        make: Callable[[], gym.Env[Any, Any]],
        curvature: Callable[[float], Curvature],
        seed: int,
        warmup: int,
    ) -> None:
        self._warmup, self._seed = warmup, seed
        self.steps = 0
        self._environments = VecNormalize(DummyVecEnv([make] * _COPIES), norm_obs=False, gamma=_DISCOUNT)
        with isolated(seed):
            self._model = NaturalPPO(
                "MlpPolicy",
                self._environments,
                n_steps=_ROLLOUT,
                learning_rate=_CRITIC_RATE,
                batch_size=_BATCH,
                gamma=_DISCOUNT,
                gae_lambda=_LAMBDA,
                device="cpu",
                policy_kwargs={"net_arch": {"pi": [], "vf": list(_CRITIC)}, "log_std_init": _LOG_DEVIATION},
            )
            self._model.curvature = curvature(math.exp(_LOG_DEVIATION))
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
