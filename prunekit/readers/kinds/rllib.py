"""Reader of module states of RLlib's new API: ``module_state.pkl``."""

from __future__ import annotations

from prunekit.environments import Spaces
from prunekit.errors import InputError
from prunekit.formats.text import shown
from prunekit.readers.opened import Opened
from prunekit.readers.policy_file import PolicyFile, PolicyOptions
from prunekit.readers.registry import Reader
from prunekit.readers.weights.chain import layers_at, sequence_at, shape_of
from prunekit.readers.weights.policy import OPTIONS, Plan, policy_of_plan, refuse_recurrent, said_layers
from prunekit.readers.weights.tree import Tree
from prunekit.readers.weights.words import Ending, ending_named

CALLED = "RLlib module state"
_ENCODERS = ("encoder.actor_encoder.net.mlp", "encoder.encoder.net.mlp", "encoder.net.mlp", "pi_encoder.net.mlp")
_HEAD = "pi.net.mlp"
_CRITIC = ("vf", "encoder.critic_encoder", "qf", "target", "_")


def _recognised(opened: Opened) -> bool:
    return opened.container in ("pickle", "torch") and f"{_HEAD}.0.weight" in opened.tree


def _read(opened: Opened, options: PolicyOptions, _: Spaces | None) -> PolicyFile:
    said = said_layers(opened, options, CALLED, [""])
    if said is None:
        refuse_recurrent(opened, opened.tree, CALLED)
        said = _found(opened, options)
    return policy_of_plan(opened, options, said)


def _found(opened: Opened, options: PolicyOptions) -> Plan:
    tree = opened.tree
    head = sequence_at(tree, _HEAD)
    encoders = [found for name in _ENCODERS if (found := sequence_at(tree, name)) is not None]
    layers = [*(encoders[0] if encoders else []), *(head or [])]
    own = [name for name in tree.matrices if not name.startswith(_CRITIC)]
    if head is None or len(encoders) != 1 or not set(own) <= set(layers):
        there = ", ".join(own[:16])
        raise InputError(
            f"{opened.path}: {CALLED}, but its policy is not exactly one encoder and {_HEAD}; name its layers "
            f"with `layers`; there are {shown(there, 400)}"
        )
    if options.head is None:
        asked = _asked(opened, tree, layers)
        raise InputError(f"{opened.path}: {CALLED}, policy {asked}")
    word = options.head

    def ending(outputs: int) -> Ending:
        return ending_named(word, outputs)

    return Plan(called=CALLED, tree=tree, layers=tuple(layers), ending=ending)


def _asked(opened: Opened, tree: Tree, layers: list[str]) -> str:
    try:
        shape = shape_of(layers_at(tree, layers))
    except InputError as error:
        raise InputError(f"{opened.path}: {error}") from error
    return (
        f"{shape}, the kind of its actions not in the file: give `head` mean (floats: the first half of its outputs), "
        "`head` argmax (discrete) or `head` none"
    )


READER = Reader(name="rllib", called="module states of RLlib", recognises=_recognised, read=_read, options=OPTIONS)
