"""How wide the observations of a program are, found by running it on zeros of each width that its file speaks of.

A program says nowhere how many values it takes. It does not run on a wrong number of them, however, and the right one
is a size of its weights, a number in its code, or what these give when they are multiplied, added or subtracted.
"""

from __future__ import annotations

import ast
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from prunekit.errors import InputError
from prunekit.readers.torchscript.archive import Script
from prunekit.readers.torchscript.budget import MAX_STEPS, Run, run_for
from prunekit.readers.torchscript.objects import Module

MAX_WIDTH = 2**16
_MAX_TRIALS = 400
_MAX_PAIRED = 24
"""Sizes of which sums, differences and products are tried where none of them is the width."""

Shape = tuple[int, ...]


def shapes_for(script: Script, names: Sequence[str], width: int | None) -> list[Shape]:
    """Return the shapes of the tensors ``names`` that the program takes, a batch axis of one in front where it has one.

    ``width`` is that of the only one, where it is known. Raises InputError where none fits, or more than one does.
    """
    if width is not None and len(names) == 1:
        for shape in ((1, width), (width,)):
            if _fails(script, [shape]) is None:
                return [shape]
        raise InputError(f"does not run on {width} values ({_fails(script, [(1, width)])})")
    sizes = _sizes(script)
    trials = 0
    reason: str | None = None
    for found in (sizes, _combined(sizes)):
        fitting: list[list[Shape]] = []
        for widths in itertools.product(found, repeat=len(names)):
            trials += 1
            if trials > _MAX_TRIALS * len(names):
                break
            shapes: list[Shape] = [(1, one) for one in widths]
            failed = _fails(script, shapes)
            reason = reason or failed
            if failed is None:
                fitting.append(shapes)
        several = [shapes for shapes in fitting if any(shape != (1, 1) for shape in shapes)] or fitting  # one broadcasts
        if len(several) > 1:  # slices that end before the observation does run on wider ones too
            several = [shapes for shapes in several if _reads_the_last(script, shapes)] or several
        if len(several) == 1:
            return several[0]
        if several:
            told = ", ".join(" and ".join(str(shape[1]) for shape in shapes) for shapes in several[:4])
            raise InputError(f"runs on observations of several widths ({told}); say how wide they are with --inputs N")
        if len(names) == 1:
            alone = [one for one in found if _fails(script, [(one,)]) is None and one != 1]
            if len(alone) == 1:
                return [(alone[0],)]
    more = f" (with the first: {reason})" if reason else ""
    raise InputError(f"does not show how wide its observations are{more}; say so with --inputs N")


@torch.no_grad()
def _fails(script: Script, shapes: Sequence[Shape]) -> str | None:
    """Return why the program does not run on such zeros; raises InputError where it would not run on any."""
    try:
        _answer(script, [torch.zeros(shape, dtype=script.dtype) for shape in shapes])
    except InputError:
        raise
    except Exception as error:  # whatever the program's own arithmetic raises
        lines = str(error).strip().splitlines()
        return lines[-1][:120] if lines else type(error).__name__
    return None


@torch.no_grad()
def _reads_the_last(script: Script, shapes: Sequence[Shape]) -> bool:
    """Return whether the answer depends on the last value of every tensor."""
    for asked in range(len(shapes)):
        given = [torch.zeros(shape, dtype=script.dtype) for shape in shapes]
        given[asked].view(-1)[-1] = math.nan
        answer = _answer(script, given)
        if isinstance(answer, Tensor) and not answer.isnan().any():
            return False
    return True


def _answer(script: Script, given: Sequence[Tensor]) -> Any:
    run: Run = run_for(1, script.weights, script.storages, script.lists)
    answer = script.forward.call([script.module, *given], {}, run)
    return answer[0] if isinstance(answer, tuple | list) and answer else answer


def _sizes(script: Script) -> list[int]:
    """Return every size that the file speaks of, those of weights first."""
    found: dict[int, None] = {}
    for value in _fields(script.module, set()):
        if isinstance(value, Tensor):
            if value.dim() >= 2:
                found |= dict.fromkeys([value.shape[-1]])
        elif type(value) is int:
            found |= dict.fromkeys([value])
    for value in [*_fields(script.module, set()), *script.forward.program.constants]:
        if isinstance(value, Tensor):
            found |= dict.fromkeys(value.shape)
    for number in _literals(script):
        found |= dict.fromkeys([number])
    return [size for size in found if 1 <= size <= MAX_WIDTH]


def _combined(sizes: Sequence[int]) -> list[int]:
    few = sizes[:_MAX_PAIRED]
    pairs = list(itertools.combinations_with_replacement(few, 2))
    made = [function(a, b) for function in (lambda a, b: abs(a - b), int.__add__, int.__mul__) for a, b in pairs]
    return [size for size in dict.fromkeys(made) if size not in sizes and 1 <= size <= MAX_WIDTH]


def _fields(module: Module, met: set[int]) -> Iterator[Any]:
    if id(module) in met:
        return
    met.add(id(module))
    for value in module.fields.values():
        if isinstance(value, Module):
            yield from _fields(value, met)
        else:
            yield value


def _literals(script: Script) -> Iterator[int]:
    """Return the whole numbers of the program's code, and the products of its lists of them."""
    program = script.forward.program
    functions = [*program.functions.values(), *(f for kind in program.classes.values() for f in kind.methods.values())]
    nodes: list[ast.AST] = [function.definition for function in functions]
    nodes += [value for kind in program.classes.values() for value in kind.constants.values()]
    for node in itertools.islice(itertools.chain.from_iterable(map(ast.walk, nodes)), MAX_STEPS):
        match node:
            case ast.Constant(value=int(number)) if type(number) is int:
                yield number
            case ast.List(elts=entries) if entries:
                numbers = [entry.value for entry in entries if isinstance(entry, ast.Constant)]
                if len(numbers) == len(entries) and all(type(number) is int for number in numbers):
                    yield abs(math.prod(numbers))  # type: ignore[arg-type]
                    yield sum(numbers)  # type: ignore[arg-type]
