"""The policy of a zip before its normalizer and head are added, whichever library trained it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

from prunekit.errors import InputError
from prunekit.graph.op import Op
from prunekit.ops.affine import Affine
from prunekit.readers.sb3.fit import Rescaling
from prunekit.readers.sb3.layers import rescaled
from prunekit.readers.sb3.observations import Observed


@final
@dataclass(frozen=True, kw_only=True)
class Residual:
    """A residual block: the result of ``ops`` on a value is added to that value."""

    ops: tuple[Op, ...]


@final
@dataclass(frozen=True, kw_only=True)
class ZipPolicy:
    """The ops from what is ``observed`` to the outputs; ``squashed`` means that the action is the tanh of the outputs.

    ``library`` and ``algorithm`` wrote the zip; ``notes`` say what was left out or assumed.
    """

    library: str
    algorithm: str
    observed: Observed
    ops: tuple[Op | Residual, ...]
    outputs: int
    squashed: bool
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        first = next((op for op in self.ops if isinstance(op, Affine)), None)
        if first is not None and first.weight.shape[1] != self.observed.width:
            raise InputError(
                f"its network reads {first.weight.shape[1]} values, but its observations have {self.observed.width}"
            )


def last_layer(ops: Sequence[Op | Residual]) -> Affine:
    """Return the last layer of ``ops``."""
    last = ops[-1]
    assert isinstance(last, Affine)
    return last


def rescaled_ops(ops: tuple[Op | Residual, ...], by: Rescaling) -> tuple[Op | Residual, ...]:
    """Return ``ops`` with their outputs rescaled to other bounds."""
    return (*ops[:-1], rescaled(last_layer(ops), by.scale, by.shift))
