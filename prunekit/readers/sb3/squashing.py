"""Detection of policies whose action is the tanh of the output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prunekit.errors import InputError
from prunekit.readers.sb3.contents import Contents
from prunekit.readers.sb3.layouts import Layout
from prunekit.readers.sb3.spaces import BOX, class_of


def is_squashed(layout: Layout, contents: Contents) -> bool:
    """Return whether the deployed action is the tanh of the mean.

    gSDE changes only the noise during training: the mean action of PPO and A2C is the plain output, unless
    ``squash_output`` is set. ARS squashes by default, and its linear policy only if told to. Raises InputError if a
    setting is not a truth value.
    """
    options = contents.section("policy_kwargs")
    if layout.name == "ARS":
        return _ars(contents, options)
    explored, squashed = (_said(name, contents.data, options) for name in ("use_sde", "squash_output"))
    if squashed and not explored and not layout.squashed:
        raise InputError("its actions are squashed without gSDE, which Stable-Baselines3 never does; save it again")
    return layout.squashed or squashed


def _said(name: str, *sources: Mapping[str, Any]) -> bool:
    said = [source.get(name, False) for source in sources]
    if {type(one) for one in said} != {bool}:
        raise InputError(f"its 'data' does not say whether it uses gSDE ('{name}' is not a boolean)")
    return any(said)


def _ars(contents: Contents, options: Mapping[str, Any]) -> bool:
    if class_of(contents.section("action_space")) != BOX:
        return False
    policy = contents.section("policy_class")
    begun = [str(policy.get(name, "")).strip().split("\n")[0] for name in ("__init__", "__doc__")]
    linear = begun[0].startswith("<function ARSLinearPolicy.") or begun[1].startswith("Linear policy")
    said = options.get("squash_output", not linear)
    if type(said) is not bool:
        raise InputError("its 'data' does not say whether its actions are squashed ('squash_output' is not a boolean)")
    return said
