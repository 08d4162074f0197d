"""TorchScript as a teacher, read only where its code is arithmetic (law 7).

A TorchScript file holds a program in a small language that looks like Python. Loading it does not run Python, but
running it runs whatever operators it calls, and there are some that open files. So its text is read first, and a file
that calls anything but its own functions and the operators below is refused before torch opens it.
"""

from __future__ import annotations

import ast
import warnings
import zipfile
from collections.abc import Set
from pathlib import Path
from typing import Any

import numpy as np
import torch

from prunekit.compress.teacher import Float32, Size, Teacher
from prunekit.environments import Spaces
from prunekit.errors import ArtifactError, InputError

_NAMES = """
__and__ __contains__ __getitem__ __is__ __isnot__ __not__ __or__ abs add addmm all any append argmax as_tensor bmm cat
ceil celu chunk clamp clamp_max clamp_min clip concat contiguous cos cumsum detach dim div dropout elu embedding eq exp
expand expand_as eye flatten floor floor_divide floordiv format full full_like gather ge gelu group_norm gt hardsigmoid
hardswish hardtanh index_select item layer_norm le leaky_relu len linear list log log_softmax logical_and logical_not lt
masked_fill matmul max maximum mean min minimum mish mm mul narrow ndim ne neg new_full new_ones new_zeros norm numel
ones ones_like permute pow prod quantile reciprocal relu relu6 repeat reshape round rsqrt rsub select selu sigmoid sign
silu sin size slice softmax softplus softsign split sqrt square squeeze stack std sub sum t tanh tensor to transpose
type_as unsqueeze var view where zeros zeros_like
"""
_OPERATORS = frozenset(_NAMES.split())
_CONVERSIONS = frozenset({"annotate", "bool", "float", "getattr", "int", "unchecked_cast", "uninitialized"})
_LARGEST_CODE = 2**24


def is_torchscript(path: Path) -> bool:
    """Return whether the file at ``path`` is a TorchScript archive."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.split("/", 1)[-1].startswith("code/") for name in archive.namelist())


def read_torchscript(path: Path, spaces: Spaces) -> Teacher:
    """Return the policy in the TorchScript file at ``path``: one tensor in, its first tensor out.

    Raises ArtifactError, naming the file and the call, where its code does more than arithmetic, and for files that are
    damaged; InputError where it does not run on the environment's observations.
    """
    _check_code(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript as a whole
            module = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
    except Exception as error:  # torch raises many types for damaged files
        raise ArtifactError(f"{path}: damaged TorchScript ({type(error).__name__}); export the policy again") from error
    parameters = list(module.parameters())
    dtype = parameters[0].dtype if parameters else torch.float32

    @torch.no_grad()
    def respond(observations: Float32) -> Any:
        try:
            output = module(torch.from_numpy(observations).to(dtype))
        except Exception as error:  # whatever the program's own arithmetic raises
            reason = str(error).strip().splitlines()[-1]
            raise InputError(
                f"{path}: does not run on {len(observations)} observations of {spaces.observation} values ({reason})"
            ) from error
        first = output[0] if isinstance(output, tuple | list) else output
        if not isinstance(first, torch.Tensor):
            raise InputError(f"{path}: returns {type(first).__name__}, but a decision is a tensor")
        return first.numpy()

    teacher = Teacher(str(path), spaces, respond, Size(None, sum(tensor.numel() for tensor in parameters)))
    teacher.responses(np.zeros((2, spaces.observation), np.float32))
    return teacher


def _check_code(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            texts = {entry.filename: entry for entry in archive.infolist() if entry.filename.endswith(".py")}
            if sum(entry.file_size for entry in texts.values()) > _LARGEST_CODE:
                raise ArtifactError(f"{path}: holds more code than any policy does; it was not loaded")
            trees = [ast.parse(archive.read(entry)) for entry in texts.values()]
    except (SyntaxError, ValueError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{path}: its TorchScript cannot be read ({error}); export the policy again") from error
    nodes = [node for tree in trees for node in ast.walk(tree)]
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef)} - {"__setstate__"}
    for node in nodes:
        strange = _strange(node, own)
        if strange is not None:
            raise ArtifactError(
                f"{path}: its TorchScript {strange}, so it was not loaded, as only arithmetic is; "
                "export the policy to ONNX instead"
            )


def _strange(node: ast.AST, own: Set[str]) -> str | None:
    """Return what ``node`` does that no arithmetic needs, or None; ``own`` are the functions that the file defines."""
    if isinstance(node, ast.FunctionDef) and node.name == "__setstate__":
        return f"defines '{node.name}', which runs when it is loaded"
    if isinstance(node, ast.Import | ast.ImportFrom):
        return f"has '{ast.unparse(node)}'"
    if not isinstance(node, ast.Call):
        return None
    function = node.func
    if isinstance(function, ast.Name) and function.id in _CONVERSIONS:
        return None
    if isinstance(function, ast.Attribute):
        of_torch = isinstance(function.value, ast.Name) and function.value.id == "torch"
        if function.attr in (_OPERATORS if of_torch else own):
            return None
    return f"calls '{ast.unparse(function)[:60]}'"
