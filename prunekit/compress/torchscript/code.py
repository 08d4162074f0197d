"""A program of TorchScript's small language, made closures that do its arithmetic and nothing else.

The language looks like Python, so that Python's parser reads it; what it means is said here. Whatever is not known is
refused by name when it is reached, as branches that are never taken may hold anything.
"""

from __future__ import annotations

import ast
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, final

from torch import Tensor

from prunekit.compress.torchscript.budget import MAX_CALL_DEPTH, Run, whole
from prunekit.compress.torchscript.operators import operator_named, operator_of_version
from prunekit.compress.torchscript.values import key, number
from prunekit.errors import InputError

Names = dict[str, Any]
Expression = Callable[[Names, Run], Any]
Statement = Callable[[Names, Run], tuple[Any] | None]
"""Returns None, or what the function is to return, in a tuple."""

CONVERSIONS = frozenset(
    ["annotate", "bool", "float", "getattr", "int", "isinstance", "print", "str", "unchecked_cast", "uninitialized"]
)
RESERVED = CONVERSIONS | {"torch", "ops", "__torch__", "CONSTANTS", "range"}
_NATIVE = "__torch__.torch.classes."
_NUMBERS = {"int": int, "float": float, "bool": bool, "number": lambda value: value}


@final
@dataclass(eq=False)
class Function:
    """A function of the program; its body is compiled when it is first called."""

    name: str
    definition: ast.FunctionDef
    program: Program
    parameters: Sequence[tuple[str, Expression | None]] = ()
    body: Statement | None = None

    def call(self, values: Sequence[Any], options: Mapping[str, Any], run: Run) -> Any:
        """Return the function's value."""
        if self.body is None:
            self.compile()
            assert self.body is not None
        run.step()
        names = dict(options)
        if len(values) > len(self.parameters) or not options.keys() <= {name for name, _ in self.parameters}:
            raise TypeError(f"'{self.name}' is called with arguments that it does not take")
        for (name, default), value in itertools.zip_longest(self.parameters, values, fillvalue=_MISSING):
            if value is not _MISSING:
                names[name] = value
            elif name not in names:
                if default is None:
                    raise TypeError(f"'{self.name}' is called without '{name}'")
                names[name] = default({}, run)
        run.depth += 1
        if run.depth > MAX_CALL_DEPTH:
            raise InputError(f"calls itself, or calls functions more than {MAX_CALL_DEPTH} deep")
        try:
            returned = self.body(names, run)
        finally:
            run.depth -= 1
        return None if returned is None else returned[0]

    def compile(self) -> None:
        """Compile the body; raises InputError where it gives a word of the language another meaning."""
        arguments = self.definition.args
        strange = [arguments.vararg, arguments.kwarg, *arguments.kwonlyargs, *arguments.posonlyargs]
        if any(argument is not None for argument in strange) or self.definition.decorator_list:
            raise InputError(f"defines '{self.name}' in a way of its own")
        stored = [arg.arg for arg in arguments.args]
        for node in ast.walk(self.definition):
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                stored.append(node.id)
        taken = next((name for name in stored if name in RESERVED), None)
        if taken is not None:
            raise InputError(f"gives '{taken}' another meaning")
        defaults = [None] * (len(arguments.args) - len(arguments.defaults)) + [
            self.program.expression(node) for node in arguments.defaults
        ]
        self.parameters = [(argument.arg, default) for argument, default in zip(arguments.args, defaults, strict=True)]
        self.body = self.program.block(self.definition.body)


_MISSING: Any = object()


@final
@dataclass(eq=False)
class Class:
    """A class of the program: methods, constants, and the names of its parameters."""

    name: str
    methods: dict[str, Function] = field(default_factory=dict)
    constants: dict[str, ast.expr] = field(default_factory=dict)
    parameters: frozenset[str] = frozenset()
    is_tuple: bool = False


@final
@dataclass(eq=False)
class Module:
    """An object of the program: its class and its attributes."""

    kind: Class
    fields: dict[str, Any]


