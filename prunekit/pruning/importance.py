"""Importance: how much a unit moves the policy's output. Each measure is one small pure function.

An importance takes an ``Evidence`` and returns one non-negative score per unit, [width] per group. The
default is ``output_sensitivity``; the others are kept for ablation. ``normalized`` makes scores comparable
between groups.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from prunekit.pruning.groups import Group, consumers_of, producer_of, unit_slices
from prunekit.pruning.masks import Masks

Scores = dict[str, Tensor]

# Of the mean variance of a unit: keeps the coefficients small by which units predict each other.
RIDGE = 1e-3


@final
@dataclass(frozen=True)
class Evidence:
    """What an importance may look at.

    ``states`` [n, obs] are recent inputs of ``network``; ``decision`` picks the deterministic output before
    squashing [n, k] from what the network returns; ``output_deviation`` [k] is each output's running
    standard deviation.
    """

    network: nn.Module
    groups: Sequence[Group]
    states: Tensor
    decision: Callable[[object], Tensor]
    output_deviation: Tensor


Importance = Callable[[Evidence], Scores]


def output_sensitivity(evidence: Evidence) -> Scores:
    """Return I_j = sqrt(E_s sum_k (h_j df_k/dh_j / sigma_k)^2): the RMS change of the output per unit's gate.

    Source: ``docs/method.md``, after the neuron importance of arXiv 2402.05146 (its formula is not public).
    """
    return {name: _sensitivity(gates) for name, (gates, _) in _gate_slopes(evidence).items()}


def irreplaceability(evidence: Evidence) -> Scores:
    """Return ``output_sensitivity`` times the share of a unit's RMS value that its group's others do not predict.

    The prediction is the one by which units that stay take over from one that goes (``compensation.py``), so that this
    estimates the change of the output that is left after it. The error of predicting unit j from all others is
    1 / (C^-1)_jj, C being the covariance of the units' values.
    """
    return {
        name: _sensitivity(gates) * _unpredicted(values) for name, (gates, values) in _gate_slopes(evidence).items()
    }


def taylor(evidence: Evidence) -> Scores:
    """Return |E_s sum_k h_j df_k/dh_j / sigma_k|, the first-order change of the mean output (Molchanov 2017)."""
    return {name: gates.sum(dim=0).mean(dim=0).abs() for name, (gates, _) in _gate_slopes(evidence).items()}


def activity_times_outgoing(evidence: Evidence) -> Scores:
    """Return E_s|h_j| * ||outgoing weights of j||."""
    hidden: dict[str, Tensor] = {}
    with torch.no_grad(), _HiddenCapture(evidence.network, evidence.groups) as capture:
        evidence.network(evidence.states)
        for group in evidence.groups:
            hidden[group.name] = capture.values[group.name][0].abs().mean(dim=0)
    return {group.name: hidden[group.name] * _outgoing_norm(evidence.network, group) for group in evidence.groups}


def group_norm(evidence: Evidence) -> Scores:
    """Return the Euclidean norm of everything that dies with a unit: row, bias and columns."""
    return {group.name: unit_norms(evidence.network, group) for group in evidence.groups}


def weight_propagation(evidence: Evidence) -> Scores:
    """Return importance propagated from the output through absolute weights alone (as in NISP, Yu 2018).

    An output counts 1; a unit counts the sum over its consumers of |weight| times what the consumer's own
    unit counts, which is then multiplied by the unit's own incoming norm.
    """
    count: Scores = {}
    groups = {group.name: group for group in evidence.groups}
    for group in reversed(evidence.groups):
        total = torch.zeros(group.width)
        for path, consumer in zip(group.consumers, consumers_of(evidence.network, group), strict=True):
            weight = consumer.weight.detach().abs()
            downstream = count[path] if path in groups else torch.ones(weight.shape[0])
            total = total.to(weight) + downstream.to(weight) @ weight
        own = producer_of(evidence.network, group).weight.detach().norm(dim=1)
        count[group.name] = total * own
    return count


IMPORTANCES: dict[str, Importance] = {
    importance.__name__: importance
    for importance in (
        output_sensitivity,
        irreplaceability,
        taylor,
        activity_times_outgoing,
        group_norm,
        weight_propagation,
    )
}


def normalized(scores: Mapping[str, Tensor], masks: Masks, *, common_scale: bool = False) -> Scores:
    """Return scores divided by the mean over living units: each group's own, or on a common scale all of them.

    Dead units score 0.
    """
    living = {name: score[masks[name].to(score.device)] for name, score in scores.items()}
    whole = torch.cat(list(living.values())).mean() if living else None
    result: Scores = {}
    for name, score in scores.items():
        keep = masks[name].to(score.device)
        mean = whole if common_scale and whole is not None else living[name].mean()
        mean = mean.clamp_min(torch.finfo(score.dtype).tiny)
        result[name] = torch.where(keep, score / mean, torch.zeros_like(score))
    return result


@torch.no_grad()
def unit_norms(network: nn.Module, group: Group) -> Tensor:
    """Return ||theta_g|| [width] over each unit's row, bias and columns."""
    rows, columns = unit_slices(network, group)
    incoming = [tensor.square().reshape(group.width, -1).sum(dim=1) for tensor in rows]
    outgoing = [tensor.square().sum(dim=0) for tensor in columns]
    return torch.stack(incoming + outgoing).sum(dim=0).sqrt()


