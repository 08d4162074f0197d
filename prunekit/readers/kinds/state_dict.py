"""Reader of weights without a known layout: state dicts, nested or not, from torch, safetensors or a pickle."""

from __future__ import annotations

from prunekit.environments import Spaces
from prunekit.errors import InputError
from prunekit.formats.text import shown
from prunekit.readers.opened import Opened
from prunekit.readers.policy_file import PolicyFile, PolicyOptions
from prunekit.readers.registry import Reader
from prunekit.readers.weights.chain import sequence_at
from prunekit.readers.weights.policy import OPTIONS, Plan, policy_of_plan, refuse_recurrent, said_layers
from prunekit.readers.weights.tree import may_be_policy

CALLED = "state dict"
_DISTRIBUTIONS = ("atoms", "support")
_POLICIES = ("actor", "policy", "pi", "actor_mean", "policy_net", "actor_net", "action_net", "mean")


def _recognised(opened: Opened) -> bool:
    return opened.container in ("torch", "old_torch", "safetensors", "pickle") and bool(opened.tree.matrices)


def _read(opened: Opened, options: PolicyOptions, _: Spaces | None) -> PolicyFile:
    called = "safetensors" if opened.container == "safetensors" else CALLED
    said = said_layers(opened, options, called)
    if said is None:
        said = _found(opened, options, called)
    return policy_of_plan(opened, options, said)


def _found(opened: Opened, options: PolicyOptions, called: str) -> Plan:
    tree = opened.tree.under(options.nesting or "")
    if options.nesting is not None and not tree.matrices:
        raise InputError(f"{opened.path}: has no layers under `nesting` {shown(options.nesting, 60)}")
    own = [name for name in tree.matrices if may_be_policy(name)]
    atoms = next((name for name in tree.arrays if name.rpartition(".")[2] in _DISTRIBUTIONS), None)
    if atoms is not None:
        raise InputError(
            f"{opened.path}: {called} of a distribution over '{shown(atoms, 60)}' (C51), whose outputs are not "
            "action values; export the policy with its expectation to ONNX"
        )
    refuse_recurrent(opened, tree, called)
    prefixes = list(dict.fromkeys(name.rpartition(".")[0] for name in own))
    layers = sequence_at(tree, prefixes[0]) if len(prefixes) == 1 else None
    parts = {part.removesuffix("_state_dict") for part in (prefixes[0] if prefixes else "").split(".")}
    named = len(own) == len(tree.matrices) or bool(parts & {*_POLICIES})
    if layers is None or not named:
        there = ", ".join(tree.matrices[:16])
        raise InputError(
            f"{opened.path}: {called}, which does not say which layers are the policy's, nor in which order: name them "
            f"with `layers`, and what is between them with `activation`; there are {shown(there, 400)}"
        )
    return Plan(called=called, tree=tree, layers=tuple(layers))


READER = Reader(
    name="state_dict",
    called="state dicts",
    recognises=_recognised,
    read=_read,
    options=OPTIONS,
)
