"""Reader of skrl checkpoints: ``agent_*.pt`` and ``best_agent.pt``."""

from __future__ import annotations

from prunekit.environments import Spaces
from prunekit.errors import InputError
from prunekit.formats.text import shown
from prunekit.ops.normalize import Normalize
from prunekit.readers.opened import Opened
from prunekit.readers.policy_file import PolicyFile, PolicyOptions
from prunekit.readers.registry import Reader
from prunekit.readers.weights.chain import follows, sequence_at
from prunekit.readers.weights.policy import (
    OPTIONS,
    Plan,
    deviation_of,
    normalizer_of,
    policy_of_plan,
    refuse_recurrent,
    said_layers,
)
from prunekit.readers.weights.tree import Tree

CALLED = "skrl checkpoint"
_PREPROCESSORS = ("observation_preprocessor", "state_preprocessor")
_BESIDE = {"value", "optimizer", *_PREPROCESSORS, "critic", "critic_1", "target_policy"}
_NOT_THE_POLICY = ("value",)
_EPSILON, _CLIP = 1e-8, 5.0
"""Those of ``RunningStandardScaler``, unless its maker says otherwise."""


def _recognised(opened: Opened) -> bool:
    entries = opened.entries()
    return isinstance(entries.get("policy"), dict) and bool(_BESIDE & set(entries))


def _read(opened: Opened, options: PolicyOptions, _: Spaces | None) -> PolicyFile:
    root = "policy" if options.nesting is None else options.nesting
    normalizer = _normalizer(opened)
    said = said_layers(opened, options, CALLED, [root], normalizer)
    tree = opened.tree.under(root)
    if said is None:
        refuse_recurrent(opened, tree, CALLED)
        said = _found(opened, tree, None if normalizer is None else normalizer[1])
    return policy_of_plan(opened, options, said)


def _found(opened: Opened, tree: Tree, normalizer: Normalize | None) -> Plan:
    """Return the plan for the policy's layers: one sequence, optionally followed by one more layer."""
    own = [name for name in tree.matrices if not name.startswith(_NOT_THE_POLICY)]
    first = own[0].rpartition(".")[0] if own else ""
    layers = sequence_at(tree, first) if own else None
    last = [name for name in own if name.rpartition(".")[0] != first]
    # An activation at the end of the sequence comes before the last layer.
    if layers is None or len(last) > 1 or (last and tree.modules and follows(tree, layers[-1]) is None):
        there = ", ".join(own[:16]) or "none"
        raise InputError(
            f"{opened.path}: {CALLED}, but it does not say in which order its policy's layers are used; name them with "
            f"`layers`; there are {shown(there, 400)}"
        )
    assumed = f"its normalizer's epsilon {_EPSILON:g} and bound {_CLIP:g} are skrl's defaults; they are not in the file"
    return Plan(
        called=CALLED,
        tree=tree,
        layers=(*layers, *last),
        normalizer=normalizer,
        notes=(assumed,) if normalizer is not None else (),
    )


def _normalizer(opened: Opened) -> tuple[str, Normalize] | None:
    """Return the normalizer and its name in the file, or None."""
    for name in _PREPROCESSORS:
        place = opened.tree.under(name)
        if "running_mean" in place:
            try:
                deviation = deviation_of(place.vector("running_variance"), beside=_EPSILON)
                return name, normalizer_of(place.vector("running_mean"), deviation, _CLIP)
            except InputError as error:
                raise InputError(f"{opened.path}: {error}") from error
    return None


READER = Reader(name="skrl", called="checkpoints of skrl", recognises=_recognised, read=_read, options=OPTIONS)
