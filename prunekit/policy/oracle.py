"""The oracle: a program run in NumPy float64, with which every runtime is compared."""

from __future__ import annotations

from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from prunekit.policy.heads import op_of_head
from prunekit.policy.program import Activate, Affine, Normalize, Program

Array = NDArray[np.float64]


def run_oracle(program: Program, observations: Array) -> tuple[NDArray[np.int64] | Array, Array]:
    """Return (actions, outputs [batch, n]) for raw observations [batch, obs], in float64 except an argmax."""
    values = observations.astype(np.float64)
    for op in program.ops:
        match op:
            case Normalize():
                values = np.clip((values - op.mean.astype(np.float64)) * op.scale.astype(np.float64), -op.clip, op.clip)
            case Affine():
                values = values @ op.weight.astype(np.float64).T + op.bias.astype(np.float64)
            case Activate():
                values = op.activation.reference(values)
            case _:
                assert_never(op)
    return op_of_head(program.head).reference((values,))[0], values
