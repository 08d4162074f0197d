"""Checkpoints that their own libraries write, read by prunekit: are its actions those of the library?

    python benchmarks/library_checkpoints.py      # benchmarks/results/library_checkpoints.json

Each library builds (and where that is quick trains) a policy, saves it by its own code, and answers 1,000 observations.
Those that are not installed are left out, and named; with all of them the result file is written.
`pip install rsl-rl-lib skrl safetensors brax "ray[rllib]" sbx-rl h5py` has all.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import write_result
from torch import nn

from prunekit.graph.reference import run_step
from prunekit.readers.policy_file import PolicyOptions
from prunekit.readers.read import read_policy

ROWS = 1_000
Observations = np.ndarray[tuple[int, int], np.dtype[np.float32]]


@dataclass(frozen=True, kw_only=True)
class Made:
    """A file, what its user has to say of it, and the library's own actions for observations."""

    path: Path
    options: PolicyOptions
    inputs: int
    actions: Callable[[Observations], Any]


def observations(width: int) -> Observations:
    """Return as many as are compared, the same every time."""
    return np.random.default_rng(0).normal(0.3, 1.5, (ROWS, width)).astype(np.float32)


def difference(made: Made) -> tuple[str, float]:
    """Return what was recognised, and the largest difference of actions, relative to the largest action."""
    policy = read_policy(made.path, made.options)
    seen = observations(made.inputs)
    found = np.asarray(run_step(policy.graph, {"obs": seen}, {})[0]["action"], np.float64)
    wanted = np.asarray(made.actions(seen), np.float64)
    assert found.shape == wanted.shape, (found.shape, wanted.shape)
    return policy.recognised, float(np.abs(found - wanted).max() / max(1.0, np.abs(wanted).max()))


def _rsl_rl(folder: Path, *, recurrent: bool = False) -> Made:
    """A run of two iterations of PPO, with observations that are normalized."""
    from rsl_rl.env import VecEnv
    from rsl_rl.runners import OnPolicyRunner
    from tensordict import TensorDict

    class Noise(VecEnv):  # type: ignore[misc]
        num_envs, num_actions, max_episode_length, device = 8, 3, 20, "cpu"

        def __init__(self) -> None:
            self.episode_length_buf = torch.zeros(8, dtype=torch.long)
            self.cfg: dict[str, Any] = {}

        def get_observations(self) -> Any:
            return TensorDict({"policy": 2.0 * torch.randn(8, 7) + 1.0}, batch_size=8)

        def step(self, actions: Any) -> Any:
            done = torch.rand(8) < 0.1
            return self.get_observations(), -actions.square().sum(-1), done, {"time_outs": done}

    model = {"hidden_dims": [32, 16], "activation": "elu", "obs_normalization": True}
    rnn = {"rnn_type": "lstm", "rnn_hidden_dim": 8, "rnn_num_layers": 1}
    kind = {"class_name": "RNNModel", **rnn} if recurrent else {"class_name": "MLPModel"}
    config = {
        "num_steps_per_env": 8,
        "save_interval": 100,
        "logger": "tensorboard",
        "obs_groups": {"actor": ["policy"], "critic": ["policy"]},
        "actor": {**model, **kind, "distribution_cfg": {"class_name": "GaussianDistribution", "init_std": 1.0}},
        "critic": {**model, **kind},
        "algorithm": {
            "class_name": "PPO", "num_learning_epochs": 1, "num_mini_batches": 2, "learning_rate": 1e-3,
            "schedule": "fixed", "gamma": 0.99, "lam": 0.95, "desired_kl": 0.01, "value_loss_coef": 1.0,
            "use_clipped_value_loss": True, "clip_param": 0.2, "entropy_coef": 0.0, "max_grad_norm": 1.0,
        },
    }  # fmt: skip
    runner = OnPolicyRunner(Noise(), config, log_dir=None, device="cpu")
    if not recurrent:
        runner.learn(2)
    runner.save(str(folder / "model_2.pt"))
    act = runner.get_inference_policy("cpu")

    def actions(seen: Observations) -> Any:
        with torch.no_grad():
            return act(TensorDict({"policy": torch.from_numpy(seen)}, batch_size=len(seen))).numpy()

    return Made(path=folder / "model_2.pt", options=PolicyOptions(activation="elu"), inputs=7, actions=actions)


