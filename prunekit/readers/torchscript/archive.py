"""The TorchScript archive: its code is parsed and its objects decoded, without torch's own loader."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from prunekit.errors import InputError
from prunekit.formats.archive import Archive, opened
from prunekit.formats.pickles import Record, decode_pickle
from prunekit.formats.tensors import NAMES, TensorDecoder
from prunekit.formats.torch_file import folder_of, pickle_of, require_little_endian
from prunekit.readers.torchscript.objects import CONVERSIONS, Class, Function, Module, Program
from prunekit.readers.torchscript.statements import compiled

_LARGEST_PACKED = 2**22
"""Bytes of all packed entries: torch packs code and what is for its debugging, and nothing else."""
_LARGEST_CODE = 2**18
"""Bytes of all code: parsing takes up to a thousand times as much memory."""
_TAGGED = "torch.jit._pickle."
_LISTS = frozenset(f"{_TAGGED}build_{kind}list" for kind in ("int", "double", "bool", "tensor"))


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Script:
    """A TorchScript file: its program, its main module, and the memory that it must not change.

    ``storages`` are the addresses of its tensors, ``lists`` those of its lists, ``weights`` the number of elements of
    all tensors, and ``dtype`` that of the first float tensor.
    """

    forward: Function
    module: Module
    storages: frozenset[int]
    lists: frozenset[int]
    weights: int
    dtype: torch.dtype


def read_script(path: Path) -> Script:
    """Return the TorchScript file at ``path`` without running its code.

    Raises InputError, in words that follow the file's name, if it is damaged or is not a plain program.
    """
    try:
        with opened(path, max_packed=_LARGEST_PACKED) as archive:
            folder = folder_of(archive, "data.pkl")
            require_little_endian(archive, folder)
            _require_little_code(archive)
            program = Program(version=_version(archive, folder), compiler=compiled)
            _define_all(program, archive, folder)
            objects = _decoded(archive, f"{folder}/data.pkl", f"{folder}/data")
            constants = f"{folder}/constants.pkl"
            if constants in archive.entries:
                program.constants = _tuple(_decoded(archive, constants, f"{folder}/constants"))
    except InputError:
        raise
    except Exception as error:  # zipfile, zlib, ast and the pickle's own mistakes raise many types
        raise InputError(f"its TorchScript cannot be read ({type(error).__name__}); export the policy again") from error
    lists: set[int] = set()
    tensors: dict[int, Tensor] = {}
    module = _made(objects, program, lists, tensors)
    program.constants = [_made(constant, program, lists, tensors) for constant in program.constants]
    if not isinstance(module, Module) or "forward" not in module.kind.methods:
        raise InputError("its TorchScript holds no module with a 'forward'; export the policy again")
    return Script(
        forward=module.kind.methods["forward"],
        module=module,
        storages=frozenset(tensor.untyped_storage().data_ptr() for tensor in tensors.values() if tensor.numel()),
        lists=frozenset(lists),
        weights=sum(tensor.numel() for tensor in tensors.values()),
        dtype=next((tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()), torch.float32),
    )


def is_code(name: str) -> bool:
    """Return whether an archive entry is code."""
    return name.split("/", 1)[-1].casefold().startswith("code/") and not name.endswith(".debug_pkl")


def _require_little_code(archive: Archive) -> None:
    code = sum(entry.file_size for name, entry in archive.entries.items() if is_code(name))
    if code > _LARGEST_CODE:
        raise InputError(f"has {code:,} bytes of code, more than any policy needs, so it was not loaded")


def _define_all(program: Program, archive: Archive, folder: str) -> None:
    for entry in archive.entries:
        if not is_code(entry):
            continue
        if not entry.endswith(".py") or not entry.startswith(f"{folder}/code/"):
            raise InputError(f"holds code under the name '{entry[:100]}', so it was not loaded")
        prefix = entry.removeprefix(f"{folder}/code/").removesuffix(".py").replace("/", ".")
        for node in ast.parse(archive.read(entry).decode("ascii")).body:  # not bytes, which may name an encoding
            _define(program, prefix, node)


def _define(program: Program, prefix: str, node: ast.stmt) -> None:
    """Add the class or function that ``node``, at the top level of a code file, defines."""
    name = f"{prefix}.{getattr(node, 'name', '')}"
    if name in program.functions or name in program.classes:
        raise InputError(f"defines '{name[:60]}' twice, so it was not loaded")
    if isinstance(node, ast.FunctionDef):
        program.functions[name] = Function(name=name, definition=node, program=program)
    elif isinstance(node, ast.ClassDef):
        program.classes[name] = _class(program, name, node)
    elif not isinstance(node, ast.Import | ast.Expr):  # old files import what they define in others
        raise InputError(f"its TorchScript has '{ast.unparse(node)[:60]}', so it was not loaded")


def _class(program: Program, name: str, node: ast.ClassDef) -> Class:
    made = Class(name=name, is_tuple=[ast.unparse(base) for base in node.bases] == ["NamedTuple"])
    for part in node.body:
        match part:
            case ast.FunctionDef(name="__setstate__"):
                raise InputError("its TorchScript defines '__setstate__', which runs when it is loaded; it was not")
            case ast.FunctionDef(name=method):
                if method in CONVERSIONS or method in made.methods:
                    raise InputError(f"its TorchScript defines '{method}' in an unknown form, so it was not loaded")
                made.methods[method] = Function(name=f"{name}.{method}", definition=part, program=program)
            case ast.Assign(targets=[ast.Name(id="__parameters__")], value=ast.List(elts=names)):
                made.parameters = frozenset(str(entry.value) for entry in names if isinstance(entry, ast.Constant))
            case ast.AnnAssign(target=ast.Name(id=constant), value=ast.expr() as value):
                made.constants[constant] = value
            case _:
                pass  # annotations and other descriptions; if a forward pass needs one, the error occurs there
    return made


def _decoded(archive: Archive, pickle: str, storages: str) -> Any:
    decoder = TensorDecoder(archive=archive, folder=storages)

    def made(name: str, arguments: tuple[Any, ...]) -> object:
        if name == f"{_TAGGED}restore_type_tag" or name in _LISTS:
            return arguments[0]
        return decoder.made(name, arguments)

    def allowed(name: str) -> bool:
        return name in NAMES or name in _LISTS or name.startswith(("__torch__.", _TAGGED))

    return decode_pickle(pickle_of(archive, pickle), allowed, made, decoder.stored)


def _made(value: Any, program: Program, lists: set[int], tensors: dict[int, Tensor]) -> Any:
    """Return the program's objects in place of their records; notes their tensors and lists."""
    if isinstance(value, Tensor):
        tensors[id(value)] = value
    elif isinstance(value, Record):
        kind = program.classes.get(value.name)
        if kind is None:
            raise InputError(f"holds an object of {value.name[:60]!r}, which it does not define")
        if not isinstance(value.state, dict):
            raise InputError(f"holds an object of {value.name[:60]!r} without attributes")
        return Module(
            kind=kind, fields={str(name): _made(one, program, lists, tensors) for name, one in value.state.items()}
        )
    elif isinstance(value, list | tuple):
        entries = [_made(entry, program, lists, tensors) for entry in value]
        if isinstance(value, tuple):
            return tuple(entries)
        lists.add(id(entries))
        return entries
    elif isinstance(value, dict):
        made = {key: _made(entry, program, lists, tensors) for key, entry in value.items()}
        lists.add(id(made))
        return made
    return value


def _tuple(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, tuple | list):
        raise InputError("its constants are not a list of values; export the policy again")
    return tuple(value)


def _version(archive: Archive, folder: str) -> int:
    """Return the version of the operators, which torch stores in one of two places."""
    for name in (f"{folder}/.data/version", f"{folder}/version"):
        if name in archive.entries:
            return int(bytes(archive.read(name)[:20]))
    return 0