@final
@dataclass(eq=False)
class Program:
    """Everything that the code of an archive defines, its constants, and the version of the operators it calls."""

    version: int
    functions: dict[str, Function] = field(default_factory=dict)
    classes: dict[str, Class] = field(default_factory=dict)
    constants: Sequence[Any] = ()

    def block(self, nodes: Sequence[ast.stmt]) -> Statement:
        """Compile statements in a row."""
        statements = [self.statement(node) for node in nodes if not isinstance(node, ast.Pass)]

        def run_all(names: Names, run: Run) -> tuple[Any] | None:
            for statement in statements:
                returned = statement(names, run)
                if returned is not None:
                    return returned
            return None

        return run_all

    def statement(self, node: ast.stmt) -> Statement:
        """Compile one statement."""
        match node:
            case ast.Assign(targets=[target], value=value):
                return _assigned(target, self.expression(value))
            case ast.Expr(value=value):
                expression = self.expression(value)

                def ignore(names: Names, run: Run) -> None:
                    expression(names, run)

                return ignore
            case ast.Return(value=None):
                return lambda _, __: (None,)
            case ast.Return(value=ast.expr() as value):
                returned = self.expression(value)
                return lambda names, run: (returned(names, run),)
            case ast.If(test=test, body=body, orelse=otherwise):
                condition, then, rest = self.expression(test), self.block(body), self.block(otherwise)

                def choose(names: Names, run: Run) -> tuple[Any] | None:
                    return (then if truth(condition(names, run)) else rest)(names, run)

                return choose
            case ast.For(target=target, iter=source, body=body, orelse=[]):
                return self.loop(target, self.items(source), self.block(body))
            case ast.While(test=test, body=body, orelse=[]):
                condition, then = self.expression(test), self.block(body)

                def repeat(names: Names, run: Run) -> tuple[Any] | None:
                    while truth(condition(names, run)):
                        run.step()
                        returned = then(names, run)
                        if returned is not None:
                            return returned
                    return None

                return repeat
        return _refusing(f"has '{_shown(node)}'")

    def loop(self, target: ast.expr, items: Callable[[Names, Run], Iterator[Any]], body: Statement) -> Statement:
        """Compile a loop over items."""
        found: list[Any] = [None]
        assign = _assigned(target, lambda _, __: found[0])

        def repeat(names: Names, run: Run) -> tuple[Any] | None:
            for item in items(names, run):
                run.step()
                found[0] = item
                assign(names, run)
                returned = body(names, run)
                if returned is not None:
                    return returned
            return None

        return repeat

    def items(self, node: ast.expr) -> Callable[[Names, Run], Iterator[Any]]:
        """Compile what a loop goes over: a range of numbers, or a list."""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
            limits = [self.expression(argument) for argument in node.args]
            return lambda names, run: iter(range(*(whole(int(limit(names, run))) for limit in limits)))
        source = self.expression(node)

        def entries(names: Names, run: Run) -> Iterator[Any]:
            found = source(names, run)
            if not isinstance(found, list | tuple | dict | str):
                raise TypeError(f"a loop over {type(found).__name__}")
            return iter(list(found))

        return entries

    def expression(self, node: ast.expr) -> Expression:
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
                return self.attribute(node)
            case ast.Call():
                return self.call(node)
            case ast.List(elts=entries) | ast.Tuple(elts=entries):
                parts = [self.expression(entry) for entry in entries]
                if isinstance(node, ast.Tuple):
                    return lambda names, run: tuple([part(names, run) for part in parts])
                return lambda names, run: [part(names, run) for part in parts]
            case ast.Dict(keys=keys, values=values) if all(key is not None for key in keys):
                pairs = [(self.expression(k), self.expression(v)) for k, v in zip(keys, values, strict=True) if k]
                return lambda names, run: {key(k(names, run)): v(names, run) for k, v in pairs}
            case ast.Subscript(value=value, slice=ast.Slice(lower=lower, upper=upper, step=None)):
                target, ends = (
                    self.expression(value),
                    [lower and self.expression(lower), upper and self.expression(upper)],
                )
                return lambda names, run: target(names, run)[slice(*(end and end(names, run) for end in ends))]
            case ast.Subscript(value=value, slice=index):
                container, place = self.expression(value), self.expression(index)
                return lambda names, run: container(names, run)[key(place(names, run))]
            case ast.IfExp(test=test, body=body, orelse=otherwise):
                condition, then, rest = (self.expression(part) for part in (test, body, otherwise))
                return lambda names, run: (then if truth(condition(names, run)) else rest)(names, run)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                negated, negative = self.expression(operand), operator_named("torch.neg")
                return lambda names, run: negative([negated(names, run)], {}, run)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                denied = self.expression(operand)
                return lambda names, run: not truth(denied(names, run))
            case ast.BoolOp(op=connective, values=values):
                parts, stop = [self.expression(value) for value in values], isinstance(connective, ast.Or)
                return lambda names, run: (any if stop else all)(truth(part(names, run)) for part in parts)
            case ast.ListComp(
                elt=entry, generators=[ast.comprehension(target=target, iter=source, ifs=[], is_async=0)]
            ):
                return self.listed(target, self.items(source), self.expression(entry))
        return _refusing(f"has '{_shown(node)}'")

    def listed(self, target: ast.expr, items: Callable[[Names, Run], Iterator[Any]], entry: Expression) -> Expression:
        """Compile a list comprehension."""

        def collect(names: Names, run: Run) -> list[Any]:
            made: list[Any] = []

            def append(inner: Names, inside: Run) -> None:
                made.append(entry(inner, inside))

            self.loop(target, items, append)(names, run)
            return made

        return collect

    def attribute(self, node: ast.Attribute) -> Expression:
        """Compile an attribute that is not called: one of a module, a constant, or a name for a function."""
        path = dotted(node)
        root = path.partition(".")[0]
        if root == "CONSTANTS":
            place = path.removeprefix("CONSTANTS.c")
            if not place.isdigit() or int(place) >= len(self.constants):
                return _refusing(f"names '{path[:60]}', which it does not hold")
            constant = self.constants[int(place)]
            return lambda _, __: constant
        if root in RESERVED:
            if path in self.functions and not path.startswith(_NATIVE):
                function = self.functions[path]
                return lambda _, __: function
            return _refusing(f"names '{path[:60]}'")
        owner, name = self.expression(node.value), node.attr
        return lambda names, run: self.field(owner(names, run), name, run)

    def field(self, owner: Any, name: str, run: Run) -> Any:
        """Return an attribute of a module; modules are in evaluation mode."""
        if not isinstance(owner, Module):
            raise InputError(f"reads '{name}' of what is no module")
        if name == "training":
            return False
        if name in owner.fields:
            value = owner.fields[name]
            if name in owner.kind.parameters and isinstance(value, Tensor):
                run.use(value)
            return value
        if name in owner.kind.constants:
            return self.expression(owner.kind.constants[name])({}, run)
        raise InputError(f"reads '{name}' of a module that has none")

    def call(self, node: ast.Call) -> Expression:
        """Compile a call: of an operator, of a function, of a module's method, or of a conversion."""
        if any(keyword.arg is None for keyword in node.keywords) or any(isinstance(a, ast.Starred) for a in node.args):
            return _refusing(f"has '{_shown(node)}'")
        if isinstance(node.func, ast.Name) and node.func.id in RESERVED:
            return self.conversion(node.func.id, node.args)
        arguments = [self.expression(argument) for argument in node.args]
        options = [(str(keyword.arg), self.expression(keyword.value)) for keyword in node.keywords]
        path = dotted(node.func)
        root = path.partition(".")[0]
        if root in ("torch", "ops"):
            return _operated(path, arguments, options, self.version)
        target: Expression
        if root == "__torch__":
            if path in self.classes and self.classes[path].is_tuple:
                return lambda names, run: tuple([argument(names, run) for argument in arguments])
            known = self.functions.get(path)
            if known is None or path.startswith(_NATIVE):
                return _refusing(f"calls '{path[:60]}', which it does not define")
            target = lambda _, __: known  # noqa: E731
        elif isinstance(node.func, ast.Attribute):
            return self.method(node.func, arguments, options)
        elif isinstance(node.func, ast.Name):
            target = self.expression(node.func)
        else:
            return _refusing(f"calls '{_shown(node.func)}'")

        def call(names: Names, run: Run) -> Any:
            function = target(names, run)
            if not isinstance(function, Function):
                raise InputError(f"calls '{path[:60]}', which is no function of its own")
            given = {name: option(names, run) for name, option in options}
            return function.call([argument(names, run) for argument in arguments], given, run)

        return call

    def method(
        self, node: ast.Attribute, arguments: Sequence[Expression], options: Sequence[tuple[str, Expression]]
    ) -> Expression:
        """Compile the call of a module's method."""
        owner, name = self.expression(node.value), node.attr

        def call(names: Names, run: Run) -> Any:
            module = owner(names, run)
            if not isinstance(module, Module) or name not in module.kind.methods:
                raise InputError(f"calls '{_shown(node)}', which it does not define")
            given = {option: expression(names, run) for option, expression in options}
            values = [module, *[argument(names, run) for argument in arguments]]
            return module.kind.methods[name].call(values, given, run)

        return call

    def conversion(self, name: str, arguments: Sequence[ast.expr]) -> Expression:
        """Compile a call of a word of the language."""
        match name, arguments:
            case "annotate" | "unchecked_cast", [ast.Name(id="int" | "float" | "bool" | "number" as kind), value]:
                inner, convert = self.expression(value), _NUMBERS[kind]

                def converted(names: Names, run: Run) -> Any:
                    found = inner(names, run)
                    return convert(found.item()) if isinstance(found, Tensor) else found

                return converted
            case "annotate" | "unchecked_cast", [_, value]:
                return self.expression(value)
            case "uninitialized", _:
                return lambda _, __: None
            case "print", _:
                return lambda _, __: None
            case "int" | "float" | "bool", [value]:
                inner, convert = self.expression(value), _NUMBERS[name]
                return lambda names, run: _bounded(convert(number(inner(names, run))))
            case "str", [value]:
                text, shown = operator_named("torch.format"), self.expression(value)
                return lambda names, run: text(["{}", shown(names, run)], {}, run)
            case "getattr", [owner, ast.Constant(value=str(attribute))]:
                module = self.expression(owner)
                return lambda names, run: self.field(module(names, run), attribute, run)
        return _refusing(f"calls '{name}' in a way of its own")


