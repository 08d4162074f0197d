"""Compilation of expressions into closures that can only do the program's arithmetic.

The syntax is that of Python, so Python's parser reads it; this module defines its meaning. Anything unknown is refused
by name when it is reached, because branches that are never taken may contain anything.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor

from prunekit.errors import InputError
from prunekit.readers.torchscript import calls
from prunekit.readers.torchscript.budget import PER_STEP, Run, whole
from prunekit.readers.torchscript.objects import (
    RESERVED,
    Expression,
    Module,
    Names,
    Program,
    Statement,
    dotted,
    refusing,
    shown,
)
from prunekit.readers.torchscript.values import key, number

Items = Callable[[Names, Run], Iterator[Any]]
_NATIVE = "__torch__.torch.classes."
"""Where a path leads to classes that are registered with torch, whatever the archive says."""


def expression(node: ast.expr, program: Program) -> Expression:
    """Compile one expression."""
    match node:
        case ast.Constant(value=value) if value is None or isinstance(value, bool | int | float | str):
            constant = whole(value) if type(value) is int else value
            return lambda _, __: constant
        case ast.Name(id="inf" | "nan" as name):
            return lambda _, __: math.inf if name == "inf" else math.nan
        case ast.Name(id=name) if name not in RESERVED:
            return _local(name)
        case ast.Attribute():
            return _attribute(node, program)
        case ast.Call():
            return _call(node, program)
        case ast.List(elts=entries) | ast.Tuple(elts=entries):
            return _gathered([expression(entry, program) for entry in entries], isinstance(node, ast.Tuple))
        case ast.Dict(keys=keys, values=values) if all(key is not None for key in keys):
            pairs = [(expression(k, program), expression(v, program)) for k, v in zip(keys, values, strict=True) if k]

            def mapped(names: Names, run: Run) -> dict[Any, Any]:
                run.step(1 + len(pairs) // PER_STEP)
                return {key(run.known(k(names, run))): v(names, run) for k, v in pairs}

            return mapped
        case ast.Subscript(value=value, slice=index):
            return _part(expression(value, program), index, program)
        case ast.ListComp(elt=entry, generators=[ast.comprehension(target=target, iter=source, ifs=[], is_async=0)]):
            return _listed(target, items(source, program), expression(entry, program))
        case _:
            return _logical(node, program)


def _gathered(parts: Sequence[Expression], as_tuple: bool) -> Expression:
    def gather(names: Names, run: Run) -> Any:
        run.step(1 + len(parts) // PER_STEP)
        found = [part(names, run) for part in parts]
        return tuple(found) if as_tuple else found

    return gather


def _logical(node: ast.expr, program: Program) -> Expression:
    """Compile a conditional or logical expression."""
    match node:
        case ast.IfExp(test=test, body=body, orelse=otherwise):
            condition, then, rest = (expression(part, program) for part in (test, body, otherwise))

            def choose(names: Names, run: Run) -> Any:
                run.step()
                return (then if truth(run.known(condition(names, run))) else rest)(names, run)

            return choose
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return calls.of_operator("torch.neg", [expression(operand, program)], [], program.version)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            denied = expression(operand, program)
            return lambda names, run: not truth(run.known(denied(names, run)))
        case ast.BoolOp(op=connective, values=values):
            parts, combine = (
                [expression(value, program) for value in values],
                any if isinstance(connective, ast.Or) else all,
            )

            def connected(names: Names, run: Run) -> bool:
                run.step(1 + len(parts) // PER_STEP)
                return combine(truth(run.known(part(names, run))) for part in parts)

            return connected
        case _:
            return refusing(f"has '{shown(node)}'")


def items(node: ast.expr, program: Program) -> Items:
    """Compile the iterable of a loop: a range or a list."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
        limits = [expression(argument, program) for argument in node.args]
        return lambda names, run: iter(range(*(whole(int(run.known(limit(names, run)))) for limit in limits)))
    source = expression(node, program)

    def entries(names: Names, run: Run) -> Iterator[Any]:
        found = run.known(source(names, run))
        if not isinstance(found, list | tuple | dict | str):
            raise TypeError(f"a loop over {type(found).__name__}")
        run.walk([found])
        return iter(list(found))

    return entries


def assigned(target: ast.expr, value: Expression) -> Statement:
    """Compile an assignment. An assignment to an attribute would be a state, and is refused."""
    match target:
        case ast.Name(id=name):

            def bind(names: Names, run: Run) -> None:
                names[name] = value(names, run)

            return bind
        case ast.Tuple(elts=parts) if all(isinstance(part, ast.Name) for part in parts):
            wanted = [part.id for part in parts if isinstance(part, ast.Name)]

            def unpack(names: Names, run: Run) -> None:
                found = value(names, run)
                if not isinstance(found, list | tuple):
                    found = run.known(found)
                if not isinstance(found, list | tuple) or len(found) != len(wanted):
                    raise TypeError(f"{len(wanted)} names for {type(found).__name__}")
                names.update(zip(wanted, found, strict=True))

            return unpack
        case ast.Attribute(attr=name):
            return refusing(
                f"keeps state between calls: it assigns to its attribute '{name[:60]}', which is not followed; write "
                f"to it in place (self.{name[:60]}[:] = ...) and save the policy again"
            )
        case _:
            return refusing(f"assigns to '{shown(target)}'")


