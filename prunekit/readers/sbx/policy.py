"""The policy in a zip of SBX: flax layers in the order in which SBX's own networks use them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np

from prunekit.errors import InputError
from prunekit.formats.text import shown
from prunekit.graph.op import Array, Op
from prunekit.ops.affine import Affine
from prunekit.ops.layer_norm import LayerNorm
from prunekit.readers.sb3.contents import Contents, quoted
from prunekit.readers.sb3.layers import Norm, difference_of_pairs, folded
from prunekit.readers.sb3.observations import observed_as_it_is
from prunekit.readers.sb3.policy import Residual, ZipPolicy
from prunekit.readers.sb3.spaces import BOX, DISCRETE, MULTI_BINARY, MULTI_DISCRETE, class_of
from prunekit.readers.sbx.activation import activation_of
from prunekit.readers.sbx.states import State, state_of
from prunekit.readers.weights.words import activation_named

_BATCH_EPSILON, _LAYER_EPSILON = 1e-3, 1e-6
"""Those of SBX's BatchRenorm and of flax's LayerNorm, neither of which SBX gives others."""


@final
@dataclass(frozen=True, kw_only=True)
class _Layout:
    """A kind of policy: the attributes of its network and training state, and the classes that can be read.

    ``spread`` means that a second layer with the width of the mean follows, which gives the standard deviation.
    """

    algorithm: str
    actions: tuple[str, ...]
    networks: tuple[str, ...]
    network: str = "actor"
    place: str = "actor_state"
    squashed: bool = False
    spread: bool = False
    simba: tuple[str, ...] = field(default=())


_GAUSSIAN = ("sbx.common.policies.SquashedGaussianActor", "sbx.sac.policies.Actor", "sbx.tqc.policies.Actor")
_SIMBA = ("sbx.common.policies.SimbaSquashedGaussianActor",)
_LAYOUTS = {
    "sbx.ppo.policies": _Layout(
        algorithm="PPO", actions=(DISCRETE, BOX, MULTI_DISCRETE, MULTI_BINARY), networks=("sbx.ppo.policies.Actor",)
    ),
    "sbx.sac.policies": _Layout(
        algorithm="SAC", actions=(BOX,), networks=_GAUSSIAN, squashed=True, spread=True, simba=_SIMBA
    ),
    "sbx.tqc.policies": _Layout(
        algorithm="TQC", actions=(BOX,), networks=_GAUSSIAN, squashed=True, spread=True, simba=_SIMBA
    ),
    "sbx.crossq.policies": _Layout(
        algorithm="CrossQ",
        actions=(BOX,),
        networks=("sbx.crossq.policies.Actor",),
        squashed=True,
        spread=True,
        simba=("sbx.crossq.policies.SimbaActor",),
    ),
    "sbx.td3.policies": _Layout(
        algorithm="TD3 or DDPG", actions=(BOX,), networks=("sbx.td3.policies.Actor",), squashed=True
    ),
    "sbx.dqn.policies": _Layout(
        algorithm="DQN",
        actions=(DISCRETE,),
        networks=("sbx.dqn.policies.QNetwork",),
        network="qf",
        place="qf_state",
    ),
}


def policy_of_arrays(activation: str | None = None) -> Callable[[Contents], ZipPolicy]:
    """Return a function that reads the policy in an SBX zip; ``activation`` is used if the file does not name it."""
    return lambda contents: _policy(contents, activation)


def is_of_sbx(module: object) -> bool:
    """Return whether the ``module`` of a policy's class belongs to SBX."""
    return isinstance(module, str) and module.startswith("sbx.")


def _policy(contents: Contents, said: str | None) -> ZipPolicy:
    module = contents.section("policy_class").get("__module__")
    layout = _LAYOUTS.get(module) if isinstance(module, str) else None
    if layout is None:
        raise InputError(
            f"its policy's class is from {quoted(module)}; only the stock policies of SBX (PPO, SAC, TQC, CrossQ, TD3, "
            "DDPG, DQN) are read"
        )
    seen = observed_as_it_is(contents.section("observation_space"))
    action = contents.section("action_space")
    kind = class_of(action)
    if kind not in layout.actions:
        raise InputError(f"{layout.algorithm} with actions of type {kind} is not supported")
    if kind == DISCRETE and str(action.get("start", 0)) != "0":
        raise InputError("its actions do not start at 0, which SBX cannot give")
    state = state_of(contents, layout.network, layout.place)
    if state.network not in (*layout.networks, *layout.simba):
        raise InputError(f"its network is a {shown(state.network, 80)}; only SBX's own over vectors are read")
    act = activation_of(state.activation) if said is None else activation_named(said)
    if layout.network == "actor" and layout.algorithm == "PPO" and (kind == BOX) != ("log_std" in state.weights):
        raise InputError("its action space and its weights do not fit together")
    layers = _Layers(state, ("log_std",) if layout.algorithm == "PPO" else ())
    ops = (layers.simba if state.network in layout.simba else layers.chain)(act, spread=layout.spread)
    layers.require_all_taken()
    last = ops[-1]
    assert isinstance(last, Affine)
    if kind == MULTI_BINARY:
        last = ops[-1] = difference_of_pairs(last)
    version = "" if contents.version is None else f" with Stable-Baselines3 {contents.version}"
    return ZipPolicy(
        library=f"SBX{version}",
        algorithm=layout.algorithm,
        observed=seen,
        ops=tuple(ops),
        outputs=len(last.bias),
        squashed=layout.squashed,
        notes=("gSDE: the mean action",) if contents.data.get("use_sde") else (),
    )


