"""A callback that makes PPO of Stable-Baselines3 prune its own policy while it trains.

    python examples/sb3_callback.py

``prunekit train`` does this and more (normalizers, live shrinking, checkpoints); the callback is for programs that call
Stable-Baselines3 themselves.
"""

from __future__ import annotations

from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from torch import nn

import prunekit


class PruningCallback(BaseCallback):
    """Removes the share ``sparsity`` of the hidden units of PPO's policy network in ``timesteps`` of training."""

    def __init__(self, timesteps: int, sparsity: float = 0.8) -> None:
        super().__init__()
        self.timesteps = timesteps
        self.plan = prunekit.PruningPlan(threshold=prunekit.Sparsity(sparsity))

    def _on_training_start(self) -> None:
        model = self.model
        assert isinstance(model, PPO)
        rollout = model.n_steps * model.n_envs
        updates = -(-self.timesteps // rollout) * model.n_epochs * -(-rollout // model.batch_size)
        trunk = model.policy.mlp_extractor.policy_net
        self.network = nn.Sequential(*trunk, model.policy.action_net)
        self.pruner = prunekit.Pruner(
            self.network, model.policy.optimizer, total_steps=updates, plan=self.plan, observe=trunk
        )

    def _on_step(self) -> bool:
        return True

    def small(self) -> prunekit.Policy:
        """Return the policy without the units that were removed."""
        network = prunekit.shrink(self.network, self.pruner.masks)
        return prunekit.Policy.from_network(network, actions=self.model.action_space)


def main(timesteps: int = 10_000) -> None:
    model = PPO("MlpPolicy", "CartPole-v1", n_steps=512, seed=0)
    callback = PruningCallback(timesteps)
    model.learn(timesteps, callback=callback)
    policy = callback.small()
    policy.save("sb3_policy.pt")
    print(f"{policy}, {policy.sizes.parameters:,} parameters")


if __name__ == "__main__":
    main()
