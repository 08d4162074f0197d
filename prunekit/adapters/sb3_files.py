"""Policies saved by stock Stable-Baselines3 2.x, read without running any code (law 7) and without importing it.

The zip's ``data`` is JSON in which what JSON cannot hold is a base64 pickle with readable text beside it. The pickles
are never opened: spaces and activation come from the text, layers and widths from the tensors in ``policy.pth``.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from prunekit.activations import KINDS, Activation
from prunekit.adapters.safe_pickle import read_vec_normalize
from prunekit.adapters.sb3_spaces import (
    ACTIONS,
    BOX,
    DISCRETE,
    MULTI_BINARY,
    MULTI_DISCRETE,
    action_spaces,
    check_fit,
    check_same,
    observation_width,
    quoted,
)
from prunekit.environments import Spaces
from prunekit.errors import ArtifactError, InputError, PrunekitError
from prunekit.files import require_file
from prunekit.formats.torch_file import read_torch
from prunekit.policy.actor import Actor
from prunekit.policy.heads import head_of
from prunekit.policy.program import lower

LARGEST_ENTRY = 2**28
"""Bytes of one unpacked entry: 64 million weights, beyond any policy over vectors, and not yet a danger to the host."""
_LARGEST_DATA = 2**24
"""Bytes of the JSON, which takes tens of times as much memory."""
_FREE, _UNPACKED = 2**20, 16
"""Bytes that an entry may unpack to, and how many more for each of the file: weights hardly shrink, bombs do."""

_ACTIVATIONS = {str(kind.module): Activation(kind.name, kind.default) for kind in KINDS.values()}
_PARTIAL = re.compile(r"functools\.partial\((<class '[\w.]+'>), (\w+)=(-?\d+\.?\d*(?:e-?\d+)?)\)")
_FLATTEN = "<class 'stable_baselines3.common.torch_layers.FlattenExtractor'>"
_CRITICS = ("critic.qf", "critic_target.qf")


@final
@dataclass(frozen=True)
class _Policy:
    """One of SB3's policies: the names of its deployed tensors, and the first letters of those beside them.

    ``hidden`` is followed by a layer's index in its ``nn.Sequential``; ``last`` names the output layer where that is
    a module of its own, ``squashed`` says whether the action is its tanh.
    """

    name: str
    hidden: str
    last: str | None
    others: tuple[str, ...]
    activation: str
    actions: tuple[str, ...]
    squashed: bool = False


_POLICIES = {
    "stable_baselines3.common.policies": _Policy(
        name="PPO or A2C",
        hidden="mlp_extractor.policy_net.",
        last="action_net.",
        others=("mlp_extractor.value_net.", "value_net.", "log_std"),
        activation="tanh",
        actions=(DISCRETE, BOX, MULTI_DISCRETE, MULTI_BINARY),
    ),
    "stable_baselines3.dqn.policies": _Policy(
        name="DQN",
        hidden="q_net.q_net.",
        last=None,
        others=("q_net_target.q_net.",),
        activation="relu",
        actions=(DISCRETE,),
    ),
    "stable_baselines3.sac.policies": _Policy(
        name="SAC",
        hidden="actor.latent_pi.",
        last="actor.mu.",
        others=("actor.log_std.", *_CRITICS),
        activation="relu",
        actions=(BOX,),
        squashed=True,
    ),
    "stable_baselines3.td3.policies": _Policy(
        name="TD3 or DDPG",
        hidden="actor.mu.",
        last=None,
        others=("actor_target.mu.", *_CRITICS),
        activation="relu",
        actions=(BOX,),
        squashed=True,
    ),
}


def read_sb3(path: Path, vec_normalize: Path | None = None, *, spaces: Spaces | None = None) -> Actor:
    """Return the actor in a zip that ``save`` of PPO, A2C, DQN, SAC, TD3 or DDPG wrote; runs none of its code (law 7).

    ``vec_normalize`` is the file of ``VecNormalize.save``, for a policy that was trained behind one. ``spaces`` win
    over the action space in the zip, whose bounds are text and may not say them exactly (``action_spaces``).

    Raises ArtifactError, naming the file, for what is no sound policy of these over flat vectors, and InputError for
    ``spaces`` that do not fit the policy, bounds in the text that are others among them.
    """
    require_file(path)
    with _naming(path):
        data, weights = _contents(path)
        policy = _policy_of(data)
        inputs = observation_width(_section(data, "observation_space"))
        action = _section(data, "action_space")
        if action.get(":type:") not in policy.actions:
            raise InputError(f"{policy.name} with actions of type {quoted(action.get(':type:'))} is not supported")
        kind = ACTIONS[action[":type:"]]
        state = _tensors(weights)
        if policy.last == "action_net." and (action[":type:"] == BOX) != ("log_std" in state):
            raise InputError("its action space and its weights do not fit together")
        layers = _layers(policy, state)
        outputs = layers[-1].out_features
        if layers[0].in_features != inputs:
            raise InputError(f"its network reads {layers[0].in_features} values, but its observations have {inputs}")
        if spaces is None:
            spaces = action_spaces(inputs, outputs, action)
        network = _chain(layers, _activation_of(policy, data))
    check_fit(spaces, inputs, outputs, kind, path)
    _check_same(spaces, inputs, outputs, action, path)
    normalizer = None if vec_normalize is None else read_vec_normalize(vec_normalize)
    if normalizer is not None and len(normalizer.mean) != inputs:
        raise ArtifactError(
            f"{vec_normalize}: is for {len(normalizer.mean)} values, but {path} reads {inputs}; give the policy's own "
            "with --normalizer, or --no-normalizer if it was trained without"
        )
    with _naming(path):
        actor = Actor(network, head_of(spaces.actions.squashed() if policy.squashed else spaces.actions), normalizer)
        lower(actor)
    return actor


def _check_same(spaces: Spaces, inputs: int, outputs: int, action: Mapping[str, Any], path: Path) -> None:
    """Raise InputError, naming ``path``, where its text says other actions than those of ``spaces``."""
    try:
        own = action_spaces(inputs, outputs, action)
    except InputError:  # the text does not say them, and the caller's spaces do
        return
    check_same(own.actions, spaces.actions, path)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except PrunekitError as error:
        raise ArtifactError(f"{path}: {error}") from error
    except Exception as error:  # zipfile, json and torch raise many types for damaged files
        raise ArtifactError(
            f"{path}: damaged or not a zip of Stable-Baselines3 ({type(error).__name__}); save the model again"
        ) from error


def _contents(path: Path) -> tuple[dict[str, Any], bytes]:
    unpacked = _FREE + _UNPACKED * path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        version = _entry(archive, "_stable_baselines3_version", min(unpacked, _LARGEST_DATA)).decode().strip()
        if not version.startswith("2."):
            raise InputError(f"was written by Stable-Baselines3 {quoted(version)}; only 2.x is read")
        data = json.loads(_entry(archive, "data", min(unpacked, _LARGEST_DATA)))
        weights = _entry(archive, "policy.pth", min(unpacked, LARGEST_ENTRY))
    if not isinstance(data, dict):
        raise InputError("its 'data' is no JSON object")
    return data, weights


def _entry(archive: zipfile.ZipFile, name: str, largest: int) -> bytes:
    if name not in archive.namelist():
        raise InputError(f"holds no '{name}'; only a zip that Stable-Baselines3's save wrote is read")
    if archive.getinfo(name).file_size > largest:
        raise InputError(f"its '{name}' unpacks to more than {largest} bytes; no policy over vectors does")
    return archive.read(name)


def _tensors(content: bytes) -> dict[str, Tensor]:
    try:
        state = read_torch(content)
    except InputError as error:
        raise InputError(f"its 'policy.pth' {error}") from error
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in state.items()
    ):
        raise InputError("its 'policy.pth' is no dictionary of named tensors")
    return dict(state)


def _section(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = data.get(name)
    if not isinstance(section, dict):
        raise InputError(f"its 'data' does not describe '{name}'; save the model whole")
    return section


def _policy_of(data: Mapping[str, Any]) -> _Policy:
    module = _section(data, "policy_class").get("__module__")
    policy = _POLICIES.get(module) if isinstance(module, str) else None
    if policy is None:
        raise InputError(
            f"its policy's class is from {quoted(module)}; only the stock policies of PPO, A2C, DQN, SAC, TD3 and DDPG "
            "are read"
        )
    options = _section(data, "policy_kwargs")
    if _is_squashed(policy, data, options):
        policy = replace(policy, squashed=True)
    extractor = options.get("features_extractor_class", _FLATTEN)
    if extractor != _FLATTEN:
        raise InputError(f"its features come from {quoted(extractor)}; only policies over plain vectors are read")
    return policy


def _is_squashed(policy: _Policy, data: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    """Return whether the deployed action is the squashed mean rather than the plain one.

    gSDE changes the noise of training alone: the mean action of PPO and A2C is the output of the network as ever,
    unless ``squash_output`` asks for its tanh. SAC with gSDE clips the mean first, so that it raises InputError, and so
    do words in place of truth values.
    """
    sources = {name: [source.get(name, False) for source in (data, options)] for name in ("use_sde", "squash_output")}
    strange = next((name for name, said in sources.items() if {type(one) for one in said} != {bool}), None)
    if strange is not None:
        raise InputError(f"its 'data' does not say whether it uses gSDE ('{strange}' is no truth value)")
    explored, squashed = (any(said) for said in sources.values())
    if explored and policy.last != "action_net.":
        raise InputError(f"{policy.name} with gSDE clips its mean action, which is not read; train without use_sde")
    if squashed and not explored:
        raise InputError("its actions are squashed without gSDE, which Stable-Baselines3 never does; save it again")
    return policy.squashed or squashed


def _activation_of(policy: _Policy, data: Mapping[str, Any]) -> Activation:
    text = _section(data, "policy_kwargs").get("activation_fn")
    if text is None:
        return Activation(policy.activation)
    activation = _activation_called(text) if isinstance(text, str) else None
    if activation is None:
        raise InputError(f"its activation {quoted(text)} is not known; known are {', '.join(KINDS)}")
    return activation


def _activation_called(text: str) -> Activation | None:
    found = _PARTIAL.fullmatch(text)
    if found is None:
        return _ACTIVATIONS.get(text)
    plain = _ACTIVATIONS.get(found[1])
    if plain is None or KINDS[plain.name].attribute != found[2]:
        return None
    return replace(plain, parameter=float(found[3]))


def _layers(policy: _Policy, state: Mapping[str, Tensor]) -> list[nn.Linear]:
    hidden = [name for name in state if name.startswith(policy.hidden) and name.endswith(".weight")]
    names = [f"{policy.hidden}{2 * index}." for index in range(len(hidden))]  # every second module is an activation
    names += [] if policy.last is None else [policy.last]
    expected = {f"{name}{part}" for name in names for part in ("weight", "bias")}
    missing = sorted(expected - state.keys())
    strange = sorted(name for name in state if name not in expected and not name.startswith(policy.others))
    if strange or missing or not names:
        what = f"holds {quoted(strange[0])}" if strange else f"lacks {quoted((missing or [policy.hidden])[0])}"
        raise InputError(f"its 'policy.pth' {what}, unlike that of a stock {policy.name} policy over vectors")
    return [_linear(name, state[f"{name}weight"], state[f"{name}bias"]) for name in names]


def _linear(name: str, weight: Tensor, bias: Tensor) -> nn.Linear:
    if weight.ndim != 2 or 0 in weight.shape or bias.shape != weight.shape[:1]:
        raise InputError(f"its layer '{name}' has weight {list(weight.shape)} and bias {list(bias.shape)}")
    if weight.dtype != torch.float32 or bias.dtype != torch.float32:
        raise InputError(f"its layer '{name}' is not float32")
    linear = nn.Linear(weight.shape[1], weight.shape[0], device="meta")  # draws no random weights only to drop them
    linear.weight, linear.bias = (nn.Parameter(tensor.detach().clone()) for tensor in (weight, bias))
    return linear


def _chain(layers: list[nn.Linear], activation: Activation) -> nn.Sequential:
    modules: list[nn.Module] = [layers[0]]
    for layer in layers[1:]:
        modules += [activation.to_module(), layer]
    return nn.Sequential(*modules)
