"""Conversion of a masked artifact into a compact one, checked on observations."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import final

import numpy as np
import torch

from prunekit.errors import CheckError
from prunekit.policy.actor import Actor
from prunekit.policy.artifact import Artifact, with_provenance
from prunekit.policy.probes import probe_observations
from prunekit.policy.program import Program, lower
from prunekit.pruning.groups import find_groups
from prunekit.pruning.masks import full_masks, masked
from prunekit.pruning.surgery import shrink

_TOLERANCE = 1e-5


@final
@dataclass(frozen=True, kw_only=True)
class Compaction:
    """A compact artifact, its original program, and the difference of their outputs.

    ``largest_difference`` is absolute, over ``rows`` observations; ``output_scale`` is the largest output.
    """

    artifact: Artifact
    before: Program
    after: Program
    largest_difference: float
    output_scale: float
    rows: int

    @property
    def original_hidden(self) -> tuple[int, ...]:
        """Hidden widths before any removal, by this compaction or earlier ones, such as during training."""
        return tuple(self.artifact.provenance["original_hidden"])

    @property
    def original_parameters(self) -> int:
        """Weights and biases of a network with the original widths."""
        widths = (self.before.inputs, *self.original_hidden, self.before.outputs)
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(widths))


def compact(artifact: Artifact, seed: int = 0) -> Compaction:
    """Remove the dead units of ``artifact`` and check that the outputs stay the same.

    Raises CheckError if they differ by more than 1e-5 of the output's scale.
    """
    actor = artifact.actor
    gated = Actor(masked(actor.network, artifact.masks), actor.head, actor.normalizer)
    small = Actor(shrink(actor.network, artifact.masks), actor.head, actor.normalizer)
    before, after = lower(actor), lower(small)
    observations = probe_observations(before.inputs, actor.normalizer, np.random.default_rng(seed))
    inputs = torch.from_numpy(observations)
    with torch.no_grad():
        expected = gated.outputs(inputs)
        difference = float((small.outputs(inputs) - expected).abs().max())
    scale = max(float(expected.abs().max()), 1.0)
    if not difference <= _TOLERANCE * scale:
        raise CheckError(f"the compact network differs by {difference:g} from the masked one; nothing was written")
    original = artifact.provenance.get("original_hidden", list(before.hidden))
    result = Artifact(actor=small, masks=full_masks(find_groups(small.network)), provenance=artifact.provenance)
    result = with_provenance(result, original_hidden=original, compact=True)
    return Compaction(
        artifact=result,
        before=before,
        after=after,
        largest_difference=difference,
        output_scale=scale,
        rows=len(observations),
    )
