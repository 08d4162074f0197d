"""Reader of rsl_rl checkpoints, 1.x to 5.x: ``model_*.pt``."""

from __future__ import annotations

from prunekit.environments import Spaces
from prunekit.errors import InputError
from prunekit.formats.text import shown
from prunekit.ops.identity import Identity
from prunekit.ops.normalize import Normalize
from prunekit.readers.opened import Opened
from prunekit.readers.policy_file import PolicyFile, PolicyOptions
from prunekit.readers.registry import Reader
from prunekit.readers.weights.chain import follows, sequence_at
from prunekit.readers.weights.policy import (
    OPTIONS,
    Plan,
    normalizer_of,
    policy_of_plan,
    refuse_recurrent,
    said_layers,
)
from prunekit.readers.weights.tree import Tree
from prunekit.readers.weights.words import Ending

CALLED = "rsl_rl checkpoint"
_EPSILON = 1e-2
"""What ``EmpiricalNormalization`` adds to a deviation; no runner gives it another."""
_STANDARD_DEVIATIONS = ("std", "log_std", "distribution.std_param", "distribution.log_std_param")
_OTHERS = ("critic", "teacher", "value", "discriminator", "rnd", "predictor", "target")


def _recognised(opened: Opened) -> bool:
    entries = opened.entries()
    if any(name.startswith("mlp.") or ".rnn." in f".{name}" for part in ("actor", "student")
           for name in opened.tree.under(f"{part}_state_dict").arrays):  # fmt: skip
        return True
    model = entries.get("model_state_dict")
    return isinstance(model, dict) and {"iter", "infos"} <= set(entries)


def _read(opened: Opened, options: PolicyOptions, _: Spaces | None) -> PolicyFile:
    entries = opened.entries()
    root = next((f"{name}_state_dict" for name in ("student", "actor") if f"{name}_state_dict" in entries), None)
    root = "model_state_dict" if root is None else root
    tree = opened.tree.under(root if options.nesting is None else options.nesting)
    normalizer = _normalizer(opened, tree, _part(tree, root))
    said = said_layers(opened, options, CALLED, [root], normalizer)
    if said is None:
        refuse_recurrent(opened, _without_others(tree), CALLED)
        said = _found(opened, tree, root, None if normalizer is None else normalizer[1])
    return policy_of_plan(opened, options, said)


def _part(tree: Tree, root: str) -> str:
    if root != "model_state_dict":
        return root.removesuffix("_state_dict")
    return "student" if any(name.startswith("student.") for name in tree.arrays) else "actor"


def _found(opened: Opened, tree: Tree, root: str, normalizer: Normalize | None) -> Plan:
    """Return the plan for the layers of the actor or student."""
    part = _part(tree, root)
    prefix = "mlp" if root != "model_state_dict" else part
    layers = sequence_at(tree, prefix)
    if layers is None:
        there = ", ".join(tree.matrices[:16]) or "none"
        raise InputError(
            f"{opened.path}: {CALLED}, but its {part} is not a chain of layers {prefix}.0, {prefix}.2, ...; "
            "name those of "
            f"the policy, in order, with `layers`; there are {shown(there, 400)}"
        )
    chained = set(layers)
    other = next((name for name in _without_others(tree).matrices if name not in chained), None)
    if other is not None:
        raise InputError(
            f"{opened.path}: {CALLED}, but next to its {part} it has '{shown(other, 60)}', and the file does not say "
            "how it is used; export the policy to ONNX, or name all layers of the policy with `layers`"
        )
    if part == "actor" and not any(name in tree for name in _STANDARD_DEVIATIONS):
        raise InputError(
            f"{opened.path}: {CALLED}, but its standard deviations are outputs of the network too, so its "
            "outputs are not only actions; export the policy to ONNX"
        )
    return Plan(
        called=CALLED,
        part=part,
        tree=tree,
        layers=tuple(layers),
        normalizer=normalizer,
        ending=None if follows(tree, layers[-1]) else lambda _: Ending(head=Identity()),
    )


def _normalizer(opened: Opened, tree: Tree, part: str) -> tuple[str, Normalize] | None:
    """Return the normalizer and its name in the file, or None."""
    own = {name: tree.under(name) for name in ("obs_normalizer", f"{part}_obs_normalizer")}
    for name, place in {**own, "obs_norm_state_dict": opened.tree.under("obs_norm_state_dict")}.items():
        if "_mean" in place:
            try:
                return name, normalizer_of(place.vector("_mean"), place.vector("_std") + _EPSILON)
            except InputError as error:
                raise InputError(f"{opened.path}: {error}") from error
    return None


def _without_others(tree: Tree) -> Tree:
    """Return the tree without entries that cannot be part of the policy."""
    own = {name: value for name, value in tree.arrays.items() if not name.startswith(_OTHERS)}
    return Tree(
        arrays={name: value for name, value in own.items() if not name.startswith("memory_c")}, modules=tree.modules
    )


READER = Reader(name="rsl_rl", called="checkpoints of rsl_rl", recognises=_recognised, read=_read, options=OPTIONS)
