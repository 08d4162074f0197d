"""Shrinking of any policy graph: masked units or constant units are removed, and the result is checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from prunekit.errors import CheckError
from prunekit.export.agreement import Expected
from prunekit.graph.graph import Graph
from prunekit.graph.op import Array
from prunekit.graph.reference import run_sequence
from prunekit.graph.surgery import Masks, constant_units, shrink, zeroed
from prunekit.policy.model_file import ModelFile, full_masks
from prunekit.policy.probes import probe_inputs
from prunekit.policy.provenance import require_original
from prunekit.policy.sizes import Sizes, sizes_of
from prunekit.spaces.kind import ActionKind

# Metadata that an ONNX export adds to the provenance; the smaller policy's export writes its own.
_OF_THE_EXPORT = ("format", "sizes")
_STEPS = 8


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Shrunk:
    """A smaller policy, its sizes ``before`` and ``after``, and the difference of its outputs from the larger one's.

    ``original_hidden`` are the widths before any removal. ``largest_difference`` is absolute, over probes;
    ``output_scale`` is the largest output.
    """

    file: ModelFile
    before: Sizes
    after: Sizes
    original_hidden: tuple[int, ...]
    largest_difference: float
    output_scale: float


def shrink_graph(
    graph: Graph,
    masks: Masks | None,
    metadata: Mapping[str, Any],
    *,
    actions: ActionKind | None = None,
    seed: int = 0,
) -> Shrunk:
    """Return ``graph`` without the units that ``masks`` remove; without masks, without constant units.

    Raises CheckError if its outputs differ by more than 1e-5 of their size, or than float32 rounding if that is larger;
    InputError and CouplingError as ``zeroed`` does, and InputError for ``metadata`` with other widths.
    """
    keep = constant_units(graph) if masks is None else masks
    held, small = zeroed(graph, keep), shrink(graph, keep)
    before, after = sizes_of(graph), sizes_of(small)
    inputs = _probes(graph, np.random.default_rng(seed))
    expected, found = _outputs(held, inputs), _outputs(small, inputs)
    rounding = float(np.abs(_outputs(held, inputs, np.float32) - expected).max())
    difference = float(np.abs(found - expected).max())
    if not difference <= Expected(action=expected, outputs=expected, rounding=rounding).allowed:
        raise CheckError(f"the compact network differs by {difference:g} from the masked one; nothing was written")
    provenance = {key: value for key, value in metadata.items() if key not in _OF_THE_EXPORT}
    require_original(provenance, list(before.hidden))
    original = list(provenance.get("original_hidden", before.hidden))
    provenance |= {"original_hidden": original, "compact": True}
    return Shrunk(
        file=ModelFile(graph=small, masks=full_masks(small), provenance=provenance, actions=actions),
        before=before,
        after=after,
        original_hidden=tuple(original),
        largest_difference=difference,
        output_scale=max(float(np.abs(expected).max()), 1.0),
    )


def _probes(graph: Graph, generator: np.random.Generator) -> list[Mapping[str, Array]]:
    """Return inputs for one call, or for several consecutive calls if there is a state."""
    return [probe_inputs(graph, generator) for _ in range(_STEPS if graph.states else 1)]


def _outputs(graph: Graph, sequence: Sequence[Mapping[str, Array]], dtype: type = np.float64) -> Array:
    with np.errstate(all="ignore"):
        return np.stack([values["outputs"] for values in run_sequence(graph, sequence, dtype)])
