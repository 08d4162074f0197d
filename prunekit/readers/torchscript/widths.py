"""The width of a program's observations, found by running it on zeros of every width that occurs in its file.

A program does not state how many values it takes, but it fails on a wrong number. The right one is a size of its
weights, a number in its code, or a product, sum or difference of these.
"""

from __future__ import annotations

import ast
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor

from prunekit.errors import InputError
from prunekit.readers.torchscript.archive import Script
from prunekit.readers.torchscript.budget import MAX_STEPS, Run, Written, run_for
from prunekit.readers.torchscript.objects import Module
from prunekit.readers.torchscript.operators import Operator, is_sampling

MAX_WIDTH = 2**16
_MAX_STEPS = 20 * MAX_STEPS
_MAX_ELEMENTS = 2**28
_MAX_PAIRED = 24
"""Sizes of which sums, differences and products are tried where none of them is the width."""

Shape = tuple[int, ...]


def shapes_for(script: Script, names: Sequence[str], width: int | None) -> tuple[list[Shape], Mapping[int, Tensor]]:
    """Return the shapes of the tensors ``names`` that the program takes, with a batch axis of one if it takes one.

    Also returns the tensors of the file that the program then writes to, by their address. ``width`` is the known width
    of one of the inputs. Raises InputError if no shapes fit, or more than one.
    """
    if width is not None and not 1 <= width <= MAX_WIDTH:
        raise InputError(f"cannot have observations of {width:,} values; `inputs` is from 1 to {MAX_WIDTH:,}")
    read = [name for name in names if _is_read(script, name)]
    trials = _Trials(script=script, names=names, read=read)
    found = _widths(trials, width)
    trials.fits([found[name] for name in read])
    return [found.get(name, (1, 1)) for name in names], trials.written


@final
class _Undrawn:
    """Runs operators on real tensors. Random draws give zeros, because the answer may not depend on them."""

    def call(self, path: str, operator: Operator, values: list[Any], options: dict[str, Any], run: Run) -> Any:
        """Return the result of the operator."""
        if not is_sampling(path) or path.endswith("_"):
            return operator(values, options, run)
        tensor = next((value for value in values if isinstance(value, Tensor)), None)
        size = next((value for value in values if isinstance(value, list)), [1])
        if tensor is None:
            run.take(math.prod(size))
        return torch.zeros(size) if tensor is None else torch.zeros_like(tensor)

    def inside(self, _: object) -> AbstractContextManager[None]:
        """Do nothing."""
        return nullcontext()

    def known(self, value: Any) -> Any:
        """Return ``value``."""
        return value


@final
@dataclass(kw_only=True)
class _Trials:
    """Trial runs of one program. ``steps`` and ``elements`` are the budget left for all of them, ``reason`` says why
    the last failed.

    ``written`` are the tensors of the file that the last run wrote to, by address; their content is restored.
    """

    script: Script
    names: Sequence[str]
    read: Sequence[str]
    steps: int = _MAX_STEPS
    elements: int = _MAX_ELEMENTS
    reason: str = ""
    written: Mapping[int, Tensor] = field(default_factory=dict)

    def fits(self, shapes: Sequence[Shape]) -> bool:
        """Return whether the program runs on zeros of these shapes; raises InputError if it would fail on any
        shapes.
        """
        try:
            self.answer(shapes, None)
        except InputError:
            raise
        except Exception as error:  # whatever the program's own arithmetic raises
            lines = str(error).strip().splitlines()
            self.reason = self.reason or (lines[-1][:120] if lines else type(error).__name__)
            return False
        return True

    def reads_the_last(self, shapes: Sequence[Shape]) -> bool:
        """Return whether the answer depends on the last element of every tensor."""
        return all(self._reads(shapes, at) for at in range(len(shapes)))

    def _reads(self, shapes: Sequence[Shape], at: int) -> bool:
        try:
            answer = self.answer(shapes, at)
        except InputError:
            raise
        except Exception:  # the program runs on zeros but fails if the last one is NaN, so it reads that one
            return True
        return not isinstance(answer, Tensor) or bool(answer.isnan().any())

    @torch.no_grad()
    def answer(self, shapes: Sequence[Shape], asked: int | None) -> Any:
        """Return the answer to zeros, with NaN as the last element of the tensor ``asked``."""
        given = {name: torch.zeros(1, 1, dtype=self.script.dtype) for name in self.names}
        for name, shape in zip(self.read, shapes, strict=True):
            given[name] = torch.zeros(shape, dtype=self.script.dtype)
        if asked is not None:
            given[self.read[asked]].view(-1)[-1] = math.nan
        run, written = run_for(1, self.script.weights, self.script.storages, self.script.lists), Written()
        run.tracing, run.written = _Undrawn(), written
        begun = run.elements
        try:
            answer = self.script.forward.call([self.script.module, *given.values()], {}, run)
        finally:
            written.undo()
            self.written = written.now
            self.steps -= MAX_STEPS - run.steps
            self.elements -= begun - run.elements
        return answer[0] if isinstance(answer, tuple | list) and answer else answer


