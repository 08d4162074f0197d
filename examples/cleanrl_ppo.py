"""A single-file PPO in the style of CleanRL: plain torch and Gymnasium, and two lines of prunekit.

    python examples/cleanrl_ppo.py

The two lines are marked. Training takes about ten seconds, and the small policy is written to ``cleanrl_policy.onnx``.
"""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributions.categorical import Categorical

import prunekit

ENV_ID, NUM_ENVS, NUM_STEPS, ITERATIONS = "CartPole-v1", 8, 128, 30
EPOCHS, MINIBATCHES, LEARNING_RATE = 6, 4, 2e-3
GAMMA, GAE_LAMBDA, CLIP, ENTROPY, VALUE, MAX_NORM = 0.98, 0.95, 0.2, 0.005, 0.5, 0.5


def layer(fan_in: int, fan_out: int, scale: float = 2.0**0.5) -> nn.Linear:
    linear = nn.Linear(fan_in, fan_out)
    nn.init.orthogonal_(linear.weight, scale)
    nn.init.zeros_(linear.bias)
    return linear


class Agent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.critic = nn.Sequential(layer(4, 64), nn.Tanh(), layer(64, 64), nn.Tanh(), layer(64, 1, 1.0))
        self.actor = nn.Sequential(layer(4, 64), nn.Tanh(), layer(64, 64), nn.Tanh(), layer(64, 2, 0.01))

    def act(self, obs: Tensor, action: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        policy = Categorical(logits=self.actor(obs))
        chosen = policy.sample() if action is None else action
        return chosen, policy.log_prob(chosen), policy.entropy(), self.critic(obs).flatten()


def advantages(rewards: Tensor, dones: Tensor, values: Tensor, last_value: Tensor) -> Tensor:
    result, running = torch.zeros_like(rewards), torch.zeros(NUM_ENVS)
    for t in reversed(range(NUM_STEPS)):
        following = last_value if t == NUM_STEPS - 1 else values[t + 1]
        delta = rewards[t] + GAMMA * following * (1.0 - dones[t]) - values[t]
        running = result[t] = delta + GAMMA * GAE_LAMBDA * (1.0 - dones[t]) * running
    return result


def train(seed: int) -> tuple[Agent, nn.Module, Tensor, prunekit.Pruner]:
    """Return the agent, its actor without the units that were removed, observations of the last rollout, the pruner."""
    torch.manual_seed(seed)
    # gymnasium's default, next-step autoreset, would put a step that is no transition after every episode
    envs = gym.vector.SyncVectorEnv(
        [lambda: gym.make(ENV_ID) for _ in range(NUM_ENVS)], autoreset_mode=gym.vector.AutoresetMode.SAME_STEP
    )
    agent = Agent()
    optimizer = torch.optim.Adam(agent.parameters(), lr=LEARNING_RATE, eps=1e-5)
    pruner = prunekit.Pruner(agent.actor, optimizer, total_steps=ITERATIONS * EPOCHS * MINIBATCHES)  # 1

    shape = (NUM_STEPS, NUM_ENVS)
    obs, actions, log_probs = torch.zeros(*shape, 4), torch.zeros(shape, dtype=torch.int64), torch.zeros(shape)
    rewards, dones, values = torch.zeros(shape), torch.zeros(shape), torch.zeros(shape)
    next_obs: NDArray[np.float32] = envs.reset(seed=seed)[0]
    for _ in range(ITERATIONS):
        for t in range(NUM_STEPS):
            obs[t] = torch.as_tensor(next_obs)
            with torch.no_grad():
                actions[t], log_probs[t], _, values[t] = agent.act(obs[t])
            next_obs, reward, terminated, truncated, _ = envs.step(actions[t].numpy())
            rewards[t], dones[t] = torch.as_tensor(reward), torch.as_tensor(terminated | truncated)
        with torch.no_grad():
            advantage = advantages(rewards, dones, values, agent.critic(torch.as_tensor(next_obs)).flatten())
        flat = [x.flatten(0, 1) for x in (obs, actions, log_probs, advantage, advantage + values)]
        for _ in range(EPOCHS):
            for rows in torch.randperm(NUM_STEPS * NUM_ENVS).split(NUM_STEPS * NUM_ENVS // MINIBATCHES):
                o, a, old_log_prob, adv, target = (x[rows] for x in flat)
                _, log_prob, entropy, value = agent.act(o, a)
                ratio, adv = (log_prob - old_log_prob).exp(), (adv - adv.mean()) / (adv.std() + 1e-8)
                policy_loss = -torch.min(ratio * adv, ratio.clamp(1.0 - CLIP, 1.0 + CLIP) * adv).mean()
                loss = policy_loss - ENTROPY * entropy.mean() + VALUE * (value - target).square().mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), MAX_NORM)
                optimizer.step()
    envs.close()

    small = prunekit.shrink(agent.actor, pruner.masks)  # 2
    return agent, small, obs.flatten(0, 1), pruner


def main() -> None:
    agent, small, _, _ = train(seed=4)
    policy = prunekit.Policy.from_network(small, actions=gym.spaces.Discrete(2))
    policy.export_onnx("cleanrl_policy.onnx")
    before = prunekit.Policy.from_network(agent.actor, actions=gym.spaces.Discrete(2)).sizes
    print(f"{before.parameters:,} parameters became {policy.sizes.parameters:,}: {policy}")


if __name__ == "__main__":
    main()
