"""Importance: how much a unit moves the policy's output. Each measure is one small pure function.

An importance takes an ``Evidence`` and returns one non-negative number per unit, [width] per group. The
default is ``irreplaceability``; the others are kept for ablation. ``normalized`` makes them comparable
between groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from prunekit.errors import CouplingError
from prunekit.pruning.forward_pass import ForwardPass
from prunekit.pruning.masks import Masks
from prunekit.pruning.slices import Group, Slice, consumers_of, linear_at, per_unit, unit_slices

UnitImportance = dict[str, Tensor]

# Relative to the mean variance of a unit; keeps the coefficients of the predictions small.
RIDGE = 1e-3
MAX_EXACT_OUTPUTS = 16
"""Up to so many outputs each gets a backward pass of its own; more are projected at random."""
_PROJECTIONS = 1024
"""One pass over so many states projects the output as often; fewer states take more passes, at most 16."""


@final
@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The input of an importance function.

    ``seen`` is a forward pass of ``network`` on recent states. ``output_deviation`` [k] is the running standard
    deviation of each output. ``network`` contains only the living units; ``keep`` (bool [original width] per group)
    says which these are. ``seed`` seeds the random projections that are used for more than ``max_exact_outputs``
    outputs.
    """

    network: nn.Module
    groups: Sequence[Group]
    seen: ForwardPass
    output_deviation: Tensor
    keep: Masks
    seed: int = 0
    max_exact_outputs: int = MAX_EXACT_OUTPUTS


Importance = Callable[[Evidence], UnitImportance]


def output_sensitivity(evidence: Evidence) -> UnitImportance:
    """Return I_j = sqrt(E_s sum_k (h_j df_k/dh_j / sigma_k)^2): the RMS derivative of the output by a gate on the unit.

    Source: ``docs/method.md``, after the neuron importance of arXiv 2402.05146 (its formula is not public). For more
    than 16 outputs the sum is estimated (``_directions``), to about 3%.
    """
    return _sensitivities(evidence)


def irreplaceability(evidence: Evidence) -> UnitImportance:
    """Return ``output_sensitivity`` times the share of a unit's RMS value that the other units of its group cannot
    predict.

    The prediction is that of compensation (``compensation.py``), so the product estimates the change of the output that
    remains after it. The error of predicting unit j from all others is 1 / (C^-1)_jj, where C is the covariance of the
    units' values.
    """
    hidden = evidence.seen.hidden
    return {name: value * _unpredicted(hidden[name]) for name, value in _sensitivities(evidence).items()}


def taylor(evidence: Evidence) -> UnitImportance:
    """Return |E_s sum_k h_j df_k/dh_j / sigma_k|, the first-order change of the mean output (Molchanov 2017)."""
    output = evidence.seen.output
    few = output.shape[1] <= evidence.max_exact_outputs
    # One pass for the sum of all outputs. A few outputs have one pass each, as when the committed results were made.
    directions = (
        _directions(evidence) if few else iter([(1.0 / evidence.output_deviation.to(output)).expand_as(output)])
    )
    return {name: gates.sum(dim=0).mean(dim=0).abs() for name, gates in _gate_slopes(evidence, directions).items()}


def activity_times_outgoing(evidence: Evidence) -> UnitImportance:
    """Return E_s|h_j| * ||outgoing weights of j||."""
    activity = {name: values.abs().mean(dim=0) for name, values in evidence.seen.hidden.items()}
    return {group.name: activity[group.name] * _outgoing_norm(evidence.network, group) for group in evidence.groups}


def group_norm(evidence: Evidence) -> UnitImportance:
    """Return the Euclidean norm of all parameters of each unit."""
    return {group.name: unit_norms(evidence.network, group) for group in evidence.groups}


def weight_propagation(evidence: Evidence) -> UnitImportance:
    """Return importance propagated backwards from the output through absolute weights (as in NISP, Yu 2018).

    An output has importance 1. A unit has the sum over its consumers of |weight| times the consumer's importance,
    multiplied by the norm of the unit's own incoming weights.
    """
    count: UnitImportance = {}
    groups = {group.name: group for group in evidence.groups}
    for group in reversed(evidence.groups):
        _refuse_other_than_layer(group)
        total = torch.zeros(group.width)
        for path, consumer in zip(group.consumers, consumers_of(evidence.network, group), strict=True):
            weight = consumer.weight.detach().abs()
            downstream = count[path] if path in groups else torch.ones(weight.shape[0])
            total = total.to(weight) + downstream.to(weight) @ weight
        own = linear_at(evidence.network, group.name).weight.detach().norm(dim=1)
        count[group.name] = total * own
    return count


def _refuse_other_than_layer(group: Group) -> None:
    own = {f"{group.name}.weight", f"{group.name}.bias", *(f"{path}.weight" for path in group.consumers)}
    for entry in group.slices:
        if entry.path not in own or not entry.whole:
            raise CouplingError(
                f"weight_propagation knows linear layers one after the other, but units of '{group.name}' are in "
                f"'{entry.path}' too; choose another importance"
            )


def random_units(evidence: Evidence) -> UnitImportance:
    """Return random numbers, the same at every check, as a control."""
    generator = torch.Generator().manual_seed(0)
    return {name: torch.rand(keep.numel(), generator=generator)[keep] for name, keep in evidence.keep.items()}


IMPORTANCES: dict[str, Importance] = {
    importance.__name__: importance
    for importance in (
        output_sensitivity,
        irreplaceability,
        taylor,
        activity_times_outgoing,
        group_norm,
        weight_propagation,
        random_units,
    )
}