def _skrl(folder: Path) -> Made:
    """An agent of PPO with a running standard scaler, its model by skrl's own instantiator."""
    import gymnasium as gym
    from skrl.agents.torch.ppo import PPO, PPO_CFG
    from skrl.memories.torch import RandomMemory
    from skrl.resources.preprocessors.torch import RunningStandardScaler
    from skrl.utils.model_instantiators.torch import deterministic_model, gaussian_model

    seen_space, action_space = gym.spaces.Box(-9, 9, (6,)), gym.spaces.Box(-1, 1, (2,))
    network = [{"name": "net", "input": "OBSERVATIONS", "layers": [24, 12], "activations": "elu"}]
    common: dict[str, Any] = {"observation_space": seen_space, "action_space": action_space, "device": "cpu"}
    models = {
        "policy": gaussian_model(**common, network=network, output="ACTIONS"),
        "value": deterministic_model(**common, network=network, output="ONE"),
    }
    for model in models.values():
        model.init_state_dict()
    config = PPO_CFG()
    config.observation_preprocessor = RunningStandardScaler
    config.observation_preprocessor_kwargs = {"size": seen_space, "device": "cpu"}
    config.experiment.directory = str(folder)
    config.experiment.write_interval = 0
    config.experiment.checkpoint_interval = 1
    agent = PPO(models=models, memory=RandomMemory(memory_size=8), cfg=config, **common)
    agent.init()
    scaler = agent._observation_preprocessor
    scaler(torch.randn(500, 6) * 2.0 + 1.0, train=True)
    agent.write_checkpoint(timestep=1, timesteps=1)
    path = next(folder.rglob("agent_1.pt"))

    def actions(seen: Observations) -> Any:
        with torch.no_grad():
            models["policy"].eval()
            found = models["policy"].compute({"observations": scaler(torch.from_numpy(seen))}, role="policy")
        return found[0].numpy()

    return Made(path=path, options=PolicyOptions(activation="elu"), inputs=6, actions=actions)


def _safetensors(folder: Path) -> Made:
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 3))
    save_file({f"model.{name}": value for name, value in network.state_dict().items()}, folder / "model.safetensors")
    options = PolicyOptions(layers=("0", "2"), activation="relu", nesting="model")
    return Made(
        path=folder / "model.safetensors",
        options=options,
        inputs=5,
        actions=lambda seen: network(torch.from_numpy(seen)).detach().numpy(),
    )


def _brax(folder: Path, *, ppo: bool = True) -> Made:
    """Parameters as ``brax.io.model`` writes them, of the networks of PPO or SAC."""
    import jax
    from brax.io import model
    from brax.training.acme import running_statistics, specs
    from brax.training.agents.ppo import networks as ppo_networks
    from brax.training.agents.sac import networks as sac_networks

    makers = ppo_networks if ppo else sac_networks
    make = makers.make_ppo_networks if ppo else makers.make_sac_networks
    networks = make(9, 4, preprocess_observations_fn=running_statistics.normalize)
    keys = jax.random.split(jax.random.PRNGKey(0), 3)
    state = running_statistics.init_state(specs.Array((9,), jax.numpy.dtype("float32")))
    state = running_statistics.update(state, 2.0 * jax.random.normal(keys[0], (256, 9)) + 0.5)
    params = [state, networks.policy_network.init(keys[1])]
    if ppo:
        params.append(networks.value_network.init(keys[2]))
    model.save_params(str(folder / "params"), tuple(params))
    act = makers.make_inference_fn(networks)(tuple(params), deterministic=True)
    options = PolicyOptions() if ppo else PolicyOptions(activation="relu")
    return Made(
        path=folder / "params", options=options, inputs=9, actions=lambda seen: np.asarray(act(seen, keys[0])[0])
    )


