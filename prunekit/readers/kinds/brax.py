"""Reader of Brax and MuJoCo Playground parameters: pickles of (normalizer, policy) or (normalizer, policy, value)."""

from __future__ import annotations

from typing import Any

import numpy as np

from prunekit.environments import Spaces
from prunekit.errors import InputError
from prunekit.formats.pickles import Record
from prunekit.formats.text import shown
from prunekit.ops.normalize import Normalize
from prunekit.ops.tanh_to_bounds import TanhToBounds
from prunekit.readers.opened import Opened
from prunekit.readers.policy_file import PolicyFile, PolicyOptions
from prunekit.readers.registry import Reader
from prunekit.readers.weights.policy import OPTIONS, Plan, normalizer_of, policy_of_plan, said_layers
from prunekit.readers.weights.tree import Tree, tree_of
from prunekit.readers.weights.words import bounded, mean_ending

CALLED = "Brax parameters"
_PPO = "swish is the activation of Brax's PPO; give `activation` if it was another"
_ACTIONS = "its action is tanh of the mean, as in Brax's NormalTanhDistribution; give `head` if it was another"
_OF_OBSERVATIONS = "state"
"""The entry of a dictionary of observations that the policy reads, by Brax's own default."""


def _recognised(opened: Opened) -> bool:
    data = opened.data if opened.container == "pickle" else None
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        return False
    return "params.hidden_0.kernel" in opened.tree.under("1") or "params.MLP_0.hidden_0.kernel" in opened.tree.under(
        "1"
    )


def _read(opened: Opened, options: PolicyOptions, _: Spaces | None) -> PolicyFile:
    tree = opened.tree.under("1.params")
    try:
        normalizer, notes = _normalizer(opened.data[0])
    except InputError as error:
        raise InputError(f"{opened.path}: {error}") from error
    named = None if normalizer is None else ("normalizer", normalizer)
    said = said_layers(opened, options, CALLED, ["1.params", "1"], named)
    if said is None:
        said = _found(opened, tree, normalizer, notes)
    return policy_of_plan(opened, options, said)


def _found(opened: Opened, tree: Tree, normalizer: Normalize | None, notes: tuple[str, ...]) -> Plan:
    ppo = len(opened.data) == 3  # SAC, whose activation is another, has no value among its parameters
    layers = [f"hidden_{index}" for index in range(len(tree.matrices))]
    if set(layers) != set(tree.matrices) or any(name.endswith(".scale") for name in tree.arrays):
        there = ", ".join(tree.matrices[:16])
        raise InputError(
            f"{opened.path}: {CALLED}, but its policy is not a plain chain hidden_0, hidden_1, ... with tanh "
            "of a mean; "
            f"name its layers with `layers` and what follows with `head`; there are {shown(there, 400)}"
        )
    return Plan(
        called=CALLED,
        tree=tree,
        layers=tuple(layers),
        activation="swish" if ppo else None,
        normalizer=normalizer,
        ending=lambda outputs: mean_ending(outputs, bounded(TanhToBounds, -1.0, 1.0, outputs // 2)),
        notes=(*((_PPO,) if ppo else ()), _ACTIONS, *notes),
    )


def _normalizer(found: Any) -> tuple[Normalize | None, tuple[str, ...]]:
    state = found.state if isinstance(found, Record) else found
    if isinstance(state, tuple) and len(state) == 2 and state[0] is None:
        state = state[1]
    if not isinstance(state, dict) or not {"mean", "std"} <= set(state):
        if not tree_of(found).arrays:
            return None, ()
        raise InputError("its first part is not a known normalizer")
    mean, deviation = state["mean"], state["std"]
    notes: tuple[str, ...] = ()
    if isinstance(mean, dict) and isinstance(deviation, dict):
        if _OF_OBSERVATIONS not in mean or _OF_OBSERVATIONS not in deviation:
            raise InputError(f"its normalizer is of several observations, none of them '{_OF_OBSERVATIONS}'")
        if len(mean) > 1:
            notes = (f"of its observations ({', '.join(map(str, mean))}) it reads '{_OF_OBSERVATIONS}'",)
        mean, deviation = mean[_OF_OBSERVATIONS], deviation[_OF_OBSERVATIONS]
    if not isinstance(mean, np.ndarray) or not isinstance(deviation, np.ndarray):
        raise InputError("its normalizer's mean and deviation are not arrays")
    statistics = Tree(arrays={"mean": mean, "std": deviation})
    return normalizer_of(statistics.vector("mean"), statistics.vector("std")), tuple(shown(note) for note in notes)


READER = Reader(name="brax", called="parameters of Brax", recognises=_recognised, read=_read, options=OPTIONS)
