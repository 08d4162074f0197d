"""Load an agent with stock Stable-Baselines3, where prunekit cannot be imported, and use it as its users do.

    python stock_sb3.py

Reads the path of a task a line, and does each in a process of its own that it forks, as imports take longer than a
task. A task names the algorithm, the environment, the files, the widths to find and, in a ``.npz``, observations with
the actions to choose. What the process says goes beside it, into ``said.txt``; the answer is a line with its exit
code, 0 where all of it holds.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import traceback
import warnings
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any


class NoPrunekit(MetaPathFinder):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] == "prunekit":
            raise ModuleNotFoundError("prunekit is not installed here", name=name)


sys.meta_path.insert(0, NoPrunekit())

import gymnasium as gym  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from stable_baselines3 import DQN, PPO, SAC, TD3  # noqa: E402
from stable_baselines3.common.save_util import recursive_getattr  # noqa: E402
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize  # noqa: E402

ALGORITHMS = {"ppo": PPO, "dqn": DQN, "sac": SAC, "td3": TD3}


def widths_of(network: torch.nn.Sequential) -> list[int]:
    """Return the widths of the layers of ``network``, after a look at whether weights and biases have them."""
    layers = [module for module in network if isinstance(module, torch.nn.Linear)]
    for layer, following in itertools.pairwise(layers):
        assert layer.out_features == following.in_features
    for layer in layers:
        assert layer.weight.shape == (layer.out_features, layer.in_features)
        assert layer.bias.shape == (layer.out_features,)
    return [layer.out_features for layer in layers]


def found_widths(name: str, model: Any) -> list[Any]:
    """Return the hidden widths of ``model`` in the form of ``net_arch``, once for online and target networks each."""
    if name == "ppo":
        extractor = model.policy.mlp_extractor
        return [{"pi": widths_of(extractor.policy_net), "vf": widths_of(extractor.value_net)}]
    if name == "dqn":
        return [widths_of(network.q_net)[:-1] for network in (model.q_net, model.q_net_target)]
    actor = widths_of(model.actor.latent_pi) if name == "sac" else widths_of(model.actor.mu)[:-1]
    if name == "td3":
        assert widths_of(model.actor_target.mu)[:-1] == actor
    critics = [*model.critic.q_networks, *model.critic_target.q_networks]
    assert len(critics) == 4
    return [{"pi": actor, "qf": widths_of(critic)[:-1]} for critic in critics]


def optimizers_of(model: Any) -> dict[str, torch.optim.Optimizer]:
    names = [name for name in model._get_torch_save_params()[0] if name.endswith("optimizer")]
    return {name: recursive_getattr(model, name) for name in names}


def check_optimizers(model: Any, expected: dict[str, Any]) -> None:
    """Every parameter that an optimizer steps is one of the policy, has moments of its shape, and those expected."""
    names = {parameter: name for name, parameter in model.policy.named_parameters()}
    seen = 0
    for title, optimizer in optimizers_of(model).items():
        for parameter in (parameter for group in optimizer.param_groups for parameter in group["params"]):
            if title == "ent_coef_optimizer":
                continue
            state, name = optimizer.state[parameter], names[parameter]
            assert state["exp_avg"].shape == state["exp_avg_sq"].shape == parameter.shape, name
            assert state["step"] > 0, name
            if expected:
                for moment in ("exp_avg", "exp_avg_sq"):
                    np.testing.assert_array_equal(state[moment].numpy(), expected[f"{title} {name} {moment}"])
                    seen += 1
    assert seen == len(expected)


def predicted(model: Any, environment: VecEnv, observations: Any) -> Any:
    if isinstance(environment, VecNormalize):
        observations = environment.normalize_obs(observations)
    return model.predict(observations, deterministic=True)[0]


def check_scores(name: str, model: Any, environment: VecEnv, observations: Any, expected: Any) -> None:
    """What the policy says before it decides is ``expected``, for PPO with discrete actions as log probabilities."""
    if isinstance(environment, VecNormalize):
        observations = environment.normalize_obs(observations)
    inputs, scores = torch.from_numpy(observations), torch.from_numpy(expected)
    with torch.no_grad():
        if name == "dqn":
            found = model.q_net(inputs)
        elif name == "ppo" and isinstance(model.action_space, gym.spaces.Discrete):
            found, scores = model.policy.get_distribution(inputs).distribution.logits, scores.log_softmax(dim=1)
        elif name == "ppo":
            found = model.policy.get_distribution(inputs).distribution.mean
        else:
            found = model.actor.get_action_dist_params(inputs)[0] if name == "sac" else model.actor(inputs).atanh()
    near = scores.abs() < (3.0 if name == "td3" else torch.inf)  # beyond, tanh has too few digits left to undo it
    assert bool(near.any())
    torch.testing.assert_close(found[near], scores[near], rtol=1e-4, atol=1e-4)


def do(path: Path) -> None:
    """Do a task."""
    warnings.filterwarnings("error", message="Could not deserialize")
    torch.set_num_threads(1)
    task, folder = json.loads(path.read_text()), path.parent
    with np.load(task["arrays"]) as content:
        arrays = dict(content)
    observations, actions = arrays.pop("observations"), arrays.pop("actions")
    scores = arrays.pop("scores", None)
    environment: VecEnv = DummyVecEnv([lambda: gym.make(task["env_id"])])
    if task["vec_normalize"]:
        environment = VecNormalize.load(task["vec_normalize"], environment)
    kind = ALGORITHMS[task["algorithm"]]
    model: Any = kind.load(task["agent"], env=environment, device="cpu")

    assert model.policy_kwargs["net_arch"] == task["net_arch"]
    assert model.policy.net_arch == task["net_arch"]
    for found in found_widths(task["algorithm"], model):
        assert found == task["net_arch"]
    np.testing.assert_allclose(predicted(model, environment, observations), actions, rtol=0, atol=1e-5)
    if scores is not None:
        check_scores(task["algorithm"], model, environment, observations, scores)
    check_optimizers(model, arrays)
    if task["policy"]:
        policy = type(model.policy).load(task["policy"])
        np.testing.assert_array_equal(
            predicted(policy, environment, observations), predicted(model, environment, observations)
        )

    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(task["steps"])
    assert model.num_timesteps >= task["steps"]
    for name, optimizer in optimizers_of(model).items():
        assert all(group["lr"] > 0.0 for group in optimizer.param_groups), name
    after = model.policy.state_dict()
    assert [name for name, value in before.items() if torch.equal(value, after[name])] == []
    assert all(bool(value.isfinite().all()) for value in after.values())
    check_optimizers(model, {})

    model.save(folder / "again.zip")
    again = kind.load(folder / "again.zip", env=environment, device="cpu")
    np.testing.assert_array_equal(
        predicted(again, environment, observations), predicted(model, environment, observations)
    )
    assert again.policy_kwargs["net_arch"] == task["net_arch"]
    assert not any(name.partition(".")[0] == "prunekit" for name in sys.modules)


def done_apart(path: Path) -> int:
    """Do a task in a process of its own, and return its exit code."""
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    code = 1
    try:
        said = os.open(path.with_name("said.txt"), os.O_WRONLY | os.O_CREAT)
        os.dup2(said, 1)
        os.dup2(said, 2)
        do(path)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


if __name__ == "__main__":
    for line in sys.stdin:
        code = done_apart(Path(line.rstrip("\n")))
        sys.stdout.write(f"{code}\n")
        sys.stdout.flush()
