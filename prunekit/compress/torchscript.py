"""TorchScript as a teacher, read only where its code is arithmetic (law 7).

A TorchScript file holds a program in a small language that looks like Python. Loading it does not run Python, but
running it runs whatever operators it calls, and there are some that write files. So its text is read first, and a file
that calls anything but its own functions and the operators below, or gives their names another meaning, is refused.
What torch then loads is made anew of exactly the entries that were read.
"""

from __future__ import annotations

import ast
import io
import warnings
import zipfile
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import torch

from prunekit.compress.teacher import Size, Teacher
from prunekit.environments import Spaces
from prunekit.errors import ArtifactError, InputError
from prunekit.policy.program import Float32

_NAMES = """
__and__ __contains__ __getitem__ __is__ __isnot__ __not__ __or__ abs add addmm all any append argmax as_tensor bmm cat
ceil celu chunk clamp clamp_max clamp_min clip concat contiguous cos cumsum detach dim div dropout elu embedding eq exp
expand expand_as eye flatten floor floor_divide floordiv format full full_like gather ge gelu group_norm gt hardsigmoid
hardswish hardtanh index_select item layer_norm le leaky_relu len linear list log log_softmax logical_and logical_not lt
masked_fill matmul max maximum mean min minimum mish mm mul narrow ndim ne neg new_full new_ones new_zeros norm numel
ones ones_like permute pow prod quantile reciprocal relu relu6 repeat reshape round rsqrt rsub select selu sigmoid sign
silu sin size slice softmax softplus softsign split sqrt square squeeze stack std sub sum t tanh tensor to transpose
type_as unsqueeze var view where zeros zeros_like
celu_ elu_ hardsigmoid_ hardswish_ hardtanh_ leaky_relu_ mish_ relu6_ relu_ selu_ sigmoid_ silu_ tanh_
"""
_OPERATORS = frozenset(_NAMES.split())
_CONVERSIONS = frozenset({"annotate", "bool", "float", "getattr", "int", "unchecked_cast", "uninitialized"})
# Where a path leads to classes that are registered with torch, whatever the archive says.
_NATIVE = "code/__torch__/torch/classes"
_MEANT = _CONVERSIONS | {"torch", "ops", "__torch__", "CONSTANTS"}
_LARGEST_ENTRY = 2**28
# Bytes of all packed entries: torch packs code and what is for its debugging, and nothing else.
_LARGEST_PACKED = 2**22
# Bytes of all code: reading takes up to a thousand times as much memory.
_LARGEST_CODE = 2**18


