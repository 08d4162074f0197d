"""Conversion of the tensors of a Stable-Baselines3 or sb3-contrib zip into a policy."""

from __future__ import annotations

import numpy as np

from prunekit.errors import InputError
from prunekit.ops.clip import Clip
from prunekit.readers.sb3.activation import activation_called
from prunekit.readers.sb3.contents import Contents, quoted, tensors_in
from prunekit.readers.sb3.layers import Act, difference_of_pairs, layers_of, mean_of_quantiles
from prunekit.readers.sb3.layouts import Layout, algorithm_of, layout_of, library_of
from prunekit.readers.sb3.observations import observed
from prunekit.readers.sb3.policy import ZipPolicy, last_layer
from prunekit.readers.sb3.spaces import BOX, MULTI_BINARY, class_of
from prunekit.readers.sb3.squashing import is_squashed
from prunekit.readers.weights.words import activation_named

_CLIP_MEAN = 2.0
_NORM_EPSILON = 0.001


def policy_of_tensors(contents: Contents, said: str | None = None) -> ZipPolicy:
    """Return the policy; ``said`` is an activation that replaces the one in the file.

    Raises InputError, by name, for anything that no stock policy over vectors contains.
    """
    layout = layout_of(contents)
    seen = observed(contents.section("observation_space"))
    action = contents.section("action_space")
    kind = class_of(action)
    state = tensors_in(contents.weights)
    if kind not in layout.actions:
        raise InputError(f"{layout.name} with actions of type {kind} is not supported")
    if layout.end == "action_net." and layout.trunks and (kind == BOX) != ("log_std" in state):
        raise InputError("its action space and its weights do not fit together")
    act = _act(layout, contents) if said is None else activation_named(said)
    ops, apart = layers_of(layout, state, act, _epsilon(contents))
    if layout.quantiles:
        ops[-1] = mean_of_quantiles(last_layer(ops), _count(action))
    if layout.pairs and kind == MULTI_BINARY:
        ops[-1] = difference_of_pairs(last_layer(ops))
    outputs = len(last_layer(ops).bias)
    notes = list(layout.notes)
    if layout.clipped and apart:
        clip = _number(contents, "clip_mean", _CLIP_MEAN)
        ops.append(Clip(low=-clip, high=clip))
        notes.append(f"gSDE: the mean action, clipped to [{-clip:g}, {clip:g}]")
    elif contents.data.get("use_sde"):
        notes.append("gSDE: the mean action")
    if contents.version is None:
        notes.append("its version is not in the file; read as an early version of Stable-Baselines3")
    algorithm = algorithm_of(layout, contents.data)
    return ZipPolicy(
        library=library_of(layout, algorithm, contents.version),
        algorithm=algorithm,
        observed=seen,
        ops=tuple(ops),
        outputs=outputs,
        squashed=is_squashed(layout, contents),
        notes=tuple(notes),
    )


def _act(layout: Layout, contents: Contents) -> Act:
    text = contents.section("policy_kwargs").get("activation_fn")
    return activation_called(f"<class 'torch.nn.modules.activation.{layout.activation}'>" if text is None else text)


def _epsilon(contents: Contents) -> float:
    return _number(contents, "batch_norm_eps", _NORM_EPSILON)


def _number(contents: Contents, name: str, default: float) -> float:
    """Return a positive number from the policy's settings."""
    value = contents.section("policy_kwargs").get(name, default)
    if type(value) not in (int, float) or not 0.0 < value <= float(np.finfo(np.float32).max):
        raise InputError(f"its '{name}' is {quoted(value)}, which is not a positive number")
    return float(value)


def _count(action: dict[str, object]) -> int:
    text = str(action.get("n"))
    if not text.isdecimal() or not 0 < len(text) < 10 or int(text) < 1:
        raise InputError(f"its number of actions is {quoted(text)}, which is not an integer")
    return int(text)
