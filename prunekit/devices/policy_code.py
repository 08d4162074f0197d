"""The C of the models that are measured, written once for all devices that run C."""

from __future__ import annotations

from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from prunekit.bench.figures import Place
from prunekit.bench.models import BenchModel
from prunekit.errors import InputError
from prunekit.export.c import CSettings, c_code
from prunekit.export.c_code import CCode
from prunekit.export.quantize import Bits
from prunekit.export.recording import require_place, spread_over
from prunekit.policy.graphs import graph_of
from prunekit.policy.program import Program

_EPISODES = 5
# Observations that an action's cost is counted over.
_COUNTED = 64


@final
class PolicyCode:
    """Models as C, in float32 or, with ``activations``, in integers whose ranges come from five episodes."""

    def __init__(self, activations: Bits | None = None) -> None:
        self._activations = activations
        self._codes: dict[Path, CCode] = {}
        self._seen: dict[Path, NDArray[np.float32]] = {}

    @property
    def form(self) -> str:
        """What there is to say of the numbers: float32, w8a16 or w8a8."""
        return "float32" if self._activations is None else f"w8a{self._activations}"

    def buffer_bytes(self, model: BenchModel) -> int:
        """Return the bytes of a call's arrays of activations, which only a small network has in registers."""
        program = model.program
        assert program is not None
        size = 4 if self._activations is None else self._activations // 8
        return (2 if program.hidden else 1) * size * max(program.inputs, *program.hidden, program.outputs)

    def of(self, model: BenchModel, place: Place) -> CCode:
        """Return ``model`` as C; raises InputError for ONNX files, other widths, and what C cannot do."""
        if model.path not in self._codes:
            program = self._program(model, place)
            settings = CSettings("policy", self._activations)
            seen = self._observations(model, program, place) if settings.records else None
            self._codes[model.path] = c_code(program, settings, {}, seen)[0]
        return self._codes[model.path]

    def observations(self, model: BenchModel, place: Place) -> NDArray[np.float32]:
        """Return observations [n, inputs] that ``model`` sees, spread over its episodes, to count costs over."""
        return spread_over(self._observations(model, self._program(model, place), place), _COUNTED)

    def _observations(self, model: BenchModel, program: Program, place: Place) -> NDArray[np.float32]:
        if model.path not in self._seen:
            self._seen[model.path] = place.observe(program, _EPISODES)
        return self._seen[model.path]

    def _program(self, model: BenchModel, place: Place) -> Program:
        program = model.program
        if program is None:
            raise InputError(f"{model.path}: C is written from prunekit's .pt, not from ONNX; name the .pt")
        require_place(str(model.path), graph_of(program), place.spaces, "the environment")
        return program
