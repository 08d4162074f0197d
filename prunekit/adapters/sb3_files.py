"""Policies saved by stock Stable-Baselines3 2.x, read without running any code (law 7) and without importing it.

The zip's ``data`` is JSON in which what JSON cannot hold is a base64 pickle with readable text beside it. The pickles
are never opened: spaces and activation come from the text, layers and widths from the tensors in ``policy.pth``.
"""

from __future__ import annotations

import io
import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from prunekit.activations import KINDS, Activation
from prunekit.adapters.safe_pickle import read_vec_normalize
from prunekit.environments import Spaces
from prunekit.errors import ArtifactError, InputError, PrunekitError
from prunekit.files import require_file
from prunekit.policy.actor import Actor
from prunekit.policy.heads import ArgmaxHead, ClipHead, Head, TanhHead
from prunekit.policy.program import lower

LARGEST_ENTRY = 2**28
"""Bytes of one unpacked entry: 64 million weights, beyond any policy over vectors, and not yet a danger to the host."""

_ACTIVATIONS = {str(kind.module): Activation(kind.name, kind.default) for kind in KINDS.values()}
_DISCRETE, _BOX = (f"<class 'gymnasium.spaces.{name}'>" for name in ("discrete.Discrete", "box.Box"))
_FLATTEN = "<class 'stable_baselines3.common.torch_layers.FlattenExtractor'>"
_NUMBER = re.compile(r"-?(inf|\d+\.?\d*(e[+-]\d+)?)")
_SHOWN = 0.51e-8  # NumPy prints eight decimals (in a mantissa too), so what it prints is off by half of the last


@final
@dataclass(frozen=True)
class _Policy:
    """One of SB3's policies: how its deployed tensors are named, and which others stand beside them.

    ``hidden`` is followed by a layer's index in its ``nn.Sequential``; ``last`` names the output layer where that is
    a module of its own.
    """

    name: str
    hidden: str
    last: str | None
    others: tuple[str, ...]
    activation: str
    spaces: tuple[str, ...]
    squashes: bool = False


_CRITICS = ("critic.qf", "critic_target.qf")
_POLICIES = {
    f"stable_baselines3.{module}.policies": policy
    for module, policy in (
        (
            "common",
            _Policy(
                *("PPO or A2C", "mlp_extractor.policy_net.", "action_net."),
                *(("mlp_extractor.value_net.", "value_net.", "log_std"), "tanh", (_DISCRETE, _BOX)),
            ),
        ),
        ("dqn", _Policy("DQN", "q_net.q_net.", None, ("q_net_target.q_net.",), "relu", (_DISCRETE,))),
        (
            "sac",
            _Policy(
                *("SAC", "actor.latent_pi.", "actor.mu."),
                *(("actor.log_std.", *_CRITICS), "relu", (_BOX,), True),
            ),
        ),
        ("td3", _Policy("TD3 or DDPG", "actor.mu.", None, ("actor_target.mu.", *_CRITICS), "relu", (_BOX,), True)),
    )
}


def read_sb3(path: Path, vec_normalize: Path | None = None, *, spaces: Spaces | None = None) -> Actor:
    """Return the actor in the zip that ``save`` of PPO, A2C, DQN, SAC, TD3 or DDPG wrote; runs none of its code (law 7).

    ``vec_normalize`` is the file of ``VecNormalize.save``, for a policy trained behind one. The bounds of continuous
    actions are read from text, which holds eight decimals: ``spaces`` gives them where these do not say them exactly,
    and wins over the text. (Text that NumPy printed with other than its default precision looks like exact text.)

    Raises ArtifactError, naming the file, for what is no sound zip of such a policy over a flat vector, and InputError
    for ``spaces`` that do not fit it.
    """
    require_file(path)
    try:
        data, state = _contents(path)
        policy = _policy_in(data, state)
        network = _network(policy, _activation_in(policy, data), state)
        inputs, outputs = network[0].in_features, network[-1].out_features
        if _section(data, "observation_space").get("_shape") != [inputs]:
            raise InputError("its observation space and its network do not fit together")
        found = _section(data, "action_space")
        if spaces is None:
            said = _spaces_in(inputs, found)
            if said.outputs != outputs:
                raise InputError("its action space and its network do not fit together")
        else:
            said = _fitting(spaces, found[":type:"] == _DISCRETE, inputs, outputs)
        actor = Actor(network, _head(policy, said))
        lower(actor)
    except PrunekitError as error:
        raise (type(error) if type(error) is InputError and spaces is not None else ArtifactError)(
            f"{path}: {error}"
        ) from error
