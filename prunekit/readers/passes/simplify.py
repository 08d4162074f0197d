"""All rewriting passes, in order."""

from __future__ import annotations

from prunekit.graph.graph import Graph
from prunekit.readers.passes import activations, cells, gates, norms, scaling
from prunekit.readers.passes.rewriting import rewritten

_TIDY = (scaling.views, scaling.nothing, cells.rejoined)
_RECOGNISED = (*_TIDY, cells.cell, scaling.expansion_last, gates.gated, *activations.PATTERNS, *norms.PATTERNS)
_FOLDED = (
    *_TIDY,
    scaling.two_bounds,
    scaling.rectifier,
    scaling.into_layer,
    scaling.two_scalings,
    scaling.clipped_normalizer,
    scaling.rows_of_layer,
)


def simplified(graph: Graph) -> Graph:
    """Return a graph that computes the same, up to rounding, with patterns replaced by single ops.

    Activations and norms are recognised before constants are joined, because joining would hide patterns such as x * 2.
    """
    for _ in range(2):
        graph = rewritten(rewritten(graph, _RECOGNISED), _FOLDED)
    return graph