def _widths(trials: _Trials, width: int | None) -> dict[str, Shape]:
    if not trials.read:
        return {}
    sizes = _sizes(trials.script)
    if width is not None:
        several = len(trials.read) > 1
        sizes = [width, *(size for size in sizes if several and size != width)]
    unsure: list[list[Shape]] = []
    for places in _places(sizes, len(trials.read), width):
        for batch in ((1,), ()):
            fitting = _fitting(trials, places, batch, width)
            whole = [shapes for shapes in fitting if trials.reads_the_last(shapes)]
            if len(whole) == 1:
                return dict(zip(trials.read, whole[0], strict=True))
            if whole:
                raise _several(whole)
            unsure = unsure or fitting  # it also runs on fewer values if it only reads slices
    if len(unsure) == 1:
        return dict(zip(trials.read, unsure[0], strict=True))
    if unsure:
        raise _several(unsure)
    reason = f" ({trials.reason})" if trials.reason else ""
    if width is not None:
        raise InputError(f"does not run on observations of {width} values{reason}; give another number with `inputs`")
    raise InputError(f"does not show how wide its observations are{reason}; give their width as `inputs` N")


def _several(fitting: Sequence[Sequence[Shape]]) -> InputError:
    told = ", ".join(" and ".join(str(shape[-1]) for shape in shapes) for shapes in fitting[:4])
    return InputError(f"runs on observations of several widths ({told}); say which with `inputs` N")


def _places(sizes: Sequence[int], count: int, width: int | None) -> Iterator[list[Sequence[int]]]:
    """Yield the widths to try for each of ``count`` tensors: those in the file, then sums and products of them for a
    single one.
    """
    wide = [size for size in sizes if size > 1 or count > 1]  # a width of one runs wherever another does
    yield [wide] * count
    if width is None or count > 1:
        combined = _combined(sizes)
        for place in range(count):
            yield [combined if at == place else sizes for at in range(count)]
    yield [[size for size in sizes if size == 1]] * count


def _fitting(trials: _Trials, places: Sequence[Sequence[int]], batch: Shape, width: int | None) -> list[list[Shape]]:
    """Return all shapes on which the program runs and gives one answer."""
    fitting: list[list[Shape]] = []
    for widths in itertools.product(*places):
        if trials.steps < 0 or trials.elements < 0:
            break
        if width is None or width in widths:
            shapes = [(*batch, one) for one in widths]
            if trials.fits(shapes):
                fitting.append(shapes)
    ones = min((_ones(shapes) for shapes in fitting), default=0)  # a width of one is broadcast to any
    fitting = [shapes for shapes in fitting if _ones(shapes) == ones]
    if len(fitting) > 1 and batch:  # values folded into the batch axis give several answers
        fitting = [shapes for shapes in fitting if _rows(trials.answer(shapes, None)) == 1] or fitting
    return fitting


def _rows(answer: Any) -> int:
    return len(answer) if isinstance(answer, Tensor) and answer.dim() > 1 else 1


def _ones(shapes: Sequence[Shape]) -> int:
    return sum(shape[-1] == 1 for shape in shapes)


def _is_read(script: Script, name: str) -> bool:
    body = itertools.chain.from_iterable(ast.walk(statement) for statement in script.forward.definition.body)
    return any(isinstance(node, ast.Name) and node.id == name for node in body)


def _sizes(script: Script) -> list[int]:
    """Return every size that occurs in the file, those of weights first."""
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
    """Yield the integers in the program's code, and the products of its lists of integers."""
    program = script.forward.program
    functions = [*program.functions.values(), *(f for kind in program.classes.values() for f in kind.methods.values())]
    nodes: list[ast.AST] = [function.definition for function in functions]
    nodes += [value for kind in program.classes.values() for value in kind.constants.values()]
    for node in itertools.islice(itertools.chain.from_iterable(map(ast.walk, nodes)), MAX_STEPS):
        match node:
            case ast.Constant(value=int(number)) if type(number) is int:
                yield number
                yield number + 1  # the width that this place needs
            case ast.List(elts=entries) if entries:
                numbers = [entry.value for entry in entries if isinstance(entry, ast.Constant)]  # -1 is not a size
                if numbers and all(type(number) is int for number in numbers):
                    yield math.prod(numbers)  # type: ignore[arg-type]
                    yield sum(numbers)  # type: ignore[arg-type]