def normalized(values: Mapping[str, Tensor], masks: Masks, *, common_scale: bool = False) -> UnitImportance:
    """Return importance divided by its mean over living units: of each group, or of all groups with ``common_scale``.

    Dead units get 0.
    """
    living = {name: value[masks[name].to(value.device)] for name, value in values.items()}
    whole = torch.cat(list(living.values())).mean() if living else None
    result: UnitImportance = {}
    for name, value in values.items():
        keep = masks[name].to(value.device)
        mean = whole if common_scale and whole is not None else living[name].mean()
        mean = mean.clamp_min(torch.finfo(value.dtype).tiny)
        result[name] = torch.where(keep, value / mean, torch.zeros_like(value))
    return result


@torch.no_grad()
def unit_norms(network: nn.Module, group: Group) -> Tensor:
    """Return ||theta_g|| [width] over all parameters of each unit."""
    squares = [per_unit(_square_sums(tensor, entry), entry) for tensor, entry in unit_slices(network, group)]
    return torch.stack(squares).sum(dim=0).sqrt()


def _square_sums(tensor: Tensor, entry: Slice) -> Tensor:
    """Return the sums of squares [size] along the axis of ``entry``."""
    squares = tensor.square()
    if tensor.ndim == 1:
        return squares
    if entry.axis == 0:
        return squares.reshape(entry.size, -1).sum(dim=1)
    return squares.sum(dim=[axis for axis in range(tensor.ndim) if axis != entry.axis])


def _unpredicted(values: Tensor) -> Tensor:
    """Return, per column of ``values`` [n, width], the RMS error of predicting it from the others over its RMS.

    Constant columns, such as those of dead units, are left out of the prediction.
    """
    mean = values.mean(dim=0)
    centred = values - mean
    variance = centred.square().mean(dim=0).double()
    if not bool(variance.isfinite().all()):  # the factorization's own error would not name the cause
        return torch.full_like(variance, torch.nan)
    varies = variance > 1e-10 * variance.max()
    if not bool(varies.all()):
        centred = centred[:, varies]
    covariance = (centred.T @ centred).double() / len(centred)
    ridge = RIDGE * covariance.diagonal().mean()
    covariance.diagonal().add_(ridge)
    # With C = L L^T the diagonal of C^-1 holds the squared lengths of the columns of L^-1.
    factor, identity = torch.linalg.cholesky(covariance), torch.eye(len(covariance)).to(covariance)
    inverse = torch.linalg.solve_triangular(factor, identity, upper=False)
    error = (1.0 / inverse.square().sum(dim=0) - ridge).clamp_min(0.0)
    share = torch.zeros_like(variance)
    share[varies] = (error / (variance + mean.double().square())[varies].clamp_min(1e-12)).sqrt()
    return share


def _outgoing_norm(network: nn.Module, group: Group) -> Tensor:
    read = [(linear_at(network, entry.path).weight.detach(), entry) for entry in group.reads if entry.linear]
    squares = [per_unit(weight.square().sum(dim=0), entry) for weight, entry in read]
    return torch.stack(squares).sum(dim=0).sqrt() if squares else torch.zeros(group.width)


def _sensitivities(evidence: Evidence) -> UnitImportance:
    slopes = _gate_slopes(evidence, _directions(evidence))
    return {name: gates.square().sum(dim=0).mean(dim=0).sqrt() for name, gates in slopes.items()}


def _directions(evidence: Evidence) -> Iterator[Tensor]:
    """Yield vectors v_r over the outputs, [n, k] each, with sum_r (v_r . dF)^2 = sum_k (dF_k / sigma_k)^2.

    A few outputs are taken one by one, which is exact. For many outputs, v_r are random signs / (sigma_k sqrt(passes)):
    the equation then holds in expectation (Hutchinson 1989), and the number of passes does not grow with k. The sign
    for output k in state i is s_(i+k) c_k, because drawing n k signs would take longer than the pass. The signs in one
    state are independent, and the estimates of any two states are uncorrelated.
    """
    output, deviations = evidence.seen.output, evidence.output_deviation
    n, k = output.shape
    if k <= evidence.max_exact_outputs:
        for index in range(k):
            direction = torch.zeros_like(output)
            direction[:, index] = 1.0 / deviations[index].double()
            yield direction
        return
    generator = torch.Generator().manual_seed(evidence.seed)
    passes = min(-(-_PROJECTIONS // n), MAX_EXACT_OUTPUTS)
    for _ in range(passes):
        shifted = _random_signs(n + k - 1, generator).unfold(0, k, 1).to(output)
        yield shifted * (_random_signs(k, generator).to(output) / (deviations.to(output) * passes**0.5))


def _random_signs(count: int, generator: torch.Generator) -> Tensor:
    return 2.0 * torch.randint(0, 2, (count,), generator=generator) - 1.0


def _gate_slopes(evidence: Evidence, directions: Iterator[Tensor]) -> dict[str, Tensor]:
    """Return h_j d(v_r . f)/dh_j, the derivatives of the output f by gates on the units, [r, n, width] per group."""
    per_direction: dict[str, list[Tensor]] = {group.name: [] for group in evidence.groups}
    values = [(name, taken) for name, found in evidence.seen.read.items() for taken in found]
    output, wanted = evidence.seen.output, [taken.value for _, taken in values]
    for direction in directions:
        gradients = torch.autograd.grad(output, wanted, direction, retain_graph=True, allow_unused=True)
        gates: dict[str, Tensor] = {}
        for (name, taken), gradient in zip(values, gradients, strict=True):
            value = taken.value
            gate = taken.sums(value.detach() * (torch.zeros_like(value) if gradient is None else gradient))
            gates[name] = gates[name] + gate if name in gates else gate
        for name, gate in gates.items():
            per_direction[name].append(gate)
    return {name: torch.stack(gates) for name, gates in per_direction.items()}
