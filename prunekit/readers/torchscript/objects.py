"""The objects of a TorchScript program: functions, classes, modules."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, final

from prunekit.errors import InputError
from prunekit.readers.torchscript.budget import MAX_CALL_DEPTH, Run

Names = dict[str, Any]
Expression = Callable[[Names, Run], Any]
Statement = Callable[[Names, Run], tuple[Any] | None]
"""Returns None, or what the function is to return, in a tuple."""
Options = Sequence[tuple[str, Expression]]

CONVERSIONS = frozenset(
    ["annotate", "bool", "float", "getattr", "int", "isinstance", "print", "str", "unchecked_cast", "uninitialized"]
)
RESERVED = CONVERSIONS | {"torch", "ops", "__torch__", "CONSTANTS", "range"}
"""Words of the language, to which no program may give another meaning."""
_MISSING: Any = object()


@final
@dataclass(frozen=True, kw_only=True)
class Body:
    """The compiled form of a function: its parameters with defaults, and its statements."""

    parameters: Sequence[tuple[str, Expression | None]]
    run: Statement


@final
@dataclass(eq=False, kw_only=True)
class Function:
    """A function of the program, compiled on its first call."""

    name: str
    definition: ast.FunctionDef
    program: Program
    body: Body | None = None

    def call(self, values: Sequence[Any], options: Mapping[str, Any], run: Run) -> Any:
        """Run the function and return its value; raises InputError if it exceeds the budget or does anything but
        arithmetic.
        """
        if self.body is None:
            self.body = self.program.compiler(self)
        parameters = self.body.parameters
        run.step()
        if len(values) > len(parameters) or not options.keys() <= {name for name, _ in parameters}:
            raise TypeError(f"'{self.name}' is called with arguments that it does not take")
        names = dict(options)
        for (name, default), value in itertools.zip_longest(parameters, values, fillvalue=_MISSING):
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
            returned = self.body.run(names, run)
        finally:
            run.depth -= 1
        return None if returned is None else returned[0]


@final
@dataclass(eq=False, kw_only=True)
class Class:
    """A class of the program: its methods, its constants (``compiled`` on first use), and the names of its
    parameters.
    """

    name: str
    methods: dict[str, Function] = field(default_factory=dict)
    constants: dict[str, ast.expr] = field(default_factory=dict)
    compiled: dict[str, Expression] = field(default_factory=dict)
    parameters: frozenset[str] = frozenset()
    is_tuple: bool = False


@final
@dataclass(eq=False, kw_only=True, repr=False)
class Module:
    """An object of the program: its class and its attributes.

    It has no repr of its fields, because torch's errors print their arguments and would format all weights.
    """

    kind: Class
    fields: dict[str, Any]


@final
@dataclass(eq=False, kw_only=True)
class Program:
    """All definitions in an archive's code, its constants, and the version of its operators."""

    version: int
    compiler: Callable[[Function], Body]
    functions: dict[str, Function] = field(default_factory=dict)
    classes: dict[str, Class] = field(default_factory=dict)
    constants: Sequence[Any] = ()


def refusing(reason: str) -> Callable[[Names, Run], NoReturn]:
    """Return a function that raises InputError when it is reached. Branches that are never taken may contain
    anything.
    """

    def refuse(_: Names, __: Run) -> NoReturn:
        raise InputError(reason)

    return refuse


def dotted(node: ast.expr) -> str:
    """Return a name with its attributes, or empty text for any other expression."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join([node.id, *names[::-1]]) if isinstance(node, ast.Name) else ""


def shown(node: ast.AST) -> str:
    """Return source text of a node for a message."""
    return " ".join(ast.unparse(node).split())[:60]
