"""Raw observations to compare two forms of one policy on."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from prunekit.policy.actor import Normalizer

_SPREADS = (0.3, 1.0, 3.0)
_FAR = 30.0


def probe_observations(
    inputs: int, normalizer: Normalizer | None, generator: np.random.Generator, rows: int = 256
) -> NDArray[np.float32]:
    """Return float32 [rows, inputs]: zeros, rows around the normalizer's statistics, and a few far outliers.

    Without a normalizer the rows are standard normal times several spreads. Outliers lie far beyond the
    normalizer's clip, so that a form which lost the clip shows.
    """
    noise = generator.standard_normal((rows, inputs))
    noise *= generator.choice(_SPREADS, size=(rows, 1))
    noise[0] = 0.0
    if normalizer is None:
        return noise.astype(np.float32)
    beyond = 3.0 * normalizer.clip if math.isfinite(normalizer.clip) else _FAR
    outliers = generator.choice([-beyond, beyond], size=(max(rows // 16, 1), inputs))
    noise[-len(outliers) :] = outliers
    mean, scale = (tensor.double().cpu().numpy() for tensor in (normalizer.mean, normalizer.scale))
    return np.asarray(mean + noise / scale, np.float32)