def _sac(folder: Path) -> Made:
    return _brax(folder, ppo=False)


def _rllib(folder: Path) -> Made:
    """The state of a module of PPO with floats as actions."""
    import gymnasium as gym
    from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

    module = DefaultPPOTorchRLModule(
        observation_space=gym.spaces.Box(-9, 9, (4,)),
        action_space=gym.spaces.Box(-1, 1, (2,)),
        model_config=DefaultModelConfig(fcnet_hiddens=[16, 8], fcnet_activation="tanh"),
    )
    module.save_to_path(folder / "module")

    def actions(seen: Observations) -> Any:
        with torch.no_grad():
            found = module.forward_inference({"obs": torch.from_numpy(seen)})
        return found["action_dist_inputs"][:, :2].numpy()

    options = PolicyOptions(activation="tanh", head="mean")
    return Made(path=folder / "module" / "module_state.pkl", options=options, inputs=4, actions=actions)


def _sbx(folder: Path, *, name: str, simba: bool = False) -> Made:
    """A zip of SBX, trained for some steps, so that norms have statistics."""
    import sbx

    env = "CartPole-v1" if name == "DQN" else "Pendulum-v1"
    options: dict[str, Any] = {"n_steps": 64, "batch_size": 32} if name == "PPO" else {"learning_starts": 20}
    policy_kwargs = {"net_arch": {"pi": [32, 32], "qf": [32, 32], "vf": [32]}} if name != "DQN" else {"net_arch": [32]}
    policy = "SimbaPolicy" if simba else "MlpPolicy"
    model = getattr(sbx, name)(policy, env, policy_kwargs=policy_kwargs, seed=1, **options)
    model.learn(128)
    model.save(folder / "agent.zip")
    inputs = model.observation_space.shape[0]
    return Made(
        path=folder / "agent.zip",
        options=PolicyOptions(without_normalizer=True),
        inputs=inputs,
        actions=lambda seen: model.predict(seen, deterministic=True)[0],
    )


_SBX = ("PPO", "SAC", "TQC", "CrossQ", "TD3", "DDPG", "DQN")
MAKERS: dict[str, tuple[tuple[str, ...], str, Callable[[Path], Made]]] = {
    "rsl_rl": (("rsl_rl",), "rsl-rl-lib", _rsl_rl),
    "skrl": (("skrl",), "skrl", _skrl),
    "safetensors": (("safetensors",), "safetensors", _safetensors),
    "brax_ppo": (("brax",), "brax", _brax),
    "brax_sac": (("brax",), "brax", _sac),
    **{f"sbx_{name.lower()}": (("sbx",), "sbx-rl", partial(_sbx, name=name)) for name in _SBX},
    **{
        f"sbx_{name.lower()}_simba": (("sbx",), "sbx-rl", partial(_sbx, name=name, simba=True))
        for name in ("SAC", "CrossQ")
    },
    "rllib": (("ray.rllib", "tree", "pandas", "pyarrow"), "ray", _rllib),
}
"""By name: the modules that have to be there, the package, and who writes the file."""


def installed(name: str) -> bool:
    """Return whether the library is there, with what it needs for this."""
    try:
        return all(find_spec(module) is not None for module in MAKERS[name][0])
    except ModuleNotFoundError:
        return False


def main() -> None:
    """Make, read, compare."""
    rows: dict[str, Any] = {}
    warnings.simplefilter("ignore")
    for name, (_, package, make) in MAKERS.items():
        if not installed(name):
            print(f"{name:12} not installed")
            continue
        with tempfile.TemporaryDirectory() as folder:
            recognised, far = difference(make(Path(folder)))
        written_by = f"{package} {version(package)}"
        rows[name] = {"written_by": written_by, "recognised": recognised, "largest_difference": far}
        print(f"{name:12} {far:.2e}  {recognised}  ({written_by})")
    if len(rows) == len(MAKERS):
        command = "python benchmarks/library_checkpoints.py"
        print(write_result("library_checkpoints", command, {"observations": ROWS, "checkpoints": rows}))


if __name__ == "__main__":
    main()
