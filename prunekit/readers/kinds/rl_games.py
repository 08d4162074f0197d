"""Reader of rl_games checkpoints: ``.pth``."""

from __future__ import annotations

from prunekit.environments import Spaces
from prunekit.errors import InputError
from prunekit.formats.text import shown
from prunekit.ops.argmax import Argmax
from prunekit.ops.identity import Identity
from prunekit.ops.normalize import Normalize
from prunekit.readers.opened import Opened
from prunekit.readers.policy_file import PolicyFile, PolicyOptions
from prunekit.readers.registry import Reader
from prunekit.readers.weights.chain import sequence_at
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
from prunekit.readers.weights.words import Ending

CALLED = "rl_games checkpoint"
_NETWORK, _TRUNK = "a2c_network", "a2c_network.actor_mlp"
_CRITIC = ("a2c_network.value", "a2c_network.critic")
_EPSILON, _CLIP = 1e-5, 5.0
_SCALED = "rl_games itself holds actions in [-1, 1] and scales them to the bounds, unless its clip_actions is off"


def _recognised(opened: Opened) -> bool:
    if not isinstance(opened.entries().get("model"), dict):
        return False
    return any(name.startswith(("a2c_network.", "sac_network.")) for name in opened.tree.under("model").arrays)


def _read(opened: Opened, options: PolicyOptions, _: Spaces | None) -> PolicyFile:
    root = "model" if options.nesting is None else options.nesting
    tree = opened.tree.under(root)
    normalizer = _normalizer(opened, tree)
    said = said_layers(opened, options, CALLED, [root, f"{root}.{_NETWORK}"], normalizer)
    if said is None:
        refuse_recurrent(opened, tree, CALLED)
        said = _found(opened, tree, None if normalizer is None else normalizer[1])
    return policy_of_plan(opened, options, said)


def _found(opened: Opened, tree: Tree, normalizer: Normalize | None) -> Plan:
    trunk = sequence_at(tree, _TRUNK)
    own = [name for name in tree.matrices if not name.startswith(_CRITIC)]
    last = [name for name in (f"{_NETWORK}.mu", f"{_NETWORK}.logits") if name in own]
    matrices = [name for name in own if name not in last]
    if trunk is None or len(last) != 1 or not set(matrices) <= set(trunk):
        there = ", ".join(own[:16]) or "none"
        raise InputError(
            f"{opened.path}: {CALLED}, but its actor is not exactly {_TRUNK} and mu or logits; name the layers "
            f"of the policy, in order, with `layers`; there are {shown(there, 400)}"
        )
    discrete = last[0].endswith("logits")
    return Plan(
        called=CALLED,
        tree=tree,
        part="actor",
        layers=(*trunk, last[0]),
        normalizer=normalizer,
        ending=lambda _: Ending(head=Argmax(start=0) if discrete else Identity()),
        notes=() if discrete else (_SCALED,),
    )


def _normalizer(opened: Opened, tree: Tree) -> tuple[str, Normalize] | None:
    """Return the normalizer and its name in the file, or None."""
    place = tree.under("running_mean_std")
    if "running_mean" not in place:  # before 1.2 it was stored next to the model
        place = opened.tree.under("running_mean_std")
    if "running_mean" not in place:
        return None
    try:
        deviation = deviation_of(place.vector("running_var"), inside=_EPSILON)
        return "running_mean_std", normalizer_of(place.vector("running_mean"), deviation, _CLIP)
    except InputError as error:
        raise InputError(f"{opened.path}: {error}") from error


READER = Reader(name="rl_games", called="checkpoints of rl_games", recognises=_recognised, read=_read, options=OPTIONS)
