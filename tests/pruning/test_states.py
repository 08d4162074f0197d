"""Networks with a state: units of a recurrent cell are masked and removed losslessly, over whole sequences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from prunekit.errors import CouplingError, InputError
from prunekit.pruning.groups import find_groups
from prunekit.pruning.masks import masked
from prunekit.pruning.plan import PruningPlan
from prunekit.pruning.pruner import Pruner
from prunekit.pruning.schedules import Sparsity
from prunekit.pruning.surgery import shrink


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enter, self.cell, self.norm = nn.Linear(3, 6), nn.GRUCell(6, 5), nn.LayerNorm(5)
        self.leave = nn.Linear(5, 2)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = self.cell(torch.tanh(self.enter(x)), state)
        return self.leave(self.norm(state)), state


class Forgetful(Recurrent):
    def forward(self, x: Tensor, state: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x, state)[0]


def network() -> Recurrent:
    torch.manual_seed(0)
    return Recurrent().double()


MASKS = {
    "enter": torch.tensor([True, False, True, True, False, True]),
    "cell": torch.tensor([False, True, True, False, True]),
}


@torch.no_grad()
def run(network: nn.Module, width: int, gate: Tensor | None = None, inner: Tensor | None = None) -> Tensor:
    state, found = torch.zeros(4, width, dtype=torch.float64), []
    handles = []
    if gate is not None and inner is not None:  # the definition: units are zero wherever they are carried
        handles.append(network.get_submodule("enter").register_forward_hook(lambda *given: given[2] * inner))
        cells = (network.get_submodule(name) for name in ("cell", "norm"))
        handles += [cell.register_forward_hook(lambda *given: given[2] * gate) for cell in cells]
    for x in torch.randn(20, 4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64):
        output, state = network(x, state)
        found.append(output)
    for handle in handles:
        handle.remove()
    return torch.stack(found)


def test_three_gates_and_the_state_are_one_group() -> None:
    enter, cell = find_groups(network(), states=1)
    assert (enter.name, enter.width, cell.name, cell.width) == ("enter", 6, "cell", 5)
    gates = (range(5), range(5, 10), range(10, 15))
    assert {(entry.path, entry.axis): entry.blocks for entry in cell.slices} == {
        ("cell.weight_ih", 0): gates,
        ("cell.weight_hh", 0): gates,
        ("cell.weight_hh", 1): (range(5),),
        ("cell.bias_ih", 0): gates,
        ("cell.bias_hh", 0): gates,
        ("norm.weight", 0): (range(5),),
        ("norm.bias", 0): (range(5),),
        ("leave.weight", 1): (range(5),),
    }


def test_shrunk_equals_masked_equals_gated_over_a_sequence() -> None:
    whole = network()
    expected = run(whole, 5, MASKS["cell"].double(), MASKS["enter"].double())
    assert float((run(whole, 5) - expected).abs().max()) > 1e-2
    torch.testing.assert_close(run(masked(whole, MASKS, states=1), 5), expected, rtol=0.0, atol=1e-12)
    small = shrink(whole, MASKS, states=1)
    torch.testing.assert_close(run(small, 3), expected, rtol=0.0, atol=1e-12)
    assert (small.cell.input_size, small.cell.hidden_size) == (4, 3)
    assert [group.width for group in find_groups(small, states=1)] == [4, 3]


def test_what_is_no_state_is_refused() -> None:
    with pytest.raises(CouplingError, match=r"takes 2 inputs \(x, state\), not 1"):
        find_groups(network())
    with pytest.raises(CouplingError, match="has to return its 1 next states after its outputs"):
        find_groups(Forgetful(), states=1)
    whole = network()
    with pytest.raises(CouplingError, match="takes 2 inputs"):
        Pruner(whole, torch.optim.Adam(whole.parameters()), 10)
    with pytest.raises(InputError, match=r"cannot lose units while it trains.*live_shrink=False"):
        Pruner(whole, torch.optim.Adam(whole.parameters()), 10, states=1, live_shrink=True)
    half = PruningPlan(threshold=Sparsity(0.5))
    pruner = Pruner(whole, torch.optim.Adam(whole.parameters()), 10, half, states=1)
    with pytest.raises(InputError, match="cannot lose units while it trains"):
        pruner.shrink_()


@pytest.mark.parametrize("named", [False, True])
def test_a_loop_over_sequences_prunes_cells_and_shrinks_them_losslessly(named: bool) -> None:
    """A sum that is remembered is learned; dead units stay zero, and what is left does the same without them."""
    torch.manual_seed(2)
    whole = Recurrent()
    optimizer = torch.optim.Adam(whole.parameters(), 1e-2)
    plan = PruningPlan(threshold=Sparsity(0.5), strength=0.1, states=64)
    pruner = Pruner(whole, optimizer, 120, plan, states=1)
    for _ in range(120):
        loss, state, total = torch.zeros(()), torch.zeros(8, 5), torch.zeros(8, 2)
        for x in 0.3 * torch.randn(6, 8, 3):
            output, state = whole(x, state=state) if named else whole(x, state)
            total = total + x[:, :2]
            loss = loss + (output - total).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert pruner.frozen
    assert pruner.sparsity == pytest.approx(0.5, abs=0.1)
    masks = pruner.masks
    dead = ~masks["cell"]
    assert bool(dead.any())
    assert not whole.cell.weight_hh[:, dead].any()
    assert not whole.cell.weight_ih[dead.repeat(3)].any()
    assert not whole.leave.weight[:, dead].any()
    assert set(pruner.importance) == {"enter", "cell"}
    whole = whole.double()
    small = shrink(whole, masks, states=1)
    torch.testing.assert_close(run(small, int(masks["cell"].sum())), run(whole, 5), rtol=0.0, atol=1e-12)


class Sequences(nn.Module):
    def __init__(self, first: bool) -> None:
        super().__init__()
        self.enter, self.cells, self.leave = nn.Linear(3, 3), nn.GRU(3, 5), nn.Linear(5, 2)
        self.first = first

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        values, state = self.cells(torch.tanh(self.enter(x)) if self.first else x, state)
        return self.leave(values), state


def test_cells_without_an_op_are_refused_by_name() -> None:
    for first, match in (
        (True, r"'cells' \(GRU\) reads it, which is not supported"),
        (False, "nn.GRU and LSTMs have none"),
    ):
        whole = Sequences(first)
        with pytest.raises(CouplingError, match=match):
            Pruner(whole, torch.optim.Adam(whole.parameters()), 10, PruningPlan(threshold=Sparsity(0.5)), states=1)


def test_importance_counts_what_a_unit_does_through_the_state() -> None:
    """A unit that nothing reads but the cell itself, in its next step, is not worth nothing."""
    torch.manual_seed(0)
    whole = Through()
    with torch.no_grad():
        whole.leave.weight[:, 2] = 0.0  # read by the cell alone
        whole.leave.weight[:, 4] = 0.0
        whole.cell.weight_hh[:, 4] = 0.0  # read by nothing
        whole.cell.weight_ih[4::5] = whole.cell.weight_hh[4::5] = 0.0
        whole.cell.bias_ih[4::5] = whole.cell.bias_hh[4::5] = 0.0
        whole.cell.bias_ih[9] = -30.0  # its update gate is open, so that it forgets at once
    optimizer = torch.optim.SGD(whole.parameters(), 0.0)
    pruner = Pruner(whole, optimizer, 20, PruningPlan(threshold=Sparsity(0.2), states=32, compensate=False), states=1)
    for _ in range(20):
        _, state = whole(torch.randn(16, 3), torch.randn(16, 5))
        whole.leave(state).sum().backward()
        optimizer.step()
    scores = pruner.importance["cell"]
    assert scores[2] > 0.0
    assert scores[4] == scores.min()
    assert scores[2] > 10.0 * scores[4]


class Through(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.leave = nn.GRUCell(3, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = self.cell(x, state)
        return self.leave(state), state
