"""Limits of memory and work for a graph that comes from a file."""

from __future__ import annotations

import math

from prunekit.errors import InputError
from prunekit.graph.forms import MACS
from prunekit.graph.graph import Graph, given_to, specs_of

_FREE_VALUES, _VALUES_PER_NUMBER = 2**23, 16
_FREE_PRODUCTS, _PRODUCTS_PER_NUMBER = 2**28, 256


def require_bounded(graph: Graph) -> None:
    """Raise InputError if a graph asks for much more memory or work than its size justifies, such as a value that
    doubles at every node.

    The limits are those for ONNX files. All values together may hold 8 million numbers plus 16 per stored number. All
    nodes may take 2^28 multiply-accumulates plus 256 per stored number.
    """
    specs, stored = specs_of(graph), graph.parameter_count
    held = sum(math.prod(spec.shape) for spec in specs.values())
    if held > _FREE_VALUES + _VALUES_PER_NUMBER * stored:
        raise InputError(f"its values hold {held:,} numbers, more than any policy of its size needs")
    forms = ((node, MACS.find(node.op)) for node in graph.nodes)
    products = sum(form(node.op, given_to(node, specs)) for node, form in forms if form is not None)
    if products > _FREE_PRODUCTS + _PRODUCTS_PER_NUMBER * stored:
        raise InputError(f"takes {products:,} multiply-accumulates, more than any policy of its size needs")
