"""Compilation of statements and functions into closures."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from prunekit.errors import InputError
from prunekit.readers.torchscript.budget import Run
from prunekit.readers.torchscript.expressions import assigned, expression, items, looped, truth
from prunekit.readers.torchscript.objects import RESERVED, Body, Function, Names, Program, Statement, refusing, shown


def compiled(function: Function) -> Body:
    """Compile a function; raises InputError if it redefines a word of the language."""
    definition, program = function.definition, function.program
    arguments = definition.args
    strange = [arguments.vararg, arguments.kwarg, *arguments.kwonlyargs, *arguments.posonlyargs]
    if any(argument is not None for argument in strange) or definition.decorator_list:
        raise InputError(f"defines '{function.name}' in an unknown form")
    stored = [argument.arg for argument in arguments.args]
    stored += [n.id for n in ast.walk(definition) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)]
    taken = next((name for name in stored if name in RESERVED), None)
    if taken is not None:
        raise InputError(f"redefines '{taken}'")
    needed = len(arguments.args) - len(arguments.defaults)
    defaults = [*[None] * needed, *(expression(node, program) for node in arguments.defaults)]
    parameters = [(argument.arg, default) for argument, default in zip(arguments.args, defaults, strict=True)]
    return Body(parameters=parameters, run=_block(definition.body, program))


def _block(nodes: Sequence[ast.stmt], program: Program) -> Statement:
    statements = [_statement(node, program) for node in nodes if not isinstance(node, ast.Pass)]

    def run_all(names: Names, run: Run) -> tuple[Any] | None:
        for statement in statements:
            returned = statement(names, run)
            if returned is not None:
                return returned
        return None

    return run_all


def _statement(node: ast.stmt, program: Program) -> Statement:
    match node:
        case ast.Assign(targets=[target], value=value):
            return assigned(target, expression(value, program))
        case ast.AnnAssign(target=ast.Name() as target, value=ast.expr() as value):
            return assigned(target, expression(value, program))
        case ast.Expr(value=value):
            ignored = expression(value, program)

            def ignore(names: Names, run: Run) -> None:
                ignored(names, run)

            return ignore
        case ast.Return(value=None):
            return lambda _, __: (None,)
        case ast.Return(value=ast.expr() as value):
            returned = expression(value, program)
            return lambda names, run: (returned(names, run),)
        case ast.If(test=test, body=body, orelse=otherwise):
            condition = expression(test, program)
            then, rest = _block(body, program), _block(otherwise, program)
            return lambda names, run: (then if truth(run.known(condition(names, run))) else rest)(names, run)
        case ast.For(target=target, iter=source, body=body, orelse=[]):
            return looped(target, items(source, program), _block(body, program))
        case ast.While(test=test, body=body, orelse=[]):
            return _repeated(test, body, program)
        case _:
            return refusing(f"has '{shown(node)}'")


def _repeated(test: ast.expr, body: Sequence[ast.stmt], program: Program) -> Statement:
    condition, then = expression(test, program), _block(body, program)

    def repeat(names: Names, run: Run) -> tuple[Any] | None:
        while truth(run.known(condition(names, run))):
            run.step()
            returned = then(names, run)
            if returned is not None:
                return returned
        return None

    return repeat
