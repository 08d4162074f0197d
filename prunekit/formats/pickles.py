"""Pickles decoded to plain data by our own machine, which imports, calls and creates nothing that they name.

A pickle is a program for a small stack machine. Python's machine looks up the names in it and calls them. This one only
knows the opcodes: a name stands for itself, a call of it becomes a ``Record`` of the name and the arguments, and a
state is stored with them.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, final

from prunekit.errors import InputError

MAX_OPCODES = 1_000_000
MAX_DEPTH = 100
MAX_INTEGER_BITS = 4096
"""Beyond it Python does not even write a number as text."""
_TOO_MANY = f"has more than {MAX_OPCODES:,} objects, more than any policy needs"
_MIN_NODES = 2**16
_MIN_CHARACTERS = 2**20
_LARGEST_KEY = 2**32
_REPEATS = 8
"""How often, on the average, what a file holds may be named again by short references to it."""


@final
@dataclass(frozen=True)
class Name:
    """A function or class that a pickle names, as ``module.name``; it is never looked up."""

    text: str


@final
@dataclass(eq=False)
class Record:
    """An object in a pickle: the name that is called, the arguments, and the state that is set."""

    name: str
    arguments: tuple[Any, ...]
    state: Any = None
    items: dict[Any, Any] | None = None


MODULES = Name("_metadata")
"""Where a foreign dictionary of weights says which modules it is of; no text, so that no entry of its own is this."""


@final
class _Mark:
    """The start of a run of items on the stack."""


def decode_pickle(
    content: bytes | bytearray,
    allowed: Callable[[str], bool],
    made: Callable[[str, tuple[Any, ...]], object] = Record,
    stored: Callable[[object], object] | None = None,
) -> Any:
    """Return the data of the pickle ``content``: plain values, lists, tuples, dicts, sets, ``Name`` and ``Record``.

    ``allowed`` says which names may occur, ``made`` converts a call of one, and ``stored`` a reference to something
    outside the pickle. Raises InputError for every other name, and for data that are larger when walked than the file
    justifies; ValueError and others if it is not a pickle.
    """
    machine = _Machine(allowed, made, stored, len(content))
    value = machine.run(bytes(content))
    require_bounded(value, len(content))
    return value


def ends_of(content: bytes, count: int) -> list[int]:
    """Return the end offset of each of the first ``count`` pickles in ``content``; raises as ``decode_pickle`` does."""
    stream, ends = io.BytesIO(content), []
    for _ in range(count):
        for number, (opcode, _argument, _place) in enumerate(pickletools.genops(stream)):
            if number > MAX_OPCODES:
                raise InputError(_TOO_MANY)
            if opcode.name == "STOP":
                break
        ends.append(stream.tell())
    return ends


def decode_foreign_pickle(
    content: bytes | bytearray,
    made: Callable[[str, tuple[Any, ...]], object] = Record,
    stored: Callable[[object], object] | None = None,
    part: Callable[[Any], Any] | None = None,
) -> Any:
    """Return the data of another program's pickle, in which objects of any class may be, each as a ``Record``.

    Nothing that it names is looked up, as in ``decode_pickle``; what cannot be plain data is opaque instead of
    refused: names, calls with keywords, classes of dictionaries (their ``items``), keys of any kind. A dictionary of
    weights keeps under ``MODULES`` what torch notes of its modules. Of the whole, ``part`` may take what is wanted, in
    a bounded number of steps; the rest may be endless. Raises as ``decode_pickle`` for what is endless or no pickle.
    """
    machine = _Machine(lambda _: True, made, stored, len(content), opaque=True)
    value = machine.run(bytes(content))
    value = value if part is None else part(value)
    require_bounded(value, len(content))
    return value


def require_bounded(value: object, size: int) -> None:
    """Raise InputError if walking through ``value``, read from ``size`` bytes, takes more steps than these justify.

    A list of references to a list of references, and so on, is a short file and an endless walk.
    """
    nodes = min(2 * MAX_OPCODES, _MIN_NODES + _REPEATS * size)
    characters = _MIN_CHARACTERS + _REPEATS * size
    waiting: list[tuple[object, int]] = [(value, 0)]
    while waiting:
        found, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise InputError(f"its contents are nested deeper than {MAX_DEPTH} levels, so it was not loaded")
        inner: Sequence[object] = ()
        if isinstance(found, str | bytes | bytearray):
            characters -= len(found)
        elif isinstance(found, list | tuple | set | frozenset):
            inner = tuple(found)
        elif isinstance(found, dict):
            inner = (*found.keys(), *found.values())
        elif isinstance(found, Record):
            inner = (found.arguments, found.state, found.items)
        nodes -= len(inner) + 1
        if nodes < 0 or characters < 0 or len(waiting) > MAX_OPCODES:
            raise InputError("its contents repeat themselves beyond its own size, so it was not loaded")
        waiting += [(entry, depth + 1) for entry in inner]


@final
class _Machine:
    """The stack, its marks and the numbered objects of one pickle."""

    def __init__(
        self,
        allowed: Callable[[str], bool],
        made: Callable[[str, tuple[Any, ...]], object],
        stored: Callable[[object], object] | None,
        size: int,
        *,
        opaque: bool = False,
    ) -> None:
        self.allowed, self.made, self.stored, self.size, self.opaque = allowed, made, stored, size, opaque
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, content: bytes) -> Any:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if count > MAX_OPCODES:
                raise InputError(_TOO_MANY)
            if opcode.name == "STOP":
                return self.stack.pop()
            self.obey(opcode.name, argument)
        raise ValueError("it does not end")

    def obey(self, opcode: str, argument: Any) -> None:
        """Execute an opcode for data; the most frequent ones come first."""
        stack = self.stack
        match opcode:
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.remember(argument)
            case "MEMOIZE":
                self.remember(len(self.memo))
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "UNICODE" | "BINUNICODE" | "SHORT_BINUNICODE" | "BINUNICODE8":
                stack.append(_text(argument))
            case "INT" | "BININT" | "BININT1" | "BININT2" | "LONG" | "LONG1" | "LONG4":
                if argument.bit_length() > MAX_INTEGER_BITS:
                    raise InputError(f"holds an integer of more than {MAX_INTEGER_BITS} bits")
                stack.append(argument)
            case "MARK":
                stack.append(_Mark)
            case "TUPLE":
                stack.append(tuple(self.items()))
            case "EMPTY_TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = ("EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3").index(opcode)
                stack.append(tuple(stack.pop() for _ in range(count))[::-1])
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode])
            case "FLOAT" | "BINFLOAT" | "BINBYTES" | "SHORT_BINBYTES" | "BINBYTES8" | "BYTEARRAY8":
                stack.append(argument)
            case "SETITEM" | "SETITEMS":
                items = self.items() if opcode == "SETITEMS" else [stack.pop(), stack.pop()][::-1]
                self.paired(self.dictionary(stack[-1]), items)
            case "APPEND" | "APPENDS":
                items = self.items() if opcode == "APPENDS" else [stack.pop()]
                if not self.opaque or type(stack[-1]) is list:  # what a class of lists holds is of no use
                    _of(list, stack[-1]).extend(items)
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST" | "LIST":
                stack.append(self.items() if opcode == "LIST" else [])
            case "PROTO" | "FRAME":
                pass
            case "STRING" | "BINSTRING" | "SHORT_BINSTRING":
                stack.append(_text(argument) if isinstance(argument, str) else argument.decode("latin-1"))
            case "POP":
                stack.pop()
            case "POP_MARK":
                self.items()
            case "DUP":
                stack.append(stack[-1])
            case "DICT":
                stack.append(self.paired({}, self.items()))
            case "EMPTY_SET":
                stack.append(set())
            case "ADDITEMS":
                items = self.items()
                if not self.opaque or type(stack[-1]) is set:
                    _of(set, stack[-1]).update(map(self.key, items))
            case "FROZENSET":
                stack.append(frozenset(map(self.key, self.items())))
            case _:
                self.call(opcode, argument)

    def call(self, opcode: str, argument: Any) -> None:
        """Execute an opcode for which Python's own machine would import or call."""
        stack = self.stack
        match opcode:
            case "GLOBAL":
                stack.append(self.named(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(self.named(_of(str, module), _of(str, name)))
            case "INST":
                name = self.named(*argument.split(" ", 1))
                stack.append(self.called(name, tuple(self.items())))
            case "REDUCE" | "NEWOBJ":
                arguments = stack.pop()
                stack.append(self.called(stack.pop(), _of(tuple, arguments)))
            case "NEWOBJ_EX" if self.opaque:
                _, arguments = stack.pop(), stack.pop()
                stack.append(self.called(stack.pop(), _of(tuple, arguments)))
            case "BUILD":
                state = stack.pop()
                if isinstance(stack[-1], Record):
                    stack[-1].state = state
                elif self.opaque:
                    if isinstance(stack[-1], dict) and isinstance(state, dict) and "_metadata" in state:
                        stack[-1][MODULES] = state["_metadata"]
                elif not isinstance(stack[-1], dict):  # what an ordered dictionary carries besides is of no use
                    raise ValueError("a state for an object that has none")
            case "PERSID" | "BINPERSID":
                if self.stored is None:
                    raise InputError("refers to objects outside the file, so it was not loaded")
                stack.append(self.stored(stack.pop() if opcode == "BINPERSID" else argument))
            case "EXT1" | "EXT2" | "EXT4":
                raise InputError(
                    f"names an extension of Python ({argument}), which could run code, so it was not loaded"
                )
            case _:
                raise InputError(f"holds the instruction {opcode}, which plain data never need, so it was not loaded")

    def named(self, module: str, name: str) -> Name:
        text = f"{module}.{name}"
        if not self.allowed(text):
            raise InputError(f"names {text[:100]!r}, which could run code, so it was not loaded")
        return Name(text)

    def called(self, function: object, arguments: tuple[Any, ...]) -> object:
        match function:
            case Name("collections.OrderedDict"):
                pairs = [entry for pair in _of(list, [*arguments, []][0]) for entry in pair]
                return self.paired({}, pairs)
            case Name("collections.defaultdict") if self.opaque:
                return {}
            case Name("builtins.bytes" | "__builtin__.bytes") if self.opaque and not arguments:
                return b""  # how old protocols spell none
            case Name("builtins.set" | "__builtin__.set"):
                return {self.key(entry) for entry in _of(list, [*arguments, []][0])}
            case Name("_codecs.encode") if arguments[1:] == ("latin1",):  # how old protocols spell bytes
                return _of(str, arguments[0]).encode("latin-1")
            case Name(text):
                return self.made(text, arguments)
            case _ if self.opaque:
                return Record("?", arguments)
            case _:
                raise ValueError("a call of something that is not a function")

    def dictionary(self, target: object) -> dict[Any, Any]:
        """Return the mapping in which items are set: a dictionary, or the items of an object of a dictionary class."""
        if self.opaque and not isinstance(target, dict):
            if not isinstance(target, Record):
                return {}
            target.items = {} if target.items is None else target.items
            return target.items
        found: dict[Any, Any] = _of(dict, target)
        return found

    def paired(self, target: dict[Any, Any], items: list[Any]) -> dict[Any, Any]:
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[self.key(key)] = value
        return target

    def key(self, key: object) -> Hashable:
        """Return a key whose hash is fast; nested tuples, and numbers with equal hashes, could take for ever."""
        if key is None or isinstance(key, str | Name) or (isinstance(key, int) and abs(key) < _LARGEST_KEY):
            return key
        if self.opaque:
            return Record("?", (key,))
        called = type(key).__name__
        raise InputError(f"holds a key that is a {called}, neither text nor small number; it was not loaded")

    def remember(self, number: int) -> None:
        if not 0 <= number <= self.size:
            raise InputError("numbers its objects beyond its own size, so it was not loaded")
        self.memo[number] = self.stack[-1]

    def items(self) -> list[Any]:
        """Remove and return the items above the last mark, and the mark."""
        at = len(self.stack) - 1
        while self.stack[at] is not _Mark:
            at -= 1
            if at < 0:
                raise ValueError("no mark")
        found = self.stack[at + 1 :]
        del self.stack[at:]
        return found


def _of(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{type(value).__name__} in place of {kind.__name__}")
    return value


def _text(text: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InputError("holds a text that is not valid Unicode (a lone surrogate)") from None
    return text
