"""All passes in a row."""

from __future__ import annotations

from prunekit.graph.graph import Graph
from prunekit.readers.passes import activations, gates, norms, scaling
from prunekit.readers.passes.rewriting import rewritten

_ORDER = (
    scaling.views,
    scaling.nothing,
    scaling.expansion_last,
    gates.gated,
    activations.PATTERNS,
    norms.PATTERNS,
    scaling.two_bounds,
    scaling.rectifier,
    scaling.into_layer,
    scaling.two_scalings,
    scaling.clipped_normalizer,
    scaling.rows_of_layer,
)


def simplified(graph: Graph) -> Graph:
    """Return a graph that computes the same, up to rounding, in the ops that it is made of."""
    patterns = [one for entry in _ORDER for one in (entry if isinstance(entry, tuple) else (entry,))]
    return rewritten(graph, patterns)
