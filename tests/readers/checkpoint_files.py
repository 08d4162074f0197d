"""Small checkpoints in the layouts of the libraries that write them, with what the library itself would answer."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Answer = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What is saved, what its user says, and the action for float64 observations [n, inputs]."""

    content: Any
    said: Mapping[str, Any]
    inputs: int
    answer: Answer
    recognised: str
    notes: tuple[str, ...] = field(default=())


class Opaque:
    """An object of a class that no reader knows; unpickled, it would stop."""

    def __init__(self) -> None:
        self.kept = {("a", 1): {1.5}}

    def __setstate__(self, state: object) -> None:
        raise AssertionError("it was unpickled")


def mlp(*widths: int, activation: type[nn.Module] = nn.ELU) -> nn.Sequential:
    parts: list[nn.Module] = []
    for read, made in pairwise(widths):
        parts += [nn.Linear(read, made), activation()]
    return nn.Sequential(*parts[:-1]).double()


def named(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": value for name, value in module.state_dict().items()}


def statistics(width: int) -> tuple[Tensor, Tensor]:
    return torch.randn(width, dtype=torch.float64), torch.rand(width, dtype=torch.float64) + 0.2


def _optimizer(network: nn.Module) -> dict[str, Any]:
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(1, next(network.parameters()).shape[1], dtype=torch.float64)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


def _runner(model: Mapping[str, Any], network: nn.Module, **more: Any) -> dict[str, Any]:
    """What every runner of rsl_rl saves besides, and what people add."""
    return {
        "model_state_dict": dict(model),
        "optimizer_state_dict": _optimizer(network),
        "iter": 7,
        "infos": {"config": argparse.Namespace(lr=1e-3), "reward": np.float32(3.0), "own": Opaque()},
        **more,
    }


def rsl_rl_first() -> Checkpoint:
    actor, critic = mlp(5, 8, 6, 2), mlp(5, 8, 1)
    model = {"std": torch.ones(2), **named("actor", actor), **named("critic", critic)}
    return Checkpoint(
        content=_runner(model, actor),
        said={"activation": "elu"},
        inputs=5,
        answer=actor,
        recognised="rsl_rl checkpoint, 5-8-6-2, elu",
    )


def rsl_rl_second() -> Checkpoint:
    """Of 2.x, with an empirical normalizer beside the model."""
    actor, (mean, deviation) = mlp(5, 8, 2), statistics(5)
    model = {"log_std": torch.ones(2), **named("actor", actor), **named("critic", mlp(5, 1))}
    norm = {"_mean": mean[None], "_var": deviation[None] ** 2, "_std": deviation[None], "count": torch.tensor(9)}
    content = _runner(model, actor, obs_norm_state_dict=norm)
    return Checkpoint(
        content=content, said={"activation": "elu"}, inputs=5, answer=lambda x: actor((x - mean) / (deviation + 0.01)),
        recognised="rsl_rl checkpoint, 5-8-2, elu, normalizer inside",
    )  # fmt: skip


def rsl_rl_third() -> Checkpoint:
    """Of 3.x, with the normalizer in the model."""
    actor, (mean, deviation) = mlp(5, 8, 2), statistics(5)
    norm = {"actor_obs_normalizer._mean": mean[None], "actor_obs_normalizer._std": deviation[None]}
    model = {"std": torch.ones(2), **named("actor", actor), **norm, **named("critic", mlp(5, 1))}
    return Checkpoint(
        content=_runner(model, actor),
        said={"activation": "elu"},
        inputs=5,
        answer=lambda x: actor((x - mean) / (deviation + 0.01)),
        recognised="rsl_rl checkpoint, 5-8-2, elu, normalizer inside",
    )


def rsl_rl_fifth() -> Checkpoint:
    """Of 4.x and 5.x, a dictionary per model."""
    actor, (mean, deviation) = mlp(5, 8, 2, activation=nn.ReLU), statistics(5)
    norm = {"obs_normalizer._mean": mean[None], "obs_normalizer._std": deviation[None]}
    content = {
        "actor_state_dict": {"distribution.std_param": torch.ones(2), **norm, **named("mlp", actor)},
        "critic_state_dict": named("mlp", mlp(5, 1)),
        "iter": 3,
        "infos": None,
    }
    return Checkpoint(
        content=content, said={"activation": "relu"}, inputs=5, answer=lambda x: actor((x - mean) / (deviation + 0.01)),
        recognised="rsl_rl checkpoint, 5-8-2, relu, normalizer inside",
    )  # fmt: skip


def rsl_rl_student() -> Checkpoint:
    student, teacher = mlp(5, 8, 2), mlp(9, 8, 2)
    model = {"std": torch.ones(2), **named("student", student), **named("teacher", teacher)}
    return Checkpoint(
        content=_runner(model, student),
        said={"activation": "elu"},
        inputs=5,
        answer=student,
        recognised="rsl_rl checkpoint, 5-8-2, elu",
    )


def skrl() -> Checkpoint:
    trunk, last, (mean, deviation) = mlp(5, 8, 6, 6), nn.Linear(6, 2).double(), statistics(5)
    trunk.append(nn.ELU())
    network = nn.ModuleDict({"net_container": trunk, "policy_layer": last, "value_layer": nn.Linear(6, 1).double()})
    scaler = {"running_mean": mean, "running_variance": deviation**2, "current_count": torch.tensor(3.0)}
    content = {
        "policy": {"log_std_parameter": torch.zeros(2), **network.state_dict()},
        "value": network.state_dict(),
        "optimizer": _optimizer(trunk),
        "state_preprocessor": scaler,
    }

    def answer(x: Tensor) -> Tensor:
        return last(trunk(((x - mean) / (deviation + 1e-8)).clamp(-5, 5)))

    return Checkpoint(
        content=content,
        said={"activation": "elu"},
        inputs=5,
        answer=answer,
        recognised="skrl checkpoint, 5-8-6-6-2, elu, normalizer inside",
        notes=("skrl's defaults", "unless `head`"),
    )


def rl_games() -> Checkpoint:
    trunk, last, (mean, deviation) = mlp(5, 8, 6), nn.Linear(6, 2).double(), statistics(5)
    trunk.append(nn.ELU())
    model = {
        "value_mean_std.running_mean": torch.zeros(1), "running_mean_std.running_mean": mean,
        "running_mean_std.running_var": deviation**2, "running_mean_std.count": torch.tensor(3.0),
        "a2c_network.sigma": torch.zeros(2), **named("a2c_network.actor_mlp", trunk),
        **named("a2c_network.value", nn.Linear(6, 1)), **named("a2c_network.mu", last),
    }  # fmt: skip
    content = {"model": model, "epoch": 3, "last_mean_rewards": np.float32(2.0), "optimizer": _optimizer(trunk)}

    def answer(x: Tensor) -> Tensor:
        return last(trunk(((x - mean) / (deviation**2 + 1e-5).sqrt()).clamp(-5, 5)))

    return Checkpoint(
        content=content,
        said={"activation": "elu"},
        inputs=5,
        answer=answer,
        recognised="rl_games checkpoint, 5-8-6-2, elu, normalizer inside",
        notes=("clip_actions",),
    )


def cleanrl_ppo() -> Checkpoint:
    actor = mlp(5, 8, 8, 2, activation=nn.Tanh)
    content = {"actor_logstd": torch.zeros(1, 2), **named("critic", mlp(5, 1)), **named("actor_mean", actor)}
    return Checkpoint(
        content=content,
        said={},
        inputs=5,
        answer=actor,
        recognised="CleanRL model, 5-8-8-2, tanh",
        notes=("`activation`", "NormalizeObservation"),
    )


def cleanrl_squashed(last: str) -> Checkpoint:
    first, second, mean = (nn.Linear(*sizes).double() for sizes in ((5, 8), (8, 8), (8, 2)))
    content = {**named("fc1", first), **named("fc2", second), **named(last, mean)}
    if last == "fc_mean":
        content |= named("fc_logstd", nn.Linear(8, 2))
    content |= {"action_scale": torch.tensor([2.0, 0.5]), "action_bias": torch.tensor([0.0, 1.0])}
    scale, shift = content["action_scale"].double(), content["action_bias"].double()

    def answer(x: Tensor) -> Tensor:
        return torch.tanh(mean(second(first(x).relu()).relu())) * scale + shift

    saved = content if last == "fc_mean" else (content, named("fc1", nn.Linear(7, 1)))
    return Checkpoint(
        content=saved,
        said={},
        inputs=5,
        answer=answer,
        recognised="CleanRL model, 5-8-8-2, relu",
        notes=("`activation`",),
    )


def plain() -> Checkpoint:
    network = mlp(4, 8, 3, activation=nn.ReLU)
    return Checkpoint(
        content=network.state_dict(),
        said={"activation": "relu"},
        inputs=4,
        answer=network,
        recognised="state dict, 4-8-3, relu",
        notes=("unless `head`",),
    )


def nested() -> Checkpoint:
    """An actor beside a critic, compiled, under a name of its own."""
    actor = mlp(4, 8, 3, activation=nn.SiLU)
    model = {f"_orig_mod.{name}": value for name, value in (named("actor", actor) | named("critic", mlp(4, 1))).items()}
    return Checkpoint(
        content={"epoch": 3, "agent": {"state_dict": model}},
        said={"activation": "swish"},
        inputs=4,
        answer=actor,
        recognised="state dict, 4-8-3, silu",
        notes=("unless `head`",),
    )


def declared() -> Checkpoint:
    """Layers of no order that the file tells, with a scaled tanh behind them."""
    first, second, third = (nn.Linear(*sizes).double() for sizes in ((4, 8), (8, 8), (8, 2)))
    model = {**named("out", third), **named("b", second), **named("a", first)}

    def answer(x: Tensor) -> Tensor:
        return torch.tanh(third(torch.tanh(second(torch.tanh(first(x)))))) * 2.0

    said = {"layers": ("a", "b", "out"), "activation": "tanh", "head": "tanh:-2,2"}
    return Checkpoint(
        content={"model": model},
        said=said,
        inputs=4,
        answer=answer,
        recognised="state dict, 4-8-8-2, tanh",
        notes=("that `layers` names are read",),
    )


def normed() -> Checkpoint:
    """Norms before and behind activations, as their places in the ``Sequential`` tell."""
    network = nn.Sequential(
        *(nn.Linear(4, 8), nn.LayerNorm(8), nn.ELU(), nn.Linear(8, 6), nn.ELU(), nn.BatchNorm1d(6), nn.Linear(6, 2))
    ).double()
    network(torch.randn(64, 4, dtype=torch.float64))
    network.eval()
    return Checkpoint(
        content=network.state_dict(),
        said={"activation": "elu"},
        inputs=4,
        answer=network,
        recognised="state dict, 4-8-6-2, elu",
        notes=("epsilon", "unless `head`"),
    )


def linear() -> Checkpoint:
    network = nn.Linear(4, 2).double()
    return Checkpoint(
        content=network.state_dict(),
        said={},
        inputs=4,
        answer=network,
        recognised="state dict, 4-2, linear",
        notes=("unless `head`",),
    )


def module() -> Checkpoint:
    """Not the state of a network, but the object, which nothing unpickles."""
    network = mlp(4, 8, 3)
    return Checkpoint(
        content=network,
        said={"activation": "elu"},
        inputs=4,
        answer=network,
        recognised="state dict, 4-8-3, elu",
        notes=("unless `head`",),
    )


CHECKPOINTS: dict[str, Callable[[], Checkpoint]] = {
    "rsl_rl_first": rsl_rl_first,
    "rsl_rl_second": rsl_rl_second,
    "rsl_rl_third": rsl_rl_third,
    "rsl_rl_fifth": rsl_rl_fifth,
    "rsl_rl_student": rsl_rl_student,
    "skrl": skrl,
    "rl_games": rl_games,
    "cleanrl_ppo": cleanrl_ppo,
    "cleanrl_sac": lambda: cleanrl_squashed("fc_mean"),
    "cleanrl_td3": lambda: cleanrl_squashed("fc_mu"),
    "plain": plain,
    "nested": nested,
    "declared": declared,
    "normed": normed,
    "linear": linear,
    "module": module,
}
