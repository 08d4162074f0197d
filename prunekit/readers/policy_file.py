"""The common result of all readers: one graph, and what is known about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from prunekit.errors import InputError
from prunekit.graph.graph import Graph
from prunekit.graph.surgery import Masks
from prunekit.readers.weights.words import activation_named, ending_named
from prunekit.spaces.kind import ActionKind

if TYPE_CHECKING:
    from prunekit.policy.artifact import Artifact


@final
@dataclass(frozen=True, kw_only=True)
class PolicyOptions:
    """Facts that a file does not contain and the user supplies.

    ``normalizer`` is a file of ``VecNormalize.save`` for a zip of Stable-Baselines3; ``without_normalizer`` says that
    there is none. ``output`` is the output of an ONNX file that is the policy's answer. ``inputs`` is the width of the
    observations of a TorchScript file. For a checkpoint, ``layers`` are the names of the policy's layers in order,
    inside the dotted path ``nesting``; ``activation`` is applied between them, and ``head`` makes the action
    (``readers/weights/words.py``).
    """

    normalizer: Path | None = None
    without_normalizer: bool = False
    output: str | None = None
    inputs: int | None = None
    layers: tuple[str, ...] = ()
    activation: str | None = None
    head: str | None = None
    nesting: str | None = None

    def __post_init__(self) -> None:
        if self.normalizer is not None and self.without_normalizer:
            raise InputError("`normalizer` and `normalizer=False` exclude each other; give one")
        if self.inputs is not None and self.inputs < 1:
            raise InputError(f"`inputs` must be at least 1, got {self.inputs}")
        if self.activation is not None:
            activation_named(self.activation)
        if self.head is not None:
            ending_named(self.head, 2)


OPTION_WORDS = {
    "normalizer": ("`normalizer`", "zips of Stable-Baselines3"),
    "without_normalizer": ("`normalizer=False`", "zips of Stable-Baselines3"),
    "output": ("`output`", "ONNX files"),
    "inputs": ("`inputs`", "TorchScript files"),
    "layers": ("`layers`", "checkpoints and state dicts"),
    "activation": ("`activation`", "checkpoints and state dicts"),
    "head": ("`head`", "checkpoints and state dicts"),
    "nesting": ("`nesting`", "checkpoints and state dicts"),
}
"""By field of ``PolicyOptions``: the option of the command line, and what files it is for."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PolicyFile:
    """A policy read from ``path``.

    ``graph`` has the outputs ``action`` and ``outputs`` (before the head). ``recognised`` says in one line what the
    file is, and ``notes`` what was left out or assumed. ``metadata`` goes on into exported files: what prunekit wrote
    into this one, and which normalizer of a zip was left out.

    Only a ``model.pt`` has ``masks`` by group, ``actions`` if the head does not determine them, and ``artifact`` if it
    is a chain of layers. ``keeps_outputs`` means that the action space is unknown, so the outputs are the action.
    ``with_torch`` means that exports are compared with torch too; files without torch, such as ONNX, are not.
    """

    path: Path
    recognised: str
    graph: Graph
    metadata: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    masks: Masks | None = None
    actions: ActionKind | None = None
    artifact: Artifact | None = None
    keeps_outputs: bool = False
    with_torch: bool = True
