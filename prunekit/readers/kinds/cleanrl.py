"""Reader of CleanRL's agents for continuous actions: ``.cleanrl_model``."""

from __future__ import annotations

from prunekit.environments import Spaces
from prunekit.errors import InputError
from prunekit.graph.op import Array
from prunekit.ops.identity import Identity
from prunekit.ops.tanh_to_bounds import TanhToBounds
from prunekit.readers.lowering.builder import as_floats
from prunekit.readers.opened import Opened
from prunekit.readers.policy_file import PolicyFile, PolicyOptions
from prunekit.readers.registry import Reader
from prunekit.readers.weights.chain import sequence_at
from prunekit.readers.weights.policy import OPTIONS, Plan, policy_of_plan, said_layers
from prunekit.readers.weights.tree import Tree
from prunekit.readers.weights.words import Ending

CALLED = "CleanRL model"
_OWN = "its activation is CleanRL's default for this algorithm; give `activation` if it was changed"
_NORMALIZED = (
    "CleanRL's PPO for continuous actions normalizes observations in the environment (NormalizeObservation), with "
    "statistics that are not in the file; the policy is read without them"
)


def _recognised(opened: Opened) -> bool:
    return opened.container in ("torch", "old_torch", "safetensors") and _place(opened.tree) is not None


def _place(tree: Tree) -> str | None:
    """Return the path of the actor: the root of the file, or the first network in it; None if there is none."""
    for place in ("", "0"):
        part = tree.under(place)
        squashed = "action_scale" in part and "action_bias" in part and "fc1.weight" in part
        if ("actor_mean.0.weight" in part and "actor_logstd" in part) or squashed:
            return place
    return None


def _read(opened: Opened, options: PolicyOptions, _: Spaces | None) -> PolicyFile:
    place = _place(opened.tree) or ""
    said = said_layers(opened, options, CALLED, [place])
    if said is None:
        tree = opened.tree.under(place if options.nesting is None else options.nesting)
        said = _ppo(opened, tree) if "actor_logstd" in tree else _squashed(opened, tree)
    return policy_of_plan(opened, options, said)


def _ppo(opened: Opened, tree: Tree) -> Plan:
    layers = sequence_at(tree, "actor_mean")
    if layers is None:
        raise InputError(
            f"{opened.path}: {CALLED}, but its actor_mean is not a chain of layers; name them with `layers`"
        )
    return Plan(
        called=CALLED,
        part="actor",
        tree=tree,
        layers=tuple(layers),
        activation="tanh",
        ending=lambda _: Ending(head=Identity()),
        notes=(_OWN, _NORMALIZED),
    )


def _squashed(opened: Opened, tree: Tree) -> Plan:
    """Return the plan for SAC, TD3 and DDPG, whose action is tanh(mean) * action_scale + action_bias."""
    last = next((name for name in ("fc_mean", "fc_mu") if f"{name}.weight" in tree), None)
    numbers = sorted(int(name[2:]) for name in tree.matrices if name.startswith("fc") and name[2:].isdigit())
    layers = [f"fc{number}" for number in numbers]
    spread = {"fc_logstd"} if last == "fc_mean" else set()
    if last is None or {*layers, last} != set(tree.matrices) - spread or numbers != list(range(1, len(numbers) + 1)):
        raise InputError(
            f"{opened.path}: {CALLED}, but its actor is not fc1, fc2, fc_mean; name its layers with `layers`"
        )
    try:
        scale, shift = (as_floats(tree.vector(name)) for name in ("action_scale", "action_bias"))
    except InputError as error:
        raise InputError(f"{opened.path}: {error}") from error

    def ending(outputs: int) -> Ending:
        if scale.shape not in ((1,), (outputs,)) or shift.shape != scale.shape:
            raise InputError("its action_scale and action_bias are not as many as its actions")
        return Ending(head=TanhToBounds(low=_all(shift - scale, outputs), high=_all(shift + scale, outputs)))

    return Plan(
        called=CALLED,
        part="actor",
        tree=tree,
        layers=(*layers, last),
        activation="relu",
        ending=ending,
        notes=(_OWN,),
    )


def _all(values: Array, outputs: int) -> tuple[float, ...]:
    return tuple(float(value) for value in values) * (outputs if len(values) == 1 else 1)


READER = Reader(name="cleanrl", called="models of CleanRL", recognises=_recognised, read=_read, options=OPTIONS)