def is_torchscript(path: Path) -> bool:
    """Return whether the file at ``path`` is a TorchScript archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(_within(name).startswith("code/") for name in archive.namelist())
    except Exception:  # zipfile raises many types for what is no zip, or a damaged one
        return False


def read_torchscript(path: Path, spaces: Spaces) -> Teacher:
    """Return the policy in the TorchScript file at ``path``: one tensor in, its first tensor out.

    Raises ArtifactError, naming the file and the call, where its code does more than arithmetic, and for files that are
    damaged; InputError where it does not run on the environment's observations.
    """
    content = _checked(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript as a whole
            module = torch.jit.load(content, map_location="cpu").eval()  # type: ignore[no-untyped-call]
    except Exception as error:  # torch raises many types for damaged files
        raise ArtifactError(f"{path}: damaged TorchScript ({type(error).__name__}); export the policy again") from error
    parameters = list(module.parameters())
    dtype = parameters[0].dtype if parameters else torch.float32

    @torch.no_grad()
    def respond(observations: Float32) -> Any:
        try:
            output = module(torch.from_numpy(observations).to(dtype))
            first = output[0] if isinstance(output, tuple | list) else output
            return (first.double() if first.is_floating_point() else first).numpy()
        except Exception as error:  # whatever the program's own arithmetic raises
            reason = str(error).strip().splitlines()[-1]
            raise InputError(
                f"{path}: does not run on {len(observations)} observations of {spaces.observation} values ({reason})"
            ) from error

    # A frozen module keeps its weights among its constants, and has none to count.
    size = Size(None, sum(tensor.numel() for tensor in parameters)) if parameters else None
    teacher = Teacher(str(path), spaces, respond, size)
    teacher.probe()
    return teacher


def _checked(path: Path) -> io.BytesIO:
    """Return the archive at ``path``, made anew of its entries, the code among them having been read."""
    content = io.BytesIO()
    try:
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as checked:
            entries = {entry.filename: entry for entry in archive.infolist()}
            if len({name.casefold() for name in entries}) != len(archive.infolist()):
                raise ArtifactError(f"{path}: holds two entries of one name, so it was not loaded")
            _require_plain_sizes(path, list(entries.values()))
            trees: dict[str, ast.Module] = {}
            for name, information in entries.items():
                with archive.open(information) as opened:
                    entry = opened.read(information.file_size + 1)  # no more is unpacked, whatever it holds
                if _is_code(name):
                    trees[_within(name)] = ast.parse(entry.decode("ascii"))  # not bytes, which may name an encoding
                    if not name.endswith(".py"):
                        raise ArtifactError(f"{path}: holds code under the name '{name}', so it was not loaded")
                checked.writestr(name, entry)
    except ArtifactError:
        raise
    except Exception as error:  # zipfile, zlib and ast raise many types for damaged files
        raise ArtifactError(
            f"{path}: its TorchScript cannot be read ({type(error).__name__}); export the policy again"
        ) from error
    nodes = [node for tree in trees.values() for node in ast.walk(tree)]
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    calls = _calls_of_functions(trees)
    for node in nodes:
        strange = None if node in calls else _strange(node, own)
        if strange is not None:
            raise ArtifactError(
                f"{path}: its TorchScript {strange}, so it was not loaded, as only arithmetic is; "
                "export the policy to ONNX instead"
            )
    content.seek(0)
    return content


def _require_plain_sizes(path: Path, entries: Sequence[zipfile.ZipInfo]) -> None:
    """Raise ArtifactError, naming ``path``, for entries that together unpack to more than a policy has."""
    packed = [entry for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    for entry in entries:
        if entry.file_size > _LARGEST_ENTRY:
            raise ArtifactError(f"{path}: its '{entry.filename}' is larger than any policy's, so it was not loaded")
    stored = sum(entry.file_size for entry in entries) - sum(entry.file_size for entry in packed)
    code = sum(entry.file_size for entry in entries if _is_code(entry.filename))
    if code > _LARGEST_CODE:
        raise ArtifactError(
            f"{path}: has {code:,} bytes of code, more than any policy needs, so it was not loaded; export the policy "
            "to ONNX instead"
        )
    strange = any(entry.compress_type != zipfile.ZIP_DEFLATED for entry in packed)  # the others unpack without bound
    if strange or sum(entry.file_size for entry in packed) > _LARGEST_PACKED or stored > path.stat().st_size:
        raise ArtifactError(
            f"{path}: is packed as torch's own files never are, so it was not loaded; save the policy again with torch"
        )


def _calls_of_functions(trees: Mapping[str, ast.Module]) -> set[ast.AST]:
    """Return the calls of functions that the archive's files define, by path or by a name for it."""
    functions = {
        f"{name.removeprefix('code/').removesuffix('.py').replace('/', '.')}.{node.name}"
        for name, tree in trees.items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and not name.startswith(_NATIVE)
    }
    calls: set[ast.AST] = set()
    for tree in trees.values():
        for scope in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            inside = list(ast.walk(scope))
            meanings: dict[str, list[str]] = {}
            for node in inside:
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    meanings.setdefault(node.targets[0].id, []).append(ast.unparse(node.value))
            stored = [node.id for node in inside if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
            stored += [node.arg for node in inside if isinstance(node, ast.arg)]
            for node in inside:
                if not isinstance(node, ast.Call):
                    continue
                called = ast.unparse(node.func)
                meant = meanings.get(called, [])
                # A name that is also given a value in another way, as by a loop, may stand for anything.
                alias = bool(meant) and len(meant) == stored.count(called) and all(one in functions for one in meant)
                if called in functions or alias:
                    calls.add(node)
    return calls


def _strange(node: ast.AST, own: Set[str]) -> str | None:
    """Return what ``node`` does that no arithmetic needs, or None; ``own`` are the functions that the file defines."""
    match node:
        case ast.FunctionDef(name="__setstate__"):
            return "defines '__setstate__', which runs when it is loaded"
        case ast.FunctionDef() if node.decorator_list or node.name in _CONVERSIONS:
            return f"defines '{node.name}' in a way of its own"
        case ast.Import() | ast.ImportFrom() | ast.Lambda() | ast.Global() | ast.Nonlocal():
            return f"has '{ast.unparse(node)[:60]}'"
        case ast.Name(id=name) if isinstance(node.ctx, ast.Store | ast.Del) and name in _MEANT:
            return f"gives '{name}' another meaning"
        case ast.arg(arg=name) if name in _MEANT:
            return f"gives '{name}' another meaning"
        case ast.Name(id="ops"):
            return "names 'ops'"
        case ast.Call(func=ast.Name(id=name)) if name in _CONVERSIONS:
            return None
        case ast.Call(func=ast.Attribute(value=ast.Name(id="torch"), attr=attribute)) if attribute in _OPERATORS:
            return None
        case ast.Call(func=ast.Attribute(attr=attribute)) if attribute in own and _is_local(node.func):
            return None
        case ast.Call():
            return f"calls '{ast.unparse(node.func)[:60]}'"
    return None


def _is_local(function: ast.expr) -> bool:
    """Return whether a called attribute is one of a module of the file: no name of torch's own is at its root."""
    while isinstance(function, ast.Attribute):
        function = function.value
    return isinstance(function, ast.Name) and function.id not in _MEANT


def _is_code(name: str) -> bool:
    return _within(name).casefold().startswith("code/") and not name.endswith(".debug_pkl")


def _within(name: str) -> str:
    """Return an entry's name below the archive's own folder."""
    return name.split("/", 1)[-1]
