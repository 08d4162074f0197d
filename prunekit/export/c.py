"""Export of a policy as portable C, checked before it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from prunekit.export.agreement import ends_of, expected_of, require_agreement
from prunekit.export.arduino import arduino_library, library_paths
from prunekit.export.c_code import CCode
from prunekit.export.c_float import float_to_c, run_float32
from prunekit.export.c_int8 import int8_to_c
from prunekit.export.onnx import graph_from
from prunekit.export.quantize import Bits, quantize
from prunekit.export.quantized import QuantizedProgram, run_quantized
from prunekit.export.recording import spread_over
from prunekit.files import write_together
from prunekit.graph.graph import Graph
from prunekit.graph.op import Array
from prunekit.graph.reference import run_step
from prunekit.policy.probes import probe_inputs

if TYPE_CHECKING:
    from prunekit.policy.actor import Actor
    from prunekit.policy.program import Program

# The number of recorded observations in the self-test, evenly spread.
_SELF_TEST = 8


@final
@dataclass(frozen=True, kw_only=True)
class CSettings:
    """How to write C: ``activations`` is None for float32, or the bits of activations (16 or 8) with int8 weights."""

    name: str
    activations: Bits | None = None
    self_test: bool = False
    arduino: bool = False

    @property
    def records(self) -> bool:
        """Whether observations must be recorded."""
        return self.self_test or self.activations is not None


@final
@dataclass(frozen=True, kw_only=True)
class CReport:
    """The written files, and the largest difference of their results from the policy's.

    ``largest_difference`` is that of outputs on probes (float32), or of actions on the recorded observations (int8).
    For discrete actions it is the share of rows with another action. ``largest_action`` is the largest float32 action;
    None for discrete actions and for float32.
    """

    paths: tuple[Path, ...]
    largest_difference: float
    rows: int
    largest_action: float | None = None


def c_code(
    policy: Program | Graph, settings: CSettings, metadata: Mapping[str, Any], seen: Array | None
) -> tuple[CCode, QuantizedProgram | None]:
    """Return (``policy`` as C, its quantized program or None).

    ``seen`` are on-policy observations [n, ...] of a policy with one input; they are needed if ``settings.records``.
    Raises InputError for an op or activation without the requested form.
    """
    tested = spread_over(seen, _SELF_TEST) if settings.self_test and seen is not None else None
    graph = graph_from(policy)
    if settings.activations is None:
        recorded = None if tested is None else {graph.inputs[0].name: tested}
        return float_to_c(graph, settings.name, metadata, recorded), None
    assert seen is not None
    quantized = quantize(graph, seen, settings.activations)
    return int8_to_c(quantized, settings.name, metadata, tested), quantized


def export_c(
    policy: Actor | Graph,
    folder: Path,
    settings: CSettings,
    metadata: Mapping[str, Any],
    record: Callable[[], NDArray[np.float32]],
    *,
    with_torch: bool = True,
) -> CReport:
    """Write ``policy`` as C into ``folder``: ``<name>.h`` and ``<name>.c``, or an Arduino library.

    ``record`` returns on-policy observations [n, inputs]; it is called only if they are needed. The float32 C has the
    bits of ``run_float32``, which is first compared with the float64 reference (law 2). Torch is compared too, unless
    ``with_torch`` is False for a graph. Raises ExportMismatchError, and writes nothing, if they disagree, and
    InputError for a policy that C does not support.
    """
    seen = record() if settings.records else None
    graph = graph_from(policy)
    code, quantized = c_code(graph, settings, metadata, seen)
    if quantized is None or seen is None:
        inputs = probe_inputs(graph, np.random.default_rng(0))
        held = policy if with_torch else None
        rows, difference, largest = len(next(iter(inputs.values()))), _checked(graph, held, inputs), None
    else:
        rows, (difference, largest) = len(seen), quantized_difference(quantized, seen)
    texts = arduino_library(code, metadata, settings.self_test) if settings.arduino else code.files
    files = dict(zip(c_paths(folder, settings), texts, strict=True))
    write_together({path: text.encode() for path, text in files.items()})
    return CReport(paths=tuple(files), largest_difference=difference, rows=rows, largest_action=largest)


def c_paths(folder: Path, settings: CSettings) -> list[Path]:
    """Return the paths of the files that ``export_c`` writes."""
    if settings.arduino:
        return [folder / path for path in library_paths(settings.name)]
    return [folder / f"{settings.name}{suffix}" for suffix in (".h", ".c")]


def quantized_difference(quantized: QuantizedProgram, observations: NDArray[np.float32]) -> tuple[float, float | None]:
    """Return the difference of the actions of ``quantized`` from those of its graph in float64, on ``observations``.

    The result is (largest difference, largest action); for choices, (share of rows with another action, None).
    """
    graph, action = quantized.graph, run_quantized(quantized, observations)[0]
    outputs = run_step(graph, {graph.inputs[0].name: observations}, {})[0]
    expected = outputs[ends_of(graph)[0]].reshape(action.shape)
    if expected.dtype == np.int64:
        return float((action != expected).reshape(len(expected), -1).any(axis=1).mean()), None
    return float(np.abs(action - expected).max()), float(np.abs(expected).max())


def _checked(graph: Graph, policy: Actor | Graph | None, inputs: Mapping[str, Array]) -> float:
    """Return the largest difference of outputs from the reference's."""
    expected, (action, outputs) = expected_of(graph, inputs), ends_of(graph)
    if policy is not None:
        from prunekit.export.in_torch import in_torch

        require_agreement("torch", *in_torch(policy, inputs), expected)
    found = run_float32(graph, inputs)
    return require_agreement("the C", found[action], found[outputs], expected)
