"""How much a graph from a file may hold and compute for one observation."""

from __future__ import annotations

import math

from prunekit.errors import InputError
from prunekit.graph.forms import MACS
from prunekit.graph.graph import Graph, given_to, specs_of

_FREE_VALUES, _VALUES_PER_NUMBER = 2**23, 16
_FREE_PRODUCTS, _PRODUCTS_PER_NUMBER = 2**28, 256


def require_bounded(graph: Graph) -> None:
    """Raise InputError where few bytes ask for more than any policy needs: a value that doubles at every node, say.

    All values together may hold 8 million numbers and 16 per stored one, and all nodes take 2^28 multiply-accumulates
    and 256 per stored number: what an ONNX file may.
    """
    specs, stored = specs_of(graph), graph.parameter_count
    held = sum(math.prod(spec.shape) for spec in specs.values())
    if held > _FREE_VALUES + _VALUES_PER_NUMBER * stored:
        raise InputError(f"its values hold {held:,} numbers, more than any policy of its size needs")
    forms = ((node, MACS.find(node.op)) for node in graph.nodes)
    products = sum(form(node.op, given_to(node, specs)) for node, form in forms if form is not None)
    if products > _FREE_PRODUCTS + _PRODUCTS_PER_NUMBER * stored:
        raise InputError(f"takes {products:,} multiply-accumulates, more than any policy of its size needs")
