"""Upper limits of the size of an operator's result, charged before the operator runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from prunekit.errors import InputError
from prunekit.readers.torchscript.budget import Run

Values = list[Any]
Charge = Callable[[Values, Run], None]
_DECOMPOSITION = 32
"""How many matrix products a singular value decomposition takes as long as."""


def largest(values: Values, run: Run) -> None:
    """Charge the size of the largest argument."""
    run.take(max((value.numel() for value in values if isinstance(value, Tensor)), default=1))


def broadcast(values: Values, run: Run) -> None:
    """Charge the product of the largest sizes along each axis, aligned at the last axis."""
    shapes = [value.shape for value in values if isinstance(value, Tensor)]
    if len(shapes) == 1 or all(shape == shapes[0] for shape in shapes):
        run.take(math.prod(shapes[0]))
        return
    axes = max(map(len, shapes))
    sizes = (max((shape[-axis] for shape in shapes if len(shape) >= axis), default=1) for axis in range(1, axes + 1))
    run.take(math.prod(sizes))


def joined(values: Values, run: Run) -> None:
    """Charge the sum of the sizes of a list of tensors."""
    run.step(len(values[0]))
    run.take(sum(tensor.numel() for tensor in values[0]))


def pieces(values: Values, run: Run) -> None:
    """Charge one piece per element of the longest axis."""
    run.step(max(values[0].shape, default=1))
    run.take(values[0].numel())


def chunked(values: Values, run: Run) -> None:
    """Charge the requested number of pieces."""
    run.step(max(int(values[1]), 1))
    run.take(values[0].numel())


def _multiply(left: Tensor, right: Tensor, run: Run) -> None:
    a, b = left.shape, right.shape
    inner = a[-1] if len(a) else 1
    rows = a[-2] if len(a) > 1 else 1
    columns = b[-1] if len(b) > 1 else 1
    stacked = max(math.prod(a[:-2]), 1) * max(math.prod(b[:-2]), 1)
    if a[:-2] == b[:-2]:
        stacked = max(math.prod(a[:-2]), 1)
    # torch also writes both factors anew where it repeats one along the axes before the last two
    run.take(stacked * max(rows * columns, rows * inner, inner * columns), stacked * rows * inner * columns)


def product(values: Values, run: Run) -> None:
    """Charge a product of matrices, or of stacks of them."""
    _multiply(values[0], values[1], run)


def added_product(values: Values, run: Run) -> None:
    """Charge a product of the second and third argument, added to the first."""
    _multiply(values[1], values[2], run)


def linear(values: Values, run: Run) -> None:
    """Charge a product with a transposed weight matrix."""
    seen, weight = values[0], values[1]
    inner = seen.shape[-1] if seen.dim() else 1
    rows = seen.numel() // max(inner, 1)
    outputs = weight.shape[0] if weight.dim() > 1 else 1
    run.take(rows * max(outputs, inner), rows * inner * outputs)


def _sizes(sizes: Any) -> int:
    return math.prod(max(int(size), 0) for size in ([sizes] if isinstance(sizes, int) else sizes))


def decomposed(values: Values, run: Run) -> None:
    """Charge one number. Some matrix norms need singular values, which take as long as many products."""
    seen = values[0]
    run.take(seen.numel(), _DECOMPOSITION * seen.numel() * min(seen.shape[-2:], default=1))


def quantiles(values: Values, run: Run) -> None:
    """Charge every quantile of every row, and the sorting of the rows."""
    wanted = values[1]
    run.take(values[0].numel() * max(wanted.numel() if isinstance(wanted, Tensor) else 1, 1))


def sized(position: int) -> Charge:
    """Return a charge of the product of the sizes in the argument at ``position``."""
    return lambda values, run: run.take(_sizes(values[position]))


def expanded(values: Values, run: Run) -> None:
    """Charge the requested sizes; -1 stands for the tensor's own size."""
    own, sizes = values[0].shape, values[1]
    kept = [own[-at] if size == -1 and at <= len(own) else size for at, size in enumerate(sizes[::-1], start=1)]
    run.take(_sizes(kept))


def like_second(values: Values, run: Run) -> None:
    """Charge the size of the second argument."""
    run.take(values[1].numel())


def repeated(values: Values, run: Run) -> None:
    """Charge the tensor times the number of repetitions along each axis."""
    run.take(values[0].numel() * _sizes(values[1]))


def counted(values: Values, run: Run) -> None:
    """Charge a range of numbers, given by end, or by start, end and step."""
    numbers = [value for value in values[:3] if isinstance(value, int | float) and not isinstance(value, bool)]
    start, end, step = (0, numbers[0], 1) if len(numbers) == 1 else (*numbers, 1)[:3]
    run.take(math.ceil(abs((end - start) / step)) + 1)


def square(values: Values, run: Run) -> None:
    """Charge a square matrix of the first number, or a matrix of the first two."""
    run.take(_sizes(values[:2] if len(values) > 1 and type(values[1]) is int else [values[0], values[0]]))


def one_hot(values: Values, run: Run) -> None:
    """Charge the number of classes for every element; raises InputError if it depends on the largest element."""
    if len(values) < 2 or values[1] < 0:
        raise InputError("calls 'torch.one_hot' without the number of classes, which depends on the batch")
    run.take(values[0].numel() * values[1])


def picked(values: Values, run: Run) -> None:
    """Charge one slice per element of the indices."""
    indices = [
        index for index in (values[1] if isinstance(values[1], list) else values[1:]) if isinstance(index, Tensor)
    ]
    run.take(max(values[0].numel(), 1) * max((index.numel() for index in indices), default=1))


def looked_up(values: Values, run: Run) -> None:
    """Charge one row of the table per element of the indices."""
    run.take(values[1].numel() * math.prod(values[0].shape[1:]))


def index_sized(values: Values, run: Run) -> None:
    """Charge the size of the indices, which are the third argument."""
    run.take(values[2].numel())


def padded(values: Values, run: Run) -> None:
    """Charge the tensor with the requested padding along its last axes."""
    pads, shape = values[1], list(values[0].shape)
    for at, (before, after) in enumerate(zip(pads[::2], pads[1::2], strict=True), start=1):
        shape[-at] += max(before, 0) + max(after, 0)
    run.take(math.prod(shape))


def convolved(values: Values, run: Run) -> None:
    """Charge one window per element of the result, because torch materialises them."""
    seen, weight = values[0], values[1]
    axes = weight.dim() - 2
    stride, padding = (values[at] if len(values) > at else 1 - at // 4 for at in (3, 4))
    strides = stride * axes if isinstance(stride, list) and len(stride) == 1 else stride
    pads = padding * axes if isinstance(padding, list) and len(padding) == 1 else padding
    places = max(seen.shape[0], 1) if seen.dim() == weight.dim() else 1
    for at in range(axes):
        step = strides[at] if isinstance(strides, list) else strides
        pad = pads[at] if isinstance(pads, list) else 0 if isinstance(pads, str) else pads
        places *= (seen.shape[at - axes] + 2 * pad) // max(step, 1) + 1
    window = max(math.prod(weight.shape[1:]), 1)
    run.take(places * (weight.shape[0] + window), places * weight.numel())
    if len(values) > 6 and values[6] is True:
        raise InputError("calls 'torch._convolution' transposed, which no policy over vectors needs")
