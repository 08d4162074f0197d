"""All passes in a row."""

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
    """Return a graph that computes the same, up to rounding, in the ops that it is made of.

    What is spelled out is recognised before constants are put together, as that would part x * 2 from x.
    """
    for _ in range(2):
        graph = rewritten(rewritten(graph, _RECOGNISED), _FOLDED)
    return graph
