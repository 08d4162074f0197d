"""Generated networks, masks, actors and observations for the tests of the laws.

Every generated network comes with its coupling, known from how it was built, so that a test need not believe
``find_groups``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from numpy.typing import NDArray
from torch import Tensor, nn

from prunekit.activations import KINDS, Activation
from prunekit.policy.actor import Actor, Normalizer
from prunekit.policy.heads import ArgmaxHead, ClipHead, Head, TanhHead

METHODS = sorted({name for kind in KINDS.values() for name in kind.functions if isinstance(name, str)})
ROWS = 8


@dataclass(frozen=True, kw_only=True)
class Built:
    """A network, and per hidden layer (by path) the paths of the layers that read it."""

    network: nn.Module
    coupling: dict[str, tuple[str, ...]]
    inputs: int
    outputs: int


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network with masks of which each removes and keeps at least one unit, and inputs [rows, inputs]."""

    network: nn.Module
    coupling: dict[str, tuple[str, ...]]
    masks: dict[str, Tensor]
    inputs: Tensor = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """An actor and raw observations float32 [rows, inputs] for it."""

    actor: Actor
    observations: NDArray[np.float32] = field(repr=False)


class TwoHeads(nn.Module):
    """One trunk under two heads, as SAC's actor has it; the second head is clamped."""

    def __init__(self, trunk: nn.Sequential, mean: nn.Linear, log_std: nn.Linear) -> None:
        super().__init__()
        self.trunk, self.mean, self.log_std = trunk, mean, log_std

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.trunk(x)
        return self.mean(hidden), self.log_std(hidden).clamp(-20.0, 2.0)


class Methodical(nn.Module):
    """Layers with tensor methods between them, spelled in ``forward``."""

    def __init__(self, layers: Sequence[nn.Linear], methods: Sequence[str]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.methods = tuple(methods)

    def forward(self, x: Tensor) -> Tensor:
        for layer, method in zip(self.layers, self.methods, strict=False):
            x = getattr(layer(x), method)()
        return self.layers[-1](x)  # type: ignore[no-any-return]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tensors_of(output: Any) -> tuple[Tensor, ...]:
    return tuple(output) if isinstance(output, tuple) else (output,)


def seeds() -> SearchStrategy[int]:
    return st.integers(0, 2**16)


@st.composite
def activations(draw: DrawFn) -> Activation:
    kind = KINDS[draw(st.sampled_from(sorted(KINDS)))]
    parameter = draw(st.sampled_from([kind.default, 0.3])) if kind.attribute else kind.default
    return Activation(name=kind.name, parameter=parameter)


@st.composite
def networks(draw: DrawFn, dtype: torch.dtype = torch.float32, *, plain_end: bool = False) -> Built:
    """Draw a network; with ``plain_end`` no activation follows its last layer."""
    widths = [draw(st.integers(1, 6)), *draw(st.lists(st.integers(2, 10), min_size=1, max_size=3))]
    outputs = draw(st.integers(1, 4))
    linears = [
        nn.Linear(before, after, bias=draw(st.booleans()))
        for before, after in zip(widths, [*widths[1:], outputs], strict=True)
    ]
    build = draw(st.sampled_from([_chain, _two_heads, _methodical]))
    network, coupling = build(draw, linears, plain_end)
    fill_(network.to(dtype), draw(seeds()))
    return Built(network=network, coupling=coupling, inputs=widths[0], outputs=outputs)


@st.composite
def cases(draw: DrawFn, dtype: torch.dtype = torch.float32) -> Case:
    built = draw(networks(dtype))
    network = built.network
    masks = {}
    for name in built.coupling:
        producer = network.get_submodule(name)
        assert isinstance(producer, nn.Linear)
        units = st.integers(0, producer.out_features - 1)
        with torch.no_grad():
            producer.weight[sorted(draw(st.sets(units)))] = 0.0
        masks[name] = torch.ones(producer.out_features, dtype=torch.bool)
        masks[name][sorted(draw(st.sets(units, min_size=1, max_size=producer.out_features - 1)))] = False
    spread = draw(st.sampled_from([0.1, 1.0, 5.0]))
    inputs = spread * torch.randn(ROWS, built.inputs, generator=seeded(draw(seeds())), dtype=dtype)
    return Case(network=network, coupling=built.coupling, masks=masks, inputs=inputs)


@st.composite
def deployed(draw: DrawFn, *, plain_end: bool = False) -> Deployed:
    built = draw(networks(plain_end=plain_end))
    generator = np.random.default_rng(draw(seeds()))
    observations = generator.standard_normal((4 * ROWS, built.inputs))
    normalizer = None
    if draw(st.booleans()):
        clip = draw(st.sampled_from([1.0, 5.0, 10.0]))
        mean = generator.uniform(-50.0, 50.0, built.inputs)
        scale = 10.0 ** generator.uniform(-2.0, 2.0, built.inputs)
        normalizer = Normalizer(mean.tolist(), scale.tolist(), clip)
        observations[:ROWS] *= 100.0 * clip
        observations = mean + observations / scale
    head = draw(heads(built.outputs))
    return Deployed(actor=Actor(built.network, head, normalizer), observations=observations.astype(np.float32))


def heads(outputs: int) -> SearchStrategy[Head]:
    argmax = st.builds(ArgmaxHead, st.sampled_from([0, 0, -1, 3]))
    free, half, finite = (-math.inf, math.inf), (-math.inf, 0.25), (-1.0, 1.0)
    clip = _bounded(ClipHead, outputs, [free, half, finite, (-0.5, math.inf), (-2.0, 0.125)])
    tanh = _bounded(TanhHead, outputs, [finite, (-2.0, 0.125), (0.5, 3.0)])
    return argmax | clip | tanh


@torch.no_grad()
def fill_(network: nn.Module, seed: int) -> None:
    generator = seeded(seed)
    for parameter in network.parameters():
        fan_in = parameter.shape[1] if parameter.ndim == 2 else 1
        parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) / fan_in**0.5)


