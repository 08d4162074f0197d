"""The program: an actor as a short list of tensor ops, from which ONNX and C are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from prunekit.activations import Activation
from prunekit.errors import CouplingError, InputError
from prunekit.graph.op import Spec
from prunekit.policy.actor import Actor
from prunekit.policy.heads import Head, op_of_head
from prunekit.pruning.slices import linear_at
from prunekit.pruning.tracing import AffineStep, Elementwise, Input, Output, trace

Float32 = NDArray[np.float32]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Normalize:
    """clip((x - mean) * scale, -clip, clip); mean and scale float32 [obs]."""

    mean: Float32
    scale: Float32
    clip: float


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Affine:
    """x @ weight.T + bias; weight float32 [out, in] (row-major, as in torch), bias float32 [out]."""

    weight: Float32
    bias: Float32


@final
@dataclass(frozen=True)
class Activate:
    """An element-wise activation."""

    activation: Activation


Op = Normalize | Affine | Activate


@final
@dataclass(frozen=True, kw_only=True)
class Program:
    """Ops from the raw observation [batch, inputs] to the outputs [batch, outputs], followed by the head."""

    ops: tuple[Op, ...]
    head: Head

    @property
    def layers(self) -> tuple[Affine, ...]:
        """The linear layers in order."""
        return tuple(op for op in self.ops if isinstance(op, Affine))

    @property
    def inputs(self) -> int:
        """The width of an observation."""
        return int(self.layers[0].weight.shape[1])

    @property
    def outputs(self) -> int:
        """The number of outputs."""
        return int(self.layers[-1].weight.shape[0])

    @property
    def hidden(self) -> tuple[int, ...]:
        """Hidden units per layer."""
        return tuple(layer.weight.shape[0] for layer in self.layers[:-1])

    @property
    def units(self) -> int:
        """The number of hidden units."""
        return sum(self.hidden)

    @property
    def parameters(self) -> int:
        """Stored weights and biases, without the normalizer's constants."""
        return sum(layer.weight.size + layer.bias.size for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the linear layers for one observation."""
        return sum(layer.weight.size for layer in self.layers)

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights and biases in float32."""
        return 4 * self.parameters


def lower(actor: Actor) -> Program:
    """Return ``actor`` as a program of float32 constants.

    If the network returns several values, only the path to the first (its outputs) is included.

    Raises CouplingError for a network that is not a chain of linear layers and known activations, and InputError for
    weights that are NaN or infinite and for widths that do not fit together.
    """
    ops: list[Op] = []
    if actor.normalizer is not None:
        normalizer = actor.normalizer
        ops.append(
            Normalize(
                mean=_constant(normalizer.mean, "mean"),
                scale=_constant(normalizer.scale, "scale"),
                clip=normalizer.clip,
            )
        )
    for step in outputs_path(actor.network):
        if isinstance(step, AffineStep):
            linear = linear_at(actor.network, step.path)
            weight = _constant(linear.weight, f"{step.path}.weight")
            bias = np.zeros(weight.shape[0], np.float32)
            if linear.bias is not None:
                bias = _constant(linear.bias, f"{step.path}.bias")
            ops.append(Affine(weight=weight, bias=bias))
        elif step.activation.name != "identity":
            ops.append(Activate(step.activation))
    program = Program(ops=tuple(ops), head=actor.head)
    _check_widths(program)
    return program


def _check_widths(program: Program) -> None:
    width = program.inputs
    for op in program.ops:
        match op:
            case Normalize():
                if op.mean.shape != (width,) or op.scale.shape != (width,):
                    raise InputError(f"the normalizer is {op.mean.shape} wide, but observations have {width} values")
            case Affine():
                if op.weight.ndim != 2 or op.weight.shape[1] != width or op.bias.shape != (op.weight.shape[0],):
                    raise InputError(
                        f"a layer of weight {op.weight.shape} and bias {op.bias.shape} cannot read {width} values"
                    )
                width = op.weight.shape[0]
            case Activate():
                pass
    try:
        op_of_head(program.head).shapes([Spec((width,))])
    except InputError as error:
        raise InputError(f"the head does not fit the network's {width} outputs: {error}") from error


def outputs_path(network: nn.Module) -> tuple[AffineStep | Elementwise, ...]:
    """Return the steps from the network's input to its (first) output, in order of execution.

    Raises CouplingError, naming the step, if the path is not a chain of linear layers and activations.
    """
    steps = {step.name: step for step in trace(network)}
    output = next(step for step in steps.values() if isinstance(step, Output))
    path: list[AffineStep | Elementwise] = []
    step = steps[output.sources[0]]
    while not isinstance(step, Input):
        if not isinstance(step, AffineStep | Elementwise):
            label = getattr(step, "label", step.name)
            raise CouplingError(
                f"{label} is not known; only Linear layers and element-wise activations can be exported"
            )
        path.append(step)
        step = steps[step.source]
    if not any(isinstance(step, AffineStep) for step in path):
        raise CouplingError(f"{type(network).__name__} has no Linear layer between its input and its output")
    return tuple(reversed(path))


def _constant(tensor: Tensor, name: str) -> Float32:
    values = tensor.detach().cpu().numpy().astype(np.float32)
    if not np.isfinite(values).all():
        raise InputError(f"'{name}' holds NaN or infinite values; the policy is broken and cannot be used")
    return np.ascontiguousarray(values)