@torch.no_grad()
def hidden_values(network: nn.Module, groups: Sequence[Group], states: Tensor) -> dict[str, Tensor]:
    """Return the values [n, width] that each group's consumers read when ``network`` runs on ``states`` [n, obs]."""
    with _HiddenCapture(network, groups) as capture:
        network(states)
    return {name: values[0] for name, values in capture.values.items()}


def _unpredicted(values: Tensor) -> Tensor:
    """Return the RMS error of predicting each column of ``values`` [n, width] from the others, over its own RMS.

    Columns that do not vary, those of dead units among them, predict nothing and count nowhere.
    """
    covariance = torch.cov(values.T, correction=0).reshape(values.shape[1], values.shape[1]).double()
    variance = covariance.diagonal()
    if not bool(covariance.isfinite().all()):  # which a factorization would refuse in words of its own
        return torch.full_like(variance, torch.nan)
    varying = variance[variance > 1e-10 * variance.max()]
    ridge = RIDGE * varying.mean() if varying.numel() else torch.ones_like(variance[:1])
    regular = covariance + ridge * torch.eye(len(covariance)).to(covariance)
    error: Tensor = 1.0 / torch.cholesky_inverse(torch.linalg.cholesky(regular)).diagonal() - ridge
    return (error.clamp_min(0.0) / values.square().mean(dim=0).clamp_min(1e-12)).sqrt()


def _outgoing_norm(network: nn.Module, group: Group) -> Tensor:
    squares = [consumer.weight.detach().square().sum(dim=0) for consumer in consumers_of(network, group)]
    return torch.stack(squares).sum(dim=0).sqrt()


def _sensitivity(gates: Tensor) -> Tensor:
    return gates.square().sum(dim=0).mean(dim=0).sqrt()


def _gate_slopes(evidence: Evidence) -> dict[str, tuple[Tensor, Tensor]]:
    """Return (d f_k / d gate_j = h_j df_k/dh_j [k, n, width], h [n, width]) per group, f over its deviation."""
    per_output: dict[str, list[Tensor]] = {group.name: [] for group in evidence.groups}
    with torch.enable_grad(), _HiddenCapture(evidence.network, evidence.groups) as capture:
        output = evidence.decision(evidence.network(evidence.states)).double()
        output = output / evidence.output_deviation.to(output)
        hidden = {name: [value.detach() for value in found] for name, found in capture.values.items()}
        values = [(name, value) for name, found in capture.values.items() for value in found]
        for k in range(output.shape[1]):
            gradients = torch.autograd.grad(
                output[:, k].sum(), [value for _, value in values], retain_graph=True, allow_unused=True
            )
            gates: dict[str, Tensor] = {}
            for (name, value), gradient in zip(values, gradients, strict=True):
                gate = value.detach() * (torch.zeros_like(value) if gradient is None else gradient)
                gates[name] = gates[name] + gate if name in gates else gate
            for name, gate in gates.items():
                per_output[name].append(gate)
    return {name: (torch.stack(gates), hidden[name][0]) for name, gates in per_output.items()}


@final
class _HiddenCapture:
    """Collects the hidden values [n, width] that each group's consumers read during a forward pass."""

    def __init__(self, network: nn.Module, groups: Sequence[Group]) -> None:
        self._read: dict[str, list[tuple[Tensor, Tensor]]] = {group.name: [] for group in groups}
        self._handles = [
            consumer.register_forward_pre_hook(self._reader(group.name))
            for group in groups
            for consumer in consumers_of(network, group)
        ]

    @property
    def values(self) -> dict[str, list[Tensor]]:
        """The distinct values read so far, per group."""
        return {name: [value for _, value in pairs] for name, pairs in self._read.items()}

    def __enter__(self) -> _HiddenCapture:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _reader(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor]]:
        def read(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
            for original, value in self._read[name]:
                if original is inputs[0]:
                    return (value,)
            value = inputs[0]
            if torch.is_grad_enabled() and not value.requires_grad:  # units behind frozen layers
                value = value.detach().requires_grad_()
            self._read[name].append((inputs[0], value))
            return (value,)

        return read
