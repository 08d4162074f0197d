"""Compilation of calls: of operators, of the program's functions and methods, and of conversions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from prunekit.errors import InputError
from prunekit.readers.torchscript.budget import PER_STEP, Run, whole
from prunekit.readers.torchscript.objects import Class, Expression, Function, Module, Names, Options
from prunekit.readers.torchscript.operators import operator_named, operator_of_version
from prunekit.readers.torchscript.values import number, typed

_NUMBERS = {"int": int, "float": float, "bool": bool}
_PLACES = frozenset(["device", "layout", "memory_format", "pin_memory"])
"""Where and how a tensor is kept: here plainly in memory, whatever machine the file was written on."""


def of_operator(path: str, arguments: Sequence[Expression], options: Options, version: int) -> Expression:
    """Compile a call of the operator ``path``."""
    operator = operator_of_version(path, version)
    steps = 1 + len(arguments) // PER_STEP
    if not options:

        def apply(names: Names, run: Run) -> Any:
            run.step(steps)
            values = [argument(names, run) for argument in arguments]
            if run.tracing is not None:
                return run.tracing.call(path, operator, values, {}, run)
            return operator(values, {}, run)

        return apply

    def apply_with_options(names: Names, run: Run) -> Any:
        run.step(steps)
        given = {name: option(names, run) for name, option in options if name not in _PLACES}
        if "dtype" in given:
            typed(given["dtype"])
        if given.pop("out", None) is not None:
            raise InputError(f"calls '{path}' with an output argument (out=), which is not supported")
        values = [argument(names, run) for argument in arguments]
        if run.tracing is not None:
            return run.tracing.call(path, operator, values, given, run)
        return operator(values, given, run)

    return apply_with_options


def of_function(target: Expression, path: str, arguments: Sequence[Expression], options: Options) -> Expression:
    """Compile a call of a function; ``path`` is its name in messages."""

    def call(names: Names, run: Run) -> Any:
        function = target(names, run)
        if not isinstance(function, Function):
            raise InputError(f"calls '{path[:60]}', which is not one of its functions")
        run.step(len(arguments) // PER_STEP)
        given = {name: option(names, run) for name, option in options}
        return function.call([argument(names, run) for argument in arguments], given, run)

    return call


def of_method(owner: Expression, name: str, path: str, arguments: Sequence[Expression], options: Options) -> Expression:
    """Compile a call of a method of a module."""

    def call(names: Names, run: Run) -> Any:
        module = owner(names, run)
        if not isinstance(module, Module) or name not in module.kind.methods:
            raise InputError(f"calls '{path}', which it does not define")
        run.step(len(arguments) // PER_STEP)
        given = {option: expression(names, run) for option, expression in options}
        values = [module, *[argument(names, run) for argument in arguments]]
        if run.tracing is None:
            return module.kind.methods[name].call(values, given, run)
        with run.tracing.inside(module):
            return module.kind.methods[name].call(values, given, run)

    return call


def of_class(kind: Class, arguments: Sequence[Expression]) -> Expression | None:
    """Compile the construction of a named tuple, as a plain tuple; None for any other class."""
    if not kind.is_tuple:
        return None

    def make(names: Names, run: Run) -> tuple[Any, ...]:
        run.step(1 + len(arguments) // PER_STEP)
        return tuple([argument(names, run) for argument in arguments])

    return make


def of_cast(kind: str, value: Expression) -> Expression:
    """Compile a type assertion; a tensor asserted to be a number becomes one."""
    if kind not in (*_NUMBERS, "number"):
        return value
    convert = _NUMBERS.get(kind, number)

    def cast(names: Names, run: Run) -> Any:
        found = run.known(value(names, run))
        return _converted(convert, found.item()) if isinstance(found, Tensor) else found

    return cast


def _converted(convert: Callable[[Any], Any], value: Any) -> Any:
    try:
        return convert(value)
    except (ValueError, OverflowError) as error:  # NaN and infinity are no whole numbers
        raise InputError(f"makes an integer of {value}") from error


def of_conversion(kind: str, value: Expression) -> Expression:
    """Compile a conversion to a number or text."""
    if kind == "str":
        text = operator_named("torch.format")
        return lambda names, run: text(["{}", value(names, run)], {}, run)
    convert = _NUMBERS[kind]

    def converted(names: Names, run: Run) -> Any:
        found = _converted(convert, number(run.known(value(names, run))))
        return whole(found) if type(found) is int else found

    return converted
