"""Weights under names of which nothing is known: state dicts, nested or not, of torch, safetensors or a pickle."""

from __future__ import annotations

from prunekit.environments import Spaces
from prunekit.errors import InputError
from prunekit.formats.text import shown
from prunekit.readers.opened import Opened
from prunekit.readers.policy_file import PolicyFile, PolicyOptions
from prunekit.readers.registry import Reader
from prunekit.readers.weights.chain import sequence_at
from prunekit.readers.weights.policy import OPTIONS, Plan, policy_of_plan, refuse_recurrent, said_layers
from prunekit.readers.weights.tree import Tree

CALLED = "state dict"
_POLICIES = ("actor", "policy", "pi", "actor_mean", "policy_net", "actor_net", "action_net", "mean")
_NOT_POLICIES = ("critic", "value", "vf", "qf", "q1", "q2", "target", "teacher", "discriminator")
_NO_WEIGHTS = ("optimizer", "optim", "scheduler")


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
    tree = Tree(
        arrays={name: value for name, value in tree.arrays.items() if not name.startswith(_NO_WEIGHTS)},
        modules=tree.modules,
    )
    if options.nesting is not None and not tree.matrices:
        raise InputError(f"{opened.path}: has no layers under --path {shown(options.nesting, 60)}")
    own = [name for name in tree.matrices if not any(part.startswith(_NOT_POLICIES) for part in name.split("."))]
    policy = Tree(arrays={name: tree.arrays[name] for name in tree.arrays if _within(name, own)}, modules=tree.modules)
    refuse_recurrent(opened, Tree(arrays=_without(tree, _NOT_POLICIES)), called)
    prefixes = list(dict.fromkeys(name.rpartition(".")[0] for name in own))
    layers = sequence_at(policy, prefixes[0]) if len(prefixes) == 1 else None
    named = len(own) == len(tree.matrices) or (prefixes and prefixes[0].rpartition(".")[2] in _POLICIES)
    if layers is None or not named:
        there = ", ".join(tree.matrices[:16])
        raise InputError(
            f"{opened.path}: {called}, which does not say which layers are the policy's, nor in which order: name them "
            f"with --layers, and what is between them with --activation; there are {shown(there, 400)}"
        )
    return Plan(called=called, tree=tree, layers=tuple(layers))


def _within(name: str, layers: list[str]) -> bool:
    return any(name.startswith(f"{parent}.") or not parent for parent in {layer.rpartition(".")[0] for layer in layers})


def _without(tree: Tree, starts: tuple[str, ...]) -> dict[str, object]:
    return {
        name: value
        for name, value in tree.arrays.items()
        if not any(part.startswith(starts) for part in name.split("."))
    }


READER = Reader(
    name="state_dict",
    called="state dicts",
    recognises=_recognised,
    read=_read,
    options=OPTIONS,
)
