"""Differences and quotients in torch, which are read as sums and products; there is no op for them."""

from __future__ import annotations

import operator

from prunekit.graph.lifting import Lifted, Traced, from_function
from prunekit.lazy import torch
from prunekit.ops.add import Add
from prunekit.ops.elementary import Elementary
from prunekit.ops.mul import Mul
from prunekit.ops.scale_shift import scaled


@from_function(lambda: (operator.sub, torch.sub, "sub"))
def _sub(a: object, b: object) -> Lifted | None:
    if isinstance(b, int | float | torch.Tensor):
        return scaled(a, 1.0, -b)
    if not isinstance(a, Traced):
        return scaled(b, -1.0, a)
    negated = scaled(b, -1.0, 0.0)
    return None if negated is None else Lifted(op=Add(), inputs=(a, negated))


@from_function(lambda: (operator.truediv, torch.div, "div"))
def _div(a: object, b: object) -> Lifted | None:
    if isinstance(b, int | float | torch.Tensor):
        return None if isinstance(b, int | float) and b == 0 else scaled(a, 1.0 / b, 0.0)
    if not isinstance(b, Traced):
        return None
    below = Lifted(op=Elementary(kind="reciprocal"), inputs=(b,))
    if isinstance(a, Traced):
        return Lifted(op=Mul(), inputs=(a, below))
    return below if isinstance(a, int | float) and a == 1 else None
