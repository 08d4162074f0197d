"""The C of the measured models, written once for all devices that run C."""

from __future__ import annotations

import math
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from prunekit.benching.figures import Place
from prunekit.benching.models import BenchModel
from prunekit.errors import InputError
from prunekit.export.c import CSettings, c_code
from prunekit.export.c_code import CCode
from prunekit.export.quantize import Bits
from prunekit.export.recording import require_place, spread_over
from prunekit.graph.graph import Graph, specs_of
from prunekit.graph.groups import find_groups
from prunekit.policy.actions import keeps_outputs, with_actions_of

_EPISODES = 5
# The number of observations over which the cost of an action is counted.
_COUNTED = 64


@final
class PolicyCode:
    """Models as C: in float32, or with ``activations`` in integers, whose ranges come from five episodes."""

    def __init__(self, activations: Bits | None = None) -> None:
        self._activations = activations
        self._codes: dict[Path, CCode] = {}
        self._seen: dict[Path, NDArray[np.float32]] = {}

    @property
    def form(self) -> str:
        """The number format: float32, w8a16 or w8a8."""
        return "float32" if self._activations is None else f"w8a{self._activations}"

    def buffer_bytes(self, model: BenchModel) -> int:
        """Return the bytes of a call's activation arrays; in a small network the compiler keeps them in registers."""
        graph = model.graph
        assert graph is not None
        size = 4 if self._activations is None else self._activations // 8
        return (2 if find_groups(graph) else 1) * size * max(math.prod(spec.shape) for spec in specs_of(graph).values())

    def of(self, model: BenchModel, place: Place) -> CCode:
        """Return ``model`` as C; raises InputError for files without a graph, for other widths, and for ops without a C
        form.
        """
        if model.path not in self._codes:
            graph = self._graph(model, place)
            settings = CSettings(name="policy", activations=self._activations)
            seen = self._observations(model, graph, place) if settings.records else None
            self._codes[model.path] = c_code(graph, settings, {}, seen)[0]
        return self._codes[model.path]

    def observations(self, model: BenchModel, place: Place) -> NDArray[np.float32]:
        """Return observations [n, inputs] from the model's own episodes, evenly spread, on which costs are counted."""
        return spread_over(self._observations(model, self._graph(model, place), place), _COUNTED)

    def _observations(self, model: BenchModel, graph: Graph, place: Place) -> NDArray[np.float32]:
        if model.path not in self._seen:
            self._seen[model.path] = place.observe(graph, _EPISODES)
        return self._seen[model.path]

    def _graph(self, model: BenchModel, place: Place) -> Graph:
        """Return the policy, with the head for the environment's actions if it has none."""
        graph, called = model.graph, str(model.path)
        if graph is None:
            raise InputError(f"{called}: cannot be written as C: {model.not_read}")
        if keeps_outputs(graph):
            return with_actions_of(graph, place.spaces, called)
        require_place(called, graph, place.spaces, "the environment")
        return graph
