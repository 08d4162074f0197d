"""The tensors of each kind of Stable-Baselines3 and sb3-contrib policy that are deployed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from prunekit.errors import InputError
from prunekit.readers.sb3.contents import Contents, quoted
from prunekit.readers.sb3.spaces import BOX, DISCRETE, MULTI_BINARY, MULTI_DISCRETE

_CRITICS = ("critic.qf", "critic_target.qf")
_VALUES = ("mlp_extractor.value_net.", "value_net.")


@final
@dataclass(frozen=True, kw_only=True)
class Layout:
    """One kind of policy: the names of its deployed tensors, and the prefixes of its other tensors.

    ``trunks`` are Sequentials of layers with an activation after each. ``end`` is the output layer, or a Sequential
    that ends in it. ``squashed`` means that the action is the tanh of the output, and ``clipped`` that gSDE clips the
    output first. ``quantiles`` means several outputs per action, ``pairs`` two per switch, and ``biased`` that every
    layer has a bias.
    """

    name: str
    end: str
    actions: tuple[str, ...]
    activation: str = "ReLU"
    trunks: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    contrib: bool = False
    squashed: bool = False
    clipped: bool = False
    quantiles: bool = False
    pairs: bool = False
    biased: bool = True
    notes: tuple[str, ...] = ()


def _actor_critic(name: str, **more: Any) -> Layout:
    return Layout(
        name=name,
        trunks=("mlp_extractor.shared_net.", "mlp_extractor.policy_net."),
        end="action_net.",
        others=(*_VALUES, "log_std", "sde_features_extractor."),
        activation="Tanh",
        **more,
    )


def _soft(name: str, **more: Any) -> Layout:
    return Layout(
        name=name,
        trunks=("actor.latent_pi.",),
        end="actor.mu.",
        others=("actor.log_std", "actor.sde_features_extractor.", *_CRITICS),
        actions=(BOX,),
        squashed=True,
        clipped=True,
        **more,
    )


_ANY = (DISCRETE, BOX, MULTI_DISCRETE, MULTI_BINARY)
_PPO = _actor_critic("PPO or A2C", actions=_ANY)
_UNMASKED = "its action mask is left out: mask invalid actions in your program, on the outputs"
_LAYOUTS = {
    "stable_baselines3.common.policies": _PPO,
    "stable_baselines3.ppo.policies": _PPO,  # before 0.10
    "stable_baselines3.a2c.policies": _PPO,
    "stable_baselines3.dqn.policies": Layout(
        name="DQN", end="q_net.q_net.", others=("q_net_target.q_net.",), actions=(DISCRETE,)
    ),
    "stable_baselines3.sac.policies": _soft("SAC"),
    "stable_baselines3.td3.policies": Layout(
        name="TD3 or DDPG", end="actor.mu.", others=("actor_target.mu.", *_CRITICS), actions=(BOX,), squashed=True
    ),
    "sb3_contrib.tqc.policies": _soft("TQC", contrib=True),
    "sb3_contrib.crossq.policies": _soft("CrossQ", contrib=True),
    "sb3_contrib.qrdqn.policies": Layout(
        name="QR-DQN",
        end="quantile_net.quantile_net.",
        others=("quantile_net_target.quantile_net.",),
        actions=(DISCRETE,),
        contrib=True,
        quantiles=True,
        notes=("the outputs are the means over an action's quantiles",),
    ),
    "sb3_contrib.common.maskable.policies": _actor_critic(
        "MaskablePPO",
        actions=(DISCRETE, MULTI_DISCRETE, MULTI_BINARY),
        contrib=True,
        pairs=True,
        notes=(_UNMASKED,),
    ),
    "sb3_contrib.ars.policies": Layout(
        name="ARS", end="action_net.", actions=(DISCRETE, BOX), contrib=True, biased=False
    ),
}
_RECURRENT = "sb3_contrib.common.recurrent.policies"
_COMBINED = "<class 'stable_baselines3.common.torch_layers.CombinedExtractor'>"
_FLATTEN = "<class 'stable_baselines3.common.torch_layers.FlattenExtractor'>"


def layout_of(contents: Contents) -> Layout:
    """Return the layout of the policy in a zip; raises InputError with its name if it is not supported."""
    module = contents.section("policy_class").get("__module__")
    if module == _RECURRENT:
        raise InputError("its policy is recurrent (RecurrentPPO), which is not read yet; only feed-forward ones are")
    layout = _LAYOUTS.get(module) if isinstance(module, str) else None
    if layout is None:
        raise InputError(
            f"its policy's class is from {quoted(module)}; only the stock policies of PPO, A2C, DQN, SAC, TD3, DDPG "
            "and sb3-contrib are read"
        )
    extractor = contents.section("policy_kwargs").get("features_extractor_class", _FLATTEN)
    if extractor not in (_FLATTEN, _COMBINED):
        raise InputError(f"its features come from {quoted(extractor)}; only policies over plain vectors are read")
    return layout


def algorithm_of(layout: Layout, data: Mapping[str, Any]) -> str:
    """Return the algorithm's name. If several share a layout, it is found by settings that only one of them has."""
    if layout is _PPO:
        return "PPO" if "clip_range" in data else "TRPO" if "cg_max_steps" in data else "A2C"
    if layout.name == "TD3 or DDPG":
        return "DDPG" if data.get("policy_delay") == 1 and data.get("target_noise_clip") == 0.0 else "TD3"
    return layout.name


def library_of(layout: Layout, algorithm: str, version: str | None) -> str:
    """Return the name of the library that wrote the zip, with the version of Stable-Baselines3."""
    written = "Stable-Baselines3" if version is None else f"Stable-Baselines3 {version}"
    return f"{written} with sb3-contrib" if layout.contrib or algorithm == "TRPO" else written
