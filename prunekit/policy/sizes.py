"""The size of the deployed part of a policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from prunekit.graph.forms import MACS
from prunekit.graph.graph import Graph, given_to, specs_of
from prunekit.graph.groups import find_groups
from prunekit.graph.op import parameters
from prunekit.ops.normalize import Normalize


@final
@dataclass(frozen=True, kw_only=True)
class Sizes:
    """``hidden`` units per group, stored ``parameters`` without a normalizer's constants, and ``macs``
    (multiply-accumulates) per observation.
    """

    hidden: tuple[int, ...]
    parameters: int
    macs: int

    @property
    def units(self) -> int:
        """The number of hidden units."""
        return sum(self.hidden)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the parameters in float32."""
        return 4 * self.parameters


def sizes_of(graph: Graph) -> Sizes:
    """Return the sizes of ``graph``; raises InputError, naming node and op, for an op without a registered cost."""
    specs = specs_of(graph)
    return Sizes(
        hidden=tuple(group.width for group in find_groups(graph)),
        parameters=parameter_count(graph),
        macs=sum(MACS.of(node.op, node.name)(node.op, given_to(node, specs)) for node in graph.nodes),
    )


def parameter_count(graph: Graph) -> int:
    """Return the number of values in the constants of ``graph``, without a normalizer's."""
    counted = [node for node in graph.nodes if not isinstance(node.op, Normalize)]
    stored = (value for node in counted for value in parameters(node.op).values() if value.dtype != bool)
    return sum(value.size for value in stored)
