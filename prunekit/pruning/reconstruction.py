"""Reconstruction: once units have died, all that is left of a network is fitted to the outputs that it had before.

Compensation changes one layer at a time, by least squares on the values of the units. That suffices while a network is
wide. In a narrow one, the outputs still move a great deal. So all parameters that are left are fitted together, on
recent inputs s, by damped Gauss-Newton steps:

    minimise  E_s sum_k ( (f'_k(s) - f_k(s)) / sigma_k )^2 / 2

*f* are the outputs before the removal, *f'* those after it, and *sigma_k* is the standard deviation of f_k over the
inputs. Sources: reconstruction after pruning is that of ThiNet (Luo et al. 2017), here of the outputs rather than layer
by layer; the steps are those of Levenberg (1944) and Marquardt (1963).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.func import functional_call

from prunekit.errors import InputError
from prunekit.optim.fisher import MAX_PARAMETERS, fisher_matrix
from prunekit.optim.gauss_newton import fit_gauss_newton
from prunekit.pruning.groups import state_units, traced_groups
from prunekit.pruning.importance_tracker import evaluating
from prunekit.pruning.masks import full_masks
from prunekit.pruning.physical import copy_of, living_view
from prunekit.pruning.recent import living_states
from prunekit.spaces.curvature import Normals

# The curvature uses at most so many output values; the loss uses all.
_MAX_OUTPUTS = 4_096
# The fit needs so many values of outputs per parameter, or it would describe these inputs only.
_VALUES_EACH = 4
# Of the largest standard deviation of an output: one that hardly varies must not outweigh all others.
_MIN_DEVIATION = 1e-2


@final
@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """Fits networks to what they did before units died, in ``iterations`` steps.

    ``outputs_of`` picks the outputs [n, k] from a network's result.
    """

    iterations: int
    outputs_of: Callable[[object], Tensor]

    def outputs(self, network: nn.Module, inputs: Tensor, widths: Sequence[int]) -> Tensor:
        """Return the outputs [n, k] of ``network`` on ``inputs`` [n, ...], split into arguments of ``widths``, if
        given.
        """
        with torch.no_grad(), evaluating(network):
            return _Fitted(network, (), self.outputs_of, widths)(inputs)  # type: ignore[no-any-return]

    def fit_(
        self,
        network: nn.Module,
        names: Iterable[str],
        inputs: Tensor,
        widths: Sequence[int],
        wanted: Tensor,
        *,
        seed: int,
    ) -> None:
        """Fit the parameters ``names`` of ``network``, so that ``outputs`` come close to ``wanted`` [n, k].

        The mean squared error of the outputs never grows, each relative to its standard deviation over the inputs; a
        divergence may. ``network`` must share its parameters with no other. Parameters on which the outputs do not
        depend stay, as do single numbers (tensors without axes). A network stays as it is if it has too many
        parameters, or if there are too few values to fit them to. ``seed`` draws the inputs that the curvature is
        measured on.
        """
        deviations = wanted.std(dim=0, unbiased=False)
        largest = float(deviations.max())
        with torch.enable_grad(), evaluating(network):
            fitted = _Fitted(network.requires_grad_(True), tuple(names), self.outputs_of, widths).used(inputs[:1])
            if not largest > 0.0 or not 0 < fitted.count <= min(MAX_PARAMETERS, wanted.numel() / _VALUES_EACH):
                return
            deviations = deviations.clamp_min(_MIN_DEVIATION * largest)

            def loss(found: Tensor) -> Tensor:
                return ((found - wanted) / deviations).square().sum(dim=1).mean() / 2

            generator, curvature = torch.Generator().manual_seed(seed), Normals(deviations)
            fit_gauss_newton(fitted, inputs, loss, self.iterations, generator, curvature, max_outputs=_MAX_OUTPUTS)


def reconstruction_of(
    iterations: int, network: nn.Module, outputs_of: Callable[[object], Tensor], *, states: int = 0
) -> Reconstruction | None:
    """Return what fits ``network`` in ``iterations`` steps, or None for 0; ``states`` is as in ``find_groups``.

    Raises InputError where ``torch.func`` cannot differentiate the network, which would show hours later. That is not
    tried where the network's input is not known, because something in front of the first layer cannot be traced.
    """
    if iterations == 0:
        return None
    traced, groups = traced_groups(network, states=states, structure_only=True)
    if traced is None:
        return None
    found = Reconstruction(iterations=iterations, outputs_of=outputs_of)
    masks = {name: torch.arange(keep.numel()) == 0 for name, keep in full_masks(groups).items()}
    smallest = copy_of(living_view(network, groups, masks)[0]).requires_grad_(True)
    graph = traced.graph
    shapes = [*(port.shape for port in graph.inputs), *(state.initial.shape for state in graph.states)]
    row = next(network.parameters()).new_zeros(1, sum(map(math.prod, shapes)))
    row, widths = living_states(row, state_units(network, states=states) if states else (), masks)
    try:
        outputs = found.outputs(smallest, row, widths).shape[1]
    except RuntimeError:
        return found
    try:
        rows = row.expand(outputs + 2, -1)  # as many rows as outputs would hide that the two are mixed up
        with torch.enable_grad(), evaluating(smallest):
            names = [name for name, _ in smallest.named_parameters()]
            fitted = _Fitted(smallest, names, outputs_of, widths).used(rows)
            fisher_matrix(fitted, rows, Normals(row.new_ones(outputs)))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"reconstruction needs torch.func, which cannot differentiate this network ({reason}); train it without"
        ) from error
    return found


@final
class _Fitted(nn.Module):
    """A network as a function of one tensor [n, ...] that returns one tensor [n, k]; it has the parameters ``names``
    only.
    """

    def __init__(
        self, network: nn.Module, names: Sequence[str], outputs_of: Callable[[object], Tensor], widths: Sequence[int]
    ) -> None:
        super().__init__()
        self._network = (network,)  # in a tuple, so that its other parameters are not this module's
        self._names, self._outputs_of, self._widths = tuple(names), outputs_of, list(widths)
        self.values = nn.ParameterList(network.get_parameter(name) for name in names)

    @property
    def count(self) -> int:
        """The number of parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def used(self, inputs: Tensor) -> _Fitted:
        """Return the same without single numbers, and without parameters on which the outputs do not depend."""
        if not self._names:
            return self
        slopes = torch.autograd.grad(self(inputs).sum(), list(self.values), allow_unused=True)
        names = [name for name, slope in zip(self._names, slopes, strict=True) if slope is not None and slope.ndim]
        return _Fitted(self._network[0], names, self._outputs_of, self._widths)

    def forward(self, inputs: Tensor) -> Tensor:
        given = torch.split(inputs, self._widths, dim=1) if self._widths else (inputs,)
        values = dict(zip(self._names, self.values, strict=True))
        return self._outputs_of(functional_call(self._network[0], values, given))
