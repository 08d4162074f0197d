"""The symbolic half of the interpreter: it runs a program on tensors whose elements are names, and makes ops of its
calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from typing import Any, TypeVar, final

import numpy as np
import torch
from torch import Tensor

from prunekit.errors import InputError
from prunekit.readers.lowering.values import Data
from prunekit.readers.torchscript.budget import Run, whole_of
from prunekit.readers.torchscript.building import Building
from prunekit.readers.torchscript.objects import Module
from prunekit.readers.torchscript.operators import Operator, is_sampling, reason_against
from prunekit.readers.torchscript.symbols import Cell, Condition, Missing, Names, Symbol, within
from prunekit.readers.torchscript.values import SCALARS

Form = Callable[..., Any]
"""(call, *arguments of the operator) -> its result; None where the operator has no form as it is called."""

FORMS: dict[str, Form] = {}
"""What operators make of traced tensors, by their names without ``torch.``; the modules beside this one fill it in."""

WRITES: dict[str, Form] = {}
"""(call, target, *arguments) -> names of elements for the target; the other operators in place follow ``FORMS``."""

_Form = TypeVar("_Form", bound=Form)
_LANGUAGE = frozenset(["__is__", "__isnot__", "format", "warn"])
_UNCHANGED = frozenset(["requires_grad_", "detach_"])


def form_of(*names: str) -> Callable[[_Form], _Form]:
    """Return a decorator that registers its function as the form of the operators ``names``."""

    def keep(function: _Form) -> _Form:
        FORMS.update(dict.fromkeys(names, function))
        return function

    return keep


def write_of(*names: str) -> Callable[[_Form], _Form]:
    """Return a decorator that registers its function as the in-place write of the operators ``names``."""

    def keep(function: _Form) -> _Form:
        WRITES.update(dict.fromkeys(names, function))
        return function

    return keep


class NoFormError(InputError):
    """An operator has no form in a graph. This matters only if the answer depends on its result."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Call:
    """One call: the graph so far, the operator for real tensors, and the budget."""

    building: Building
    operator: Operator
    run: Run

    def refused(self, reason: str) -> NoFormError:
        """Return an error that says why this call has no form."""
        return NoFormError(f"calls 'torch.{self.building.doing}'{self.building.place()}{reason}")


