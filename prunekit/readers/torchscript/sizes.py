"""How many elements an operator's result has at most, told before the operator makes it."""

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
    """No larger than the largest tensor given."""
    run.take(max((value.numel() for value in values if isinstance(value, Tensor)), default=1))


def broadcast(values: Values, run: Run) -> None:
    """The largest size along each axis, counted from the last."""
    shapes = [value.shape for value in values if isinstance(value, Tensor)]
    if len(shapes) == 1 or all(shape == shapes[0] for shape in shapes):
        run.take(math.prod(shapes[0]))
        return
    axes = max(map(len, shapes))
    sizes = (max((shape[-axis] for shape in shapes if len(shape) >= axis), default=1) for axis in range(1, axes + 1))
    run.take(math.prod(sizes))


def joined(values: Values, run: Run) -> None:
    """The sum of a list of tensors."""
    run.step(len(values[0]))
    run.take(sum(tensor.numel() for tensor in values[0]))


def pieces(values: Values, run: Run) -> None:
    """As many pieces as the longest axis has elements."""
    run.step(max(values[0].shape, default=1))
    run.take(values[0].numel())


def chunked(values: Values, run: Run) -> None:
    """As many pieces as asked for."""
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
    """A product of matrices, or of stacks of them."""
    _multiply(values[0], values[1], run)


def added_product(values: Values, run: Run) -> None:
    """A product of the second and third, added to the first."""
    _multiply(values[1], values[2], run)


def linear(values: Values, run: Run) -> None:
    """Rows times the transposed weight."""
    seen, weight = values[0], values[1]
    inner = seen.shape[-1] if seen.dim() else 1
    rows = seen.numel() // max(inner, 1)
    outputs = weight.shape[0] if weight.dim() > 1 else 1
    run.take(rows * max(outputs, inner), rows * inner * outputs)


def _sizes(sizes: Any) -> int:
    return math.prod(max(int(size), 0) for size in ([sizes] if isinstance(sizes, int) else sizes))


def decomposed(values: Values, run: Run) -> None:
    """One number; some norms of a matrix take its singular values, which is as long as many products."""
    seen = values[0]
    run.take(seen.numel(), _DECOMPOSITION * seen.numel() * min(seen.shape[-2:], default=1))


def quantiles(values: Values, run: Run) -> None:
    """Every quantile of every row, and the rows sorted."""
    wanted = values[1]
    run.take(values[0].numel() * max(wanted.numel() if isinstance(wanted, Tensor) else 1, 1))


def sized(position: int) -> Charge:
    """The product of the sizes at ``position`` among the arguments."""
    return lambda values, run: run.take(_sizes(values[position]))


def expanded(values: Values, run: Run) -> None:
    """The sizes asked for, of which -1 stands for the tensor's own."""
    own, sizes = values[0].shape, values[1]
    kept = [own[-at] if size == -1 and at <= len(own) else size for at, size in enumerate(sizes[::-1], start=1)]
    run.take(_sizes(kept))


def like_second(values: Values, run: Run) -> None:
    """As large as the second tensor."""
    run.take(values[1].numel())


def repeated(values: Values, run: Run) -> None:
    """The tensor so many times along each axis."""
    run.take(values[0].numel() * _sizes(values[1]))


def counted(values: Values, run: Run) -> None:
    """A range of numbers: of its end, or of its start, end and step."""
    numbers = [value for value in values[:3] if isinstance(value, int | float) and not isinstance(value, bool)]
    start, end, step = (0, numbers[0], 1) if len(numbers) == 1 else (*numbers, 1)[:3]
    run.take(math.ceil(abs((end - start) / step)) + 1)


def square(values: Values, run: Run) -> None:
    """A matrix of the first number squared, or of the first two."""
    run.take(_sizes(values[:2] if len(values) > 1 and type(values[1]) is int else [values[0], values[0]]))


def one_hot(values: Values, run: Run) -> None:
    """So many numbers for every element; raises InputError where the largest element says how many."""
    if len(values) < 2 or values[1] < 0:
        raise InputError("calls 'torch.one_hot' without the number of classes, which depends on the batch")
    run.take(values[0].numel() * values[1])


def picked(values: Values, run: Run) -> None:
    """Every element of the indices picks a slice."""
    indices = [
        index for index in (values[1] if isinstance(values[1], list) else values[1:]) if isinstance(index, Tensor)
    ]
    run.take(max(values[0].numel(), 1) * max((index.numel() for index in indices), default=1))


def looked_up(values: Values, run: Run) -> None:
    """Every element of the indices picks a row of the table."""
    run.take(values[1].numel() * math.prod(values[0].shape[1:]))


def index_sized(values: Values, run: Run) -> None:
    """As large as the indices, which come third."""
    run.take(values[2].numel())


def padded(values: Values, run: Run) -> None:
    """The tensor with so many elements before and after along its last axes."""
    pads, shape = values[1], list(values[0].shape)
    for at, (before, after) in enumerate(zip(pads[::2], pads[1::2], strict=True), start=1):
        shape[-at] += max(before, 0) + max(after, 0)
    run.take(math.prod(shape))


def convolved(values: Values, run: Run) -> None:
    """Every place of the result reads a window, which torch writes out."""
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