def _operated(
    path: str, arguments: Sequence[Expression], options: Sequence[tuple[str, Expression]], version: int
) -> Expression:
    operator = operator_of_version(path, version)
    if not options:

        def apply(names: Names, run: Run) -> Any:
            run.step()
            return operator([argument(names, run) for argument in arguments], {}, run)

        return apply

    def apply_with_options(names: Names, run: Run) -> Any:
        run.step()
        given = {name: option(names, run) for name, option in options}
        if given.pop("out", None) is not None:
            raise InputError(f"calls '{path}' with a place for the result, which is not run")
        return operator([argument(names, run) for argument in arguments], given, run)

    return apply_with_options


def _assigned(target: ast.expr, value: Expression) -> Statement:
    match target:
        case ast.Name(id=name):

            def bind(names: Names, run: Run) -> None:
                names[name] = value(names, run)

            return bind
        case ast.Tuple(elts=parts) if all(isinstance(part, ast.Name) for part in parts):
            wanted = [part.id for part in parts if isinstance(part, ast.Name)]

            def unpack(names: Names, run: Run) -> None:
                found = value(names, run)
                if not isinstance(found, list | tuple) or len(found) != len(wanted):
                    raise TypeError(f"{len(wanted)} names for {type(found).__name__}")
                names.update(zip(wanted, found, strict=True))

            return unpack
        case ast.Attribute(attr=name):
            return _refusing(
                f"keeps state between calls (it changes its attribute '{name[:60]}'); recurrent policies are not read"
            )
    return _refusing(f"assigns to '{_shown(target)}'")


def _local(name: str) -> Expression:
    def look_up(names: Names, _: Run) -> Any:
        try:
            return names[name]
        except KeyError:
            raise InputError(f"reads '{name[:60]}', which has no value") from None

    return look_up


def _refusing(reason: str) -> Callable[[Names, Run], NoReturn]:
    def refuse(_: Names, __: Run) -> NoReturn:
        raise InputError(reason)

    return refuse


def truth(value: Any) -> bool:
    """Return whether a condition holds; raises TypeError for what is no truth value, number or lone element."""
    found = number(value)
    if not isinstance(found, bool | int | float):
        raise TypeError(f"a condition that is a {type(found).__name__}")
    return bool(found)


def _bounded(value: Any) -> Any:
    return whole(value) if type(value) is int else value


def dotted(node: ast.expr) -> str:
    """Return a name with its attributes, or an empty text for any other expression."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join([node.id, *names[::-1]]) if isinstance(node, ast.Name) else ""


def _shown(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())[:60]
