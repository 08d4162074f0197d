"""Generated torch networks with residual sums, norms, gates and branches, for the laws of training.

Every network comes with where its units lie and with gates on them, both written down as it is built, so that a test
need not believe ``find_groups``. A gated unit is zero wherever it is carried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from law_strategies import ROWS, fill_, seeded, seeds
from torch import Tensor, nn

ZERO_AT_ZERO = (nn.Tanh, nn.ReLU, nn.ELU, nn.SiLU, nn.GELU, nn.Softsign, nn.Hardtanh)
ANY = (*ZERO_AT_ZERO, nn.Sigmoid, nn.Softplus)
NORMS = {"layer": nn.LayerNorm, "rms": nn.RMSNorm, "batch": nn.BatchNorm1d, "none": nn.Identity}
COUNTED = ("layer", "rms")

Gates = Mapping[str, Tensor]
Where = tuple[str, int, int]
"""Path of a parameter, axis, and where the units begin on it."""


class Block(nn.Module):
    """One step of ``Branched``: (stream, observation) to stream."""

    kind: str
    stream: str
    inner: tuple[str, ...]

    def __init__(self, kind: str, width: int, inputs: int, made: int, norm: str, acts: list[type[nn.Module]]) -> None:
        super().__init__()
        self.kind = kind
        self.norm = NORMS[norm](width)
        self.act = acts[0]()
        if kind == "residual":
            self.up, self.down = nn.Linear(width, made), nn.Linear(made, width, bias=False)
        elif kind == "gate":
            self.gate = nn.Linear(width, width)
        elif kind == "beside":
            self.layer = nn.Linear(width + inputs, made)
        elif kind == "branches":
            self.left, self.right, self.other = nn.Linear(width, made), nn.Linear(width, 3), acts[1]()
            self.layer = nn.Linear(made + 3, made)
        elif kind == "slopes":
            self.slope = nn.PReLU(width)

    def forward(self, x: Tensor, obs: Tensor) -> Tensor:
        read = self.norm(x)
        if self.kind == "residual":
            return x + self.down(self.act(self.up(read)))
        if self.kind == "gate":
            return x * torch.sigmoid(self.gate(read))
        if self.kind == "beside":
            return torch.tanh(self.layer(torch.cat([read, obs], dim=-1)))
        if self.kind == "branches":
            both = torch.cat([self.act(self.left(read)), self.other(self.right(read))], dim=-1)
            return torch.tanh(self.layer(both))
        return self.slope(read) if self.kind == "slopes" else self.act(read)

    def gated(self, x: Tensor, obs: Tensor, here: str, gates: Gates, stream: str) -> Tensor:
        """Do the same with gates: ``stream`` names the units that come in, ``here`` is the block's own path."""
        read = self.norm(x) * gates[stream]
        if self.kind == "residual":
            return x + self.down(self.act(self.up(read)) * gates[f"{here}.up"]) * gates[stream]
        if self.kind == "gate":
            return x * torch.sigmoid(self.gate(read))
        if self.kind == "beside":
            return torch.tanh(self.layer(torch.cat([read, obs], dim=-1))) * gates[f"{here}.layer"]
        if self.kind == "branches":
            left = self.act(self.left(read)) * gates[f"{here}.left"]
            right = self.other(self.right(read)) * gates[f"{here}.right"]
            return torch.tanh(self.layer(torch.cat([left, right], dim=-1))) * gates[f"{here}.layer"]
        return (self.slope(read) if self.kind == "slopes" else self.act(read)) * gates[stream]


class Branched(nn.Module):
    """A layer, blocks, and two heads."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.enter, self.blocks = nn.Linear(inputs, width), nn.ModuleList()
        self.mean = self.log_std = nn.Identity()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        stream = self.enter(x)
        for block in self.blocks:
            stream = block(stream, x)
        return self.mean(stream), self.log_std(stream)


@dataclass(frozen=True, kw_only=True)
class Built:
    """A network, where the units of each group lie in its parameters, and the widths."""

    network: Branched
    where: dict[str, tuple[Where, ...]]
    widths: dict[str, int]
    inputs: int
    counted: bool

    def gated(self, network: nn.Module, x: Tensor, gates: Gates) -> tuple[Tensor, Tensor]:
        """Run ``network``, which is shaped like this one, with ``gates`` [width] on its units."""
        assert isinstance(network, Branched)
        name = "enter"
        stream = network.enter(x) * gates[name]
        for index, block in enumerate(network.blocks):
            assert isinstance(block, Block)
            stream = block.gated(stream, x, f"blocks.{index}", gates, name)
            if block.kind in ("beside", "branches"):
                name = f"blocks.{index}.layer"
        return network.mean(stream), network.log_std(stream)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network with masks of which each removes and keeps at least one unit, and inputs [rows, inputs]."""

    built: Built
    masks: dict[str, Tensor]
    inputs: Tensor = field(repr=False)


