"""Operators on numbers, texts, lists and truth values, with the semantics of TorchScript."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from prunekit.errors import InputError
from prunekit.readers.torchscript.budget import PER_STEP, Run, short, whole

Values = list[Any]
Scalar = Callable[[Values, Run], Any]

# How TorchScript numbers types of elements.
DTYPE_NUMBERS = {
    torch.uint8: 0,
    torch.int8: 1,
    torch.int16: 2,
    torch.int32: 3,
    torch.int64: 4,
    torch.float16: 5,
    torch.float32: 6,
    torch.float64: 7,
    torch.bool: 11,
    torch.bfloat16: 15,
}
DTYPES = {number: dtype for dtype, number in DTYPE_NUMBERS.items()}
CPU = torch.device("cpu")
_PLAIN = (int, float, str, bool, type(None))


def number(value: Any) -> Any:
    """Return ``value``, or the number in a tensor of one element."""
    return value.item() if isinstance(value, Tensor) else value


def typed(dtype: Any) -> torch.dtype | None:
    """Return the dtype with this TorchScript number; raises TypeError for one that no policy needs."""
    if dtype is None:
        return None
    if dtype not in DTYPES:
        raise TypeError(f"elements of the type {dtype!r:.20}")
    return DTYPES[dtype]


def key(value: Any) -> Any:
    """Return ``value`` as a list index or dictionary key; raises TypeError unless it is a number or text."""
    found = number(value)
    if not isinstance(found, int | float | str):
        raise TypeError(f"{type(found).__name__} as a place in a list")
    return found


def _numbers(function: Callable[..., Any]) -> Scalar:
    def apply(values: Values, _: Run) -> Any:
        if not all(isinstance(value, int | float) for value in values):
            raise TypeError(f"{[type(value).__name__ for value in values]} in place of numbers")
        result = function(*values)
        return whole(result) if type(result) is int else result

    return apply


def _add(values: Values, _: Run) -> Any:
    left, right = values[:2]
    if isinstance(left, str | list) and type(left) is type(right):
        short(len(left) + len(right))
    elif not (isinstance(left, int | float) and isinstance(right, int | float)):
        raise TypeError(f"{type(left).__name__} and {type(right).__name__} cannot be added")
    result = left + right
    return whole(result) if type(result) is int else result


def _mul(values: Values, _: Run) -> Any:
    left, right = values
    if isinstance(left, list) and type(right) is int:
        short(len(left) * max(right, 0))
        return left * right
    if not (isinstance(left, int | float) and isinstance(right, int | float)):
        raise TypeError(f"{type(left).__name__} and {type(right).__name__} cannot be multiplied")
    result = left * right
    return whole(result) if type(result) is int else result


def flat(value: Any) -> Any:
    """Return ``value`` if comparing and printing it is cheap; raises TypeError for nested lists."""
    if isinstance(value, _PLAIN) or (
        isinstance(value, list | tuple) and all(isinstance(entry, _PLAIN) for entry in value)
    ):
        return value
    raise TypeError(f"{type(value).__name__} cannot be compared")


def _compared(function: Callable[[Any, Any], Any]) -> Scalar:
    return lambda values, _: function(flat(values[0]), flat(values[1]))


def _formatted(values: Values, run: Run) -> str:
    text = values[0]
    for value in values[1:]:
        run.step(len(text) // PER_STEP)
        if isinstance(value, Tensor):
            shown = f"tensor of shape {list(value.shape)}"
        else:
            shown = str(value)[:1000] if isinstance(value, _PLAIN) else type(value).__name__
            if isinstance(value, list) and all(type(entry) is int for entry in value):
                shown = str(value[:100])
        text = text.replace("{}", shown, 1)
        short(len(text))
    return str(text)


def _length(values: Values, _: Run) -> int:
    return len(values[0])


def _element(values: Values, _: Run) -> Any:
    return values[0][key(values[1])]


def _sliced(values: Values, _: Run) -> Any:
    limits = [*values[1:], *(None, None, 1)[len(values) - 1 :]]
    return values[0][slice(*limits)]


def _changing(change: Callable[[Any, Values], Any]) -> Scalar:
    def apply(values: Values, run: Run) -> Any:
        target = values[0]
        if not isinstance(target, list | dict) or id(target) in run.lists:
            raise InputError("keeps state between calls in its own lists, which is not followed; keep it in tensors")
        result = change(target, values[1:])
        short(len(target))
        return target if result is None else result

    return apply


def _extended(target: Any, values: Values) -> None:
    short(len(target) + len(values[0]))
    target.extend(values[0])


def _contains(values: Values, _: Run) -> bool:
    container, wanted = values
    return flat(wanted) in (container if isinstance(container, dict) else flat(container))


def _same(values: Values, _: Run) -> bool:
    return values[0] is values[1] or (isinstance(values[0], bool) and values[0] == values[1])


def _nested(value: Any, run: Run) -> Any:
    """Return a list in the form that ``torch.tensor`` takes, with its tensors converted to numbers."""
    run.step()
    return [_nested(entry, run) for entry in value] if isinstance(value, list) else number(value)


def tensor_of(values: Values, options: dict[str, Any], run: Run) -> Tensor:
    """Return the tensor of a number or of nested lists of numbers."""
    dtype = options.get("dtype", values[1] if len(values) > 1 else None)
    if isinstance(values[0], Tensor):
        return values[0].detach().clone().to(typed(dtype) or values[0].dtype)
    return torch.tensor(_nested(values[0], run), dtype=typed(dtype))


def _sequence(function: Callable[[Sequence[Any]], Any]) -> Scalar:
    return lambda values, _: function(flat(values[0]))


def _extreme(function: Callable[..., Any]) -> Scalar:
    return lambda values, _: (
        function(flat(values[0])) if len(values) == 1 else function(flat(values[0]), flat(values[1]))
    )


SCALARS: dict[str, Scalar] = {
    "add": _add,
    "mul": _mul,
    "sub": _numbers(operator.sub),
    "rsub": _numbers(lambda a, b: b - a),
    "div": _numbers(lambda a, b: float(a) / float(b)),
    "floordiv": _numbers(operator.floordiv),
    "floor_divide": _numbers(operator.floordiv),
    "remainder": _numbers(operator.mod),
    "fmod": _numbers(math.fmod),
    "pow": _numbers(lambda a, b: math.pow(a, b)),
    "neg": _numbers(operator.neg),
    "abs": _numbers(abs),
    "floor": _numbers(math.floor),
    "ceil": _numbers(math.ceil),
    "round": _numbers(lambda a: float(round(a))),
    **{name: _numbers(getattr(math, name)) for name in ("sqrt", "exp", "log", "log2", "log10", "sin", "cos", "tan")},
    **{name: _numbers(getattr(math, name)) for name in ("asin", "acos", "atan", "sinh", "cosh", "tanh", "atan2")},
    "eq": _compared(operator.eq),
    "ne": _compared(operator.ne),
    "lt": _numbers(operator.lt),
    "le": _numbers(operator.le),
    "gt": _numbers(operator.gt),
    "ge": _numbers(operator.ge),
    "max": _extreme(max),
    "min": _extreme(min),
    "all": _sequence(all),
    "any": _sequence(any),
    "sum": _sequence(sum),
    "__and__": _numbers(operator.and_),
    "__or__": _numbers(operator.or_),
    "__xor__": _numbers(operator.xor),
    "__not__": lambda values, _: not flat(values[0]),
    "__is__": _same,
    "__isnot__": lambda values, run: not _same(values, run),
    "__contains__": _contains,
    "__getitem__": _element,
    "slice": _sliced,
    "len": _length,
    "list": lambda values, _: list(values[0]),
    "copy": lambda values, _: values[0].copy(),
    "keys": lambda values, _: list(values[0].keys()),
    "values": lambda values, _: list(values[0].values()),
    "items": lambda values, _: list(values[0].items()),
    "format": _formatted,
    "append": _changing(lambda target, values: target.append(values[0])),
    "extend": _changing(_extended),
    "insert": _changing(lambda target, values: target.insert(values[0], values[1])),
    "pop": _changing(lambda target, values: target.pop(*values)),
    "reverse": _changing(lambda target, _: target.reverse()),
    "clear": _changing(lambda target, _: target.clear()),
    "_set_item": _changing(lambda target, values: target.__setitem__(key(values[0]), values[1])),
    "Int": lambda values, _: whole(int(number(values[0]))),
    "Float": lambda values, _: float(number(values[0])),
    "Bool": lambda values, _: bool(number(values[0])),
    "IntImplicit": lambda values, _: whole(int(number(values[0]))),
    "FloatImplicit": lambda values, _: float(number(values[0])),
    "ScalarImplicit": lambda values, _: number(values[0]),
    "device": lambda _, __: CPU,
    "warn": lambda _, __: None,
}
"""Operators on values that are no tensors."""