def looped(target: ast.expr, source: Items, body: Statement) -> Statement:
    """Compile a loop."""

    def repeat(names: Names, run: Run) -> tuple[Any] | None:
        for item in source(names, run):
            run.step()
            assigned(target, lambda _, __, item=item: item)(names, run)  # type: ignore[misc]
            returned = body(names, run)
            if returned is not None:
                return returned
        return None

    return repeat


def _listed(target: ast.expr, source: Items, entry: Expression) -> Expression:
    def collect(names: Names, run: Run) -> list[Any]:
        made: list[Any] = []

        def append(inner: Names, inside: Run) -> None:
            made.append(entry(inner, inside))

        looped(target, source, append)(names, run)
        return made

    return collect


def _part(container: Expression, index: ast.expr, program: Program) -> Expression:
    if isinstance(index, ast.Slice):
        ends = [end and expression(end, program) for end in (index.lower, index.upper, index.step)]
        return lambda names, run: container(names, run)[slice(*(end and run.known(end(names, run)) for end in ends))]
    place = expression(index, program)
    return lambda names, run: container(names, run)[key(run.known(place(names, run)))]


def _attribute(node: ast.Attribute, program: Program) -> Expression:
    """Compile an attribute that is not called: one of a module, a constant, or the name of a function."""
    path = dotted(node)
    root = path.partition(".")[0]
    if root == "CONSTANTS":
        place = path.removeprefix("CONSTANTS.c")
        if not place.isdigit() or int(place) >= len(program.constants):
            return refusing(f"names '{path[:60]}', which it does not hold")
        constant = program.constants[int(place)]
        return lambda _, __: constant
    if root in RESERVED:
        function = program.functions.get(path)
        if function is None or path.startswith(_NATIVE):
            return refusing(f"names '{path[:60]}'")
        return lambda _, __: function
    owner, name = expression(node.value, program), node.attr
    return lambda names, run: _field(owner(names, run), name, program, run)


def _field(owner: Any, name: str, program: Program, run: Run) -> Any:
    """Return an attribute of a module; modules are in evaluation mode."""
    if not isinstance(owner, Module):
        raise InputError(f"reads '{name}' of something that is not a module")
    if name == "training":
        return False
    if name in owner.fields:
        value = owner.fields[name]
        if name in owner.kind.parameters and isinstance(value, Tensor):
            run.use(value)
        return value
    if name in owner.kind.constants:
        compiled = owner.kind.compiled
        if name not in compiled:
            compiled[name] = expression(owner.kind.constants[name], program)
        return compiled[name]({}, run)
    raise InputError(f"reads '{name}' of a module that has none")


def _call(node: ast.Call, program: Program) -> Expression:
    if any(keyword.arg is None for keyword in node.keywords) or any(isinstance(a, ast.Starred) for a in node.args):
        return refusing(f"has '{shown(node)}'")
    if isinstance(node.func, ast.Name) and node.func.id in RESERVED:
        return _conversion(node.func.id, node.args, program)
    arguments = [expression(argument, program) for argument in node.args]
    options = [(str(keyword.arg), expression(keyword.value, program)) for keyword in node.keywords]
    path = dotted(node.func)
    root = path.partition(".")[0]
    if root in ("torch", "ops"):
        return calls.of_operator(path, arguments, options, program.version)
    if root == "__torch__":
        kind, function = program.classes.get(path), program.functions.get(path)
        made = None if kind is None else calls.of_class(kind, arguments)
        if made is not None:
            return made
        if function is None or path.startswith(_NATIVE):
            return refusing(f"calls '{path[:60]}', which it does not define")
        return calls.of_function(lambda _, __: function, path, arguments, options)
    if isinstance(node.func, ast.Attribute):
        return calls.of_method(
            expression(node.func.value, program), node.func.attr, shown(node.func), arguments, options
        )
    if isinstance(node.func, ast.Name):
        return calls.of_function(expression(node.func, program), path, arguments, options)
    return refusing(f"calls '{shown(node.func)}'")


def _conversion(name: str, arguments: Sequence[ast.expr], program: Program) -> Expression:
    """Compile a call of a built-in word of the language."""
    match name, arguments:
        case "annotate" | "unchecked_cast", [kind, value]:
            return calls.of_cast(dotted(kind), expression(value, program))
        case "uninitialized" | "print", _:
            return lambda _, __: None
        case "int" | "float" | "bool" | "str", [value]:
            return calls.of_conversion(name, expression(value, program))
        case "getattr", [owner, ast.Constant(value=str(attribute))]:
            module = expression(owner, program)
            return lambda names, run: _field(module(names, run), attribute, program, run)
        case _:
            return refusing(f"calls '{name}' in an unknown form")


def _local(name: str) -> Expression:
    def look_up(names: Names, _: Run) -> Any:
        try:
            return names[name]
        except KeyError:
            raise InputError(f"reads '{name[:60]}', which has no value") from None

    return look_up


def truth(value: Any) -> bool:
    """Return the truth value of a condition; raises TypeError unless it is a truth value, a number or a tensor of one
    element.
    """
    found = number(value)
    if not isinstance(found, bool | int | float):
        raise TypeError(f"a condition that is a {type(found).__name__}")
    return bool(found)