def _bounded(kind: Callable[..., Head], outputs: int, choices: Sequence[tuple[float, float]]) -> SearchStrategy[Head]:
    same = st.sampled_from(choices).map(lambda pair: [pair] * outputs)
    differing = st.lists(st.sampled_from(choices), min_size=outputs, max_size=outputs)
    return (same | differing).map(
        lambda pairs: kind(low=tuple(low for low, _ in pairs), high=tuple(high for _, high in pairs))
    )


Coupled = tuple[nn.Module, dict[str, tuple[str, ...]]]


def _chain(draw: DrawFn, linears: Sequence[nn.Linear], plain_end: bool) -> Coupled:
    modules: list[nn.Module] = []
    for linear in linears:
        modules += [linear, draw(activations()).to_module()]
    if plain_end or draw(st.booleans()):
        modules.pop()
    return nn.Sequential(*modules), {str(2 * i): (str(2 * i + 2),) for i in range(len(linears) - 1)}


def _two_heads(draw: DrawFn, linears: Sequence[nn.Linear], plain_end: bool) -> Coupled:
    trunk, coupling = _chain(draw, linears[:-1], plain_end=True)
    last = linears[-1]
    coupling = {f"trunk.{name}": tuple(f"trunk.{path}" for path in paths) for name, paths in coupling.items()}
    coupling[f"trunk.{2 * len(linears) - 4}"] = ("mean", "log_std")
    other = nn.Linear(last.in_features, last.out_features, bias=draw(st.booleans()))
    modules = nn.Sequential(*trunk.children(), draw(activations()).to_module())
    return TwoHeads(modules, last, other), coupling


def _methodical(draw: DrawFn, linears: Sequence[nn.Linear], plain_end: bool) -> Coupled:
    hidden = len(linears) - 1
    methods = draw(st.lists(st.sampled_from(METHODS), min_size=hidden, max_size=hidden))
    return Methodical(linears, methods), {f"layers.{i}": (f"layers.{i + 1}",) for i in range(hidden)}