@final
class _Layers:
    """The layers of a network by flax's names (``Dense_0``, ``BatchRenorm_0``, ...), each taken once."""

    def __init__(self, state: State, beside: Sequence[str]) -> None:
        self.state = state
        self.left = {*state.weights.arrays} - {*beside}

    def chain(self, act: Op | None, *, spread: bool) -> list[Op | Residual]:
        """Return the layers, with activations between them, and norms before them if there are any."""
        count = len(self.state.weights.matrices) - 1 - spread
        if count < 0:
            raise InputError("its network has no layers; save the model again")
        normed = self.state.batch_norm
        found: list[Op | Norm] = []
        for index in range(count + 1):
            found += [self.norm(f"BatchRenorm_{index}")] if normed else []
            found.append(self.dense(f"Dense_{index}"))
            found += [act] if act is not None and index < count else []
        if spread:
            self.spread(f"Dense_{count + 1}", found[-1])
        if not normed:  # it exists but has no effect
            self.left -= {f"BatchRenorm_0.{name}" for name in ("scale", "bias")}
        return [*folded(found)]

    def simba(self, act: Op | None, *, spread: bool) -> list[Op | Residual]:
        """Return SimBa's residual blocks: first a layer, then the blocks, then a norm and a layer
        (arXiv:2410.09754).
        """
        batch = any(name.startswith("BatchRenorm_") for name in self.state.weights.arrays)
        norm, last = (self.norm, "BatchRenorm_1") if batch else (self.layer_norm, "LayerNorm_0")
        kind = last.split("_")[0]
        before = [self.norm("BatchRenorm_0")] if batch else []
        found: list[Op | Residual] = [*folded([*before, self.dense("Dense_0")])]
        blocks = {name.split(".")[0] for name in self.left if name.startswith("SimbaResidualBlock_")}
        for index in range(len(blocks)):
            inside = f"SimbaResidualBlock_{index}"
            first, second = (self.dense(f"{inside}.Dense_{at}") for at in range(2))
            between = [act] if act is not None else []
            found.append(Residual(ops=tuple(folded([norm(f"{inside}.{kind}_0"), first, *between, second]))))
        mean = self.dense("Dense_1")
        if spread:
            self.spread("Dense_2", mean)
        return [*found, *folded([norm(last), mean])]

    def dense(self, name: str) -> Affine:
        """Return a fully connected layer; flax stores its weights as [inputs, outputs]."""
        kernel, bias = self._take(f"{name}.kernel"), self._take(f"{name}.bias")
        if kernel.ndim != 2 or bias.shape != kernel.shape[1:] or not kernel.size:
            raise InputError(f"its layer '{name}' has weights {list(kernel.shape)} and biases {list(bias.shape)}")
        return Affine(weight=np.ascontiguousarray(kernel.T), bias=bias)

    def spread(self, name: str, mean: object) -> None:
        """Skip the layer of the standard deviation, which has the width of ``mean`` and is not deployed."""
        layer = self.dense(name)
        if not isinstance(mean, Affine) or layer.weight.shape != mean.weight.shape:
            raise InputError("the layers of its mean and of its spread differ in their sizes")

    def norm(self, name: str) -> Norm:
        """Return a BatchRenorm with its running statistics."""
        scale, bias = (self._vector(self._take(f"{name}.{kind}")) for kind in ("scale", "bias"))
        mean, variance = (self._vector(self.state.statistics.float32(f"{name}.{kind}")) for kind in ("mean", "var"))
        if len({len(values) for values in (scale, bias, mean, variance)}) != 1:
            raise InputError(f"its layer '{name}' has vectors of different lengths")
        with np.errstate(all="ignore"):  # broken statistics give NaN or infinity, which no graph accepts
            factor = scale / np.sqrt(variance + _BATCH_EPSILON)
            return Norm(scale=factor, shift=bias - mean * factor)

    def layer_norm(self, name: str) -> LayerNorm:
        """Return a LayerNorm."""
        scale, bias = (self._take(f"{name}.{kind}") for kind in ("scale", "bias"))
        if scale.ndim != 1 or scale.shape != bias.shape or not scale.size:
            raise InputError(f"its layer '{name}' has weights of shape {list(scale.shape)}")
        return LayerNorm(scale=scale, shift=bias, epsilon=_LAYER_EPSILON, count=len(scale))

    def require_all_taken(self) -> None:
        """Raise InputError if arrays are left that no stock network has."""
        if self.left:
            raise InputError(f"its network holds {quoted(min(self.left))}, unlike that of a stock policy of SBX")

    def _take(self, name: str) -> Array:
        if name not in self.left:
            raise InputError(f"its network lacks {quoted(name)}, unlike that of a stock policy of SBX")
        self.left.remove(name)
        return self.state.weights.float32(name)

    def _vector(self, values: Array) -> Array:
        if values.ndim != 1 or not values.size:
            raise InputError("its norms hold arrays that are not vectors")
        return values.astype(np.float64)