@final
class Tracer:
    """The state of a symbolic run. A real tensor to which traced elements are written becomes traced too."""

    def __init__(self, building: Building, root: Module, states: Mapping[int, tuple[Tensor, str]]) -> None:
        """Start a run; ``states`` maps addresses of the file's tensors to (tensor, graph value that represents it)."""
        self.building = building
        self._paths = dict(_paths(root, "", set()))
        self._written = {
            place: (tensor, building.symbol(Data(name=name, dims=(whole_of(tensor).numel(),))))
            for place, (tensor, name) in states.items()
        }

    def left(self, place: int) -> Symbol:
        """Return the traced content of the memory at ``place``."""
        return self._written[place][1]

    @contextmanager
    def inside(self, module: object) -> Iterator[None]:
        """Note that a method of ``module`` is running."""
        before, self.building.where = self.building.where, self._paths.get(id(module), self.building.where)
        try:
            yield
        finally:
            self.building.where = before

    def known(self, value: Any) -> Any:
        """Return ``value``; raises InputError if it depends on the observation."""
        found = self.seen(value)
        if isinstance(found, Missing):
            raise InputError(found.reason)
        if isinstance(found, Symbol | Condition):
            raise InputError(
                f"branches on a value that depends on the observation{self.building.place()}; a graph has no branches"
            )
        return found

    def seen(self, value: Any) -> Any:
        """Return ``value``, with real tensors replaced by traced ones if traced elements were written to their
        memory.
        """
        if isinstance(value, list | tuple) and (within(value, Tensor) or within(value, Symbol)):
            return type(value)(self.seen(entry) for entry in value)
        if isinstance(value, Tensor) and value.untyped_storage().data_ptr() in self._written:
            whole = self._written[value.untyped_storage().data_ptr()][1]
            value = Symbol(cell=whole.cell, at=whole.at.as_strided(value.shape, value.stride(), value.storage_offset()))
        return value

    def call(self, path: str, operator: Operator, values: list[Any], options: dict[str, Any], run: Run) -> Any:
        """Return the result of the operator ``path`` on ``values``; raises InputError, naming it, if it has no form."""
        name = path.rpartition(".")[2]
        listed = bool(values) and isinstance(values[0], list | tuple | dict | str) and name in SCALARS
        if listed or name in _LANGUAGE:
            return operator(values, options, run)
        self.building.doing = name
        seen = [self.seen(value) for value in values]
        named = {key: self.seen(value) for key, value in options.items()}
        in_place = name.endswith("_") and not name.endswith("__")
        missing = next((found for value in (*seen, *named.values()) for found in _missing(value)), None)
        if missing is not None and in_place:
            raise InputError(missing.reason)
        if missing is not None:
            return missing
        if is_sampling(path) and not in_place:
            return Missing(reason_against(path))
        if not any(within(value, Symbol | Condition) for value in (*seen, *named.values())):
            return operator(seen, named, run)
        call = Call(building=self.building, operator=operator, run=run)
        if in_place:
            return self._in_place(call, name, seen, named)
        try:
            return _formed(call, FORMS.get(name), [_real(self.building, value) for value in seen], named)
        except NoFormError as error:
            return Missing(str(error))

    def _in_place(self, call: Call, name: str, values: list[Any], options: Mapping[str, Any]) -> Any:
        target, others = values[0], [_real(self.building, value) for value in values[1:]]
        call.run.take(sum(value.numel() for value in values if isinstance(value, Tensor)))
        if isinstance(target, Tensor):
            call.run.require_own(target)
            target = self._overlaid(target)
        if name in _UNCHANGED:
            return target
        if not isinstance(target, Symbol) or not target.cell.dtype.is_floating_point:
            raise call.refused(", which writes a value that depends on the observation into an integer tensor")
        if np.unique(target.at.numpy()).size != target.at.numel():
            raise call.refused(", which writes to a tensor whose elements share memory")
        base = name[:-1]
        if base in WRITES:
            names = _formed(call, WRITES[base], [target, *others], options)
        else:
            made = _formed(call, FORMS.get(base), [target, *others], options)
            if made is target:
                return target
            names = names_of(call.building, made)
            if names.shape != tuple(target.shape):
                raise call.refused(f", which writes {list(names.shape)} to {list(target.shape)}")
        target.cell.names[target.at.numpy()] = names
        return target

    def _overlaid(self, tensor: Tensor) -> Symbol:
        """Return a real tensor as a traced one, together with everything that shares its memory."""
        whole = whole_of(tensor)
        cell = Cell(names=self.building.elements.of_constants(whole), dtype=tensor.dtype)
        self._written[whole.untyped_storage().data_ptr()] = (
            tensor,
            Symbol(cell=cell, at=torch.arange(whole.numel())),
        )  # kept alive, so no other tensor gets its address
        found = self.seen(tensor)
        assert isinstance(found, Symbol)
        return found


def names_of(building: Building, value: Any) -> Names:
    """Return the element names of a traced tensor, a real tensor or a number."""
    if isinstance(value, Symbol):
        return value.names
    return building.elements.of_constants(value if isinstance(value, Tensor) else torch.tensor(float(value)))


def _real(building: Building, value: Any) -> Any:
    """Return a traced tensor as a real one if all its elements are constants."""
    if isinstance(value, list | tuple) and within(value, Symbol):
        return type(value)(_real(building, entry) for entry in value)
    if isinstance(value, Symbol) and value.at.numel() and (value.names < 0).all():
        return torch.from_numpy(np.array(building.elements.numbers(value.names))).to(value.cell.dtype)
    return value


def _formed(call: Call, form: Form | None, values: list[Any], options: Mapping[str, Any]) -> Any:
    if not any(within(value, Symbol | Condition) for value in (*values, *options.values())):
        return call.operator(values, dict(options), call.run)
    if form is None:
        raise call.refused(", which a graph cannot express; compress can imitate the policy as it is")
    try:
        bound = signature(form).bind(call, *values, **options)
    except TypeError:
        bound = None
    made = None if bound is None else form(*bound.args, **bound.kwargs)
    if made is None:
        raise call.refused(" in a way that a graph cannot express; compress can imitate the policy as it is")
    return made


def _missing(value: Any) -> Iterator[Missing]:
    if isinstance(value, Missing):
        yield value
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _missing(entry)


def _paths(module: Module, path: str, met: set[int]) -> Iterator[tuple[int, str]]:
    if id(module) in met:
        return
    met.add(id(module))
    yield id(module), path
    for name, field in module.fields.items():
        if isinstance(field, Module):
            yield from _paths(field, f"{path}.{name}".lstrip("."), met)
