"""The policy in a file of another program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from prunekit.graph.graph import Graph
from prunekit.policy.actions import keeps_outputs
from prunekit.readers.policy_file import PolicyFile


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ForeignGraph:
    """A policy read from another program's file.

    ``graph`` takes the file's observations without batch axis, and has the outputs ``action`` and ``outputs``.
    ``output`` is the file's own name of the chosen output, and ``others`` are its other outputs. ``recognised`` says in
    one line what the file is. ``notes`` say, one line each, what was left out or assumed. ``metadata`` is what prunekit
    wrote into the file.
    """

    graph: Graph
    output: str
    others: tuple[str, ...] = ()
    recognised: str = ""
    notes: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


def policy_file(path: Path, found: ForeignGraph) -> PolicyFile:
    """Return ``found`` as the ``PolicyFile`` of the file at ``path``."""
    others = () if not found.others else (f"its output '{found.output}' is read, not {', '.join(found.others)}",)
    return PolicyFile(
        path=path,
        recognised=found.recognised,
        graph=found.graph,
        metadata=found.metadata,
        notes=(*found.notes, *others),
        keeps_outputs=keeps_outputs(found.graph) and not found.metadata,
    )
