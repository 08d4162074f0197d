"""Compensation: when units are removed, the remaining units take over their contribution as far as possible.

The value of a removed unit is predicted from the remaining units of its group, by least squares over recent states. The
linear layers that read it then read the prediction instead, which changes only their weights and biases:

    h_j ~ sum_i a_ij h_i + b_j        W[:, i] += sum_j W[:, j] a_ij,   bias += sum_j W[:, j] b_j

Wide layers are redundant, so most units can be removed with little change of the output. Source: the corrected removal
of the optimal brain surgeon (Hassibi and Stork 1993), here per layer and over states.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from prunekit.pruning.importance import RIDGE
from prunekit.pruning.slices import linear_at


@torch.no_grad()
def compensate_(
    networks: Sequence[nn.Module], consumers: Sequence[str], kept: Tensor, gone: Tensor, stay: Tensor, go: Tensor
) -> None:
    """Let the columns ``stay`` take over from the columns ``go`` (int64) in every network's ``consumers``, in place.

    ``consumers`` are paths of linear layers that read the same value. ``kept`` [n, stay] and ``gone`` [n, go] are its
    columns over recent states. Target networks get the same coefficients, applied to their own weights. Consumers
    without a bias get no offset, and then the fit has none either.
    """
    if not go.numel() or not stay.numel():
        return
    biased = all(linear_at(networks[0], path).bias is not None for path in consumers)
    kept, gone = kept.double(), gone.double()
    kept_mean, gone_mean = (values.mean(dim=0) if biased else torch.zeros_like(values[0]) for values in (kept, gone))
    kept, gone = kept - kept_mean, gone - gone_mean
    gram = kept.T @ kept
    ridge = RIDGE * gram.diagonal().mean().clamp_min(1e-12)
    gram.diagonal().add_(ridge)
    coefficients = torch.linalg.solve(gram, kept.T @ gone)
    for network in networks:
        for consumer in (linear_at(network, path) for path in consumers):
            lost = consumer.weight[:, go].double()
            consumer.weight[:, stay] += (lost @ coefficients.T).to(consumer.weight)
            if biased:
                consumer.bias.add_((lost @ (gone_mean - kept_mean @ coefficients)).to(consumer.bias))
