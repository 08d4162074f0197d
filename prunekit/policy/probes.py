"""Raw observations on which two forms of a policy are compared."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from prunekit.graph.graph import Graph, Port
from prunekit.graph.op import Array
from prunekit.ops.normalize import Normalize

if TYPE_CHECKING:
    from prunekit.policy.actor import Normalizer

_SPREADS = (0.3, 1.0, 3.0)
_FAR = 30.0


def probe_observations(
    inputs: int, normalizer: Normalizer | None, generator: np.random.Generator, rows: int = 256
) -> NDArray[np.float32]:
    """Return float32 [rows, inputs]: zeros, rows around the normalizer's statistics, and a few far outliers.

    Without a normalizer the rows are standard normal times several factors. Outliers are far beyond the normalizer's
    clip, so a form without the clip is detected.
    """
    if normalizer is None:
        return _noise(inputs, None, generator, rows).astype(np.float32)
    mean, scale = (tensor.double().cpu().numpy() for tensor in (normalizer.mean, normalizer.scale))
    return np.asarray(mean + _noise(inputs, normalizer.clip, generator, rows) / scale, np.float32)


def probe_inputs(graph: Graph, generator: np.random.Generator, rows: int = 256) -> dict[str, Array]:
    """Return the same for each input of ``graph``, [rows, ...] by name; integers are zeros and ones."""
    return {port.name: _probes(graph, port, generator, rows) for port in graph.inputs}


def _probes(graph: Graph, port: Port, generator: np.random.Generator, rows: int) -> Array:
    size = math.prod(port.shape)
    if port.dtype == "int64":
        return generator.integers(0, 2, (rows, *port.shape))
    readers = [node.op for node in graph.nodes if port.name in node.inputs]
    normalizer = readers[0] if len(readers) == 1 else None
    if not isinstance(normalizer, Normalize) or not (normalizer.scale != 0.0).all():
        return _noise(size, None, generator, rows).astype(np.float32).reshape(rows, *port.shape)
    noise = _noise(size, normalizer.clip, generator, rows).reshape(rows, *port.shape)
    return np.asarray(normalizer.mean + noise / normalizer.scale.astype(np.float64), np.float32)


def _noise(inputs: int, clip: float | None, generator: np.random.Generator, rows: int) -> NDArray[np.float64]:
    noise = generator.standard_normal((rows, inputs))
    noise *= generator.choice(_SPREADS, size=(rows, 1))
    noise[0] = 0.0
    if clip is not None:
        beyond = 3.0 * clip if math.isfinite(clip) else _FAR
        outliers = generator.choice([-beyond, beyond], size=(max(rows // 16, 1), inputs))
        noise[-len(outliers) :] = outliers
    return noise