@st.composite
def branched(draw: DrawFn, dtype: torch.dtype = torch.float64, *, counted: bool | None = None) -> Built:
    """Draw a network; ``counted`` says whether it has a norm over all units (None: maybe)."""
    inputs, width = draw(st.integers(1, 4)), draw(st.integers(2, 7))
    network = Branched(inputs, width)
    stream, widths = "enter", {"enter": width}
    where: dict[str, list[Where]] = {"enter": [("enter.weight", 0, 0), ("enter.bias", 0, 0)]}
    norms = [name for name in NORMS if counted is not False or name not in COUNTED]
    has_counted = False
    for index in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["residual", "residual", "gate", "beside", "branches", "slopes", "plain"]))
        norm = draw(st.sampled_from(list(COUNTED) if counted and not has_counted else norms))
        has_counted |= norm in COUNTED
        made = draw(st.integers(2, 7))
        plain = kind == "plain"  # what stays in the stream may come before a norm
        acts = [draw(st.sampled_from(ZERO_AT_ZERO if plain else ANY)) for _ in range(2)]
        network.blocks.append(Block(kind, widths[stream], inputs, made, norm, acts))
        here = f"blocks.{index}"
        for attribute in {"layer": ("weight", "bias"), "rms": ("weight",), "batch": ("weight", "bias")}.get(norm, ()):
            where[stream].append((f"{here}.norm.{attribute}", 0, 0))
        if kind == "residual":
            where[stream] += [(f"{here}.up.weight", 1, 0), (f"{here}.down.weight", 0, 0)]
            where[f"{here}.up"] = [
                (f"{here}.up.weight", 0, 0),
                (f"{here}.up.bias", 0, 0),
                (f"{here}.down.weight", 1, 0),
            ]
            widths[f"{here}.up"] = made
        elif kind == "gate":
            where[stream] += [(f"{here}.gate.weight", axis, 0) for axis in (0, 1)] + [(f"{here}.gate.bias", 0, 0)]
        elif kind == "slopes":
            where[stream].append((f"{here}.slope.weight", 0, 0))
        elif kind == "beside":
            where[stream].append((f"{here}.layer.weight", 1, 0))
        elif kind == "branches":
            for name, size, start in (("left", made, 0), ("right", 3, made)):
                where[stream].append((f"{here}.{name}.weight", 1, 0))
                rows = [(f"{here}.{name}.weight", 0, 0), (f"{here}.{name}.bias", 0, 0)]
                where[f"{here}.{name}"], widths[f"{here}.{name}"] = [*rows, (f"{here}.layer.weight", 1, start)], size
        if kind in ("beside", "branches"):
            stream = f"{here}.layer"
            where[stream], widths[stream] = [(f"{here}.layer.weight", 0, 0), (f"{here}.layer.bias", 0, 0)], made
    network.mean, network.log_std = nn.Linear(widths[stream], 2), nn.Linear(widths[stream], 2, bias=False)
    where[stream] += [("mean.weight", 1, 0), ("log_std.weight", 1, 0)]
    fill_(network.to(dtype), draw(seeds()))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.normal_(generator=seeded(3))  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2.0, generator=seeded(4))  # type: ignore[union-attr]
    found = {name: tuple(places) for name, places in where.items()}
    return Built(network=network.eval(), where=found, widths=widths, inputs=inputs, counted=has_counted)


@st.composite
def branched_cases(draw: DrawFn, dtype: torch.dtype = torch.float64) -> Case:
    built = draw(branched(dtype))
    masks = {}
    for name, width in built.widths.items():
        masks[name] = torch.ones(width, dtype=torch.bool)
        masks[name][sorted(draw(st.sets(st.integers(0, width - 1), min_size=1, max_size=width - 1)))] = False
    return Case(
        built=built, masks=masks, inputs=torch.randn(ROWS, built.inputs, generator=seeded(draw(seeds())), dtype=dtype)
    )
