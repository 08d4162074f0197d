"""The op of all element-wise functions in the table ``activation_kinds.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

from prunekit.errors import InputError
from prunekit.graph.c.literals import LARGEST, Float32
from prunekit.graph.c.writer import CValue, CWriter
from prunekit.graph.forms import MACS, ONNX, TORCH, TWIN, C
from prunekit.graph.lifting import Lifted, Traced, from_function, from_module
from prunekit.graph.onnx import OnnxWriter
from prunekit.graph.op import Array, Coupling, Spec, register_op, require_floats, unitwise
from prunekit.lazy import nn
from prunekit.ops.activation_c import activation_in_float32, activation_to_c
from prunekit.ops.activation_kinds import KINDS, Kind

if TYPE_CHECKING:
    from torch import Tensor


@register_op
@final
@dataclass(frozen=True, kw_only=True)
class Activation:
    """The function ``kind`` with its numbers, applied to every element; raises InputError for an unknown kind."""

    kind: str
    numbers: tuple[float, ...] = ()
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("y",)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"'{self.kind}' is not a known activation; choose one of {', '.join(KINDS)}")
        if len(self.numbers) != len(KINDS[self.kind].numbers):
            raise InputError(f"'{self.kind}' takes {list(KINDS[self.kind].numbers)}, not {len(self.numbers)} numbers")
        for number in self.numbers:
            if not abs(number) <= LARGEST:
                raise InputError(f"'{self.kind}' has a parameter beyond float32: {number:g}")

    def shapes(self, given: Sequence[Spec]) -> tuple[Spec, ...]:
        """Return the spec of the input."""
        require_floats(given)
        return (given[0],)

    def couplings(self, given: Sequence[Spec]) -> tuple[Coupling, ...]:
        """Couple each unit of y with the same unit of x."""
        return unitwise(given[0], ("x", "y"))

    def reference(self, values: Sequence[Array]) -> tuple[Array, ...]:
        """Return y."""
        return (KINDS[self.kind].reference(values[0], *self.numbers),)


@MACS.register(Activation)
def _macs(_: Activation, __: Sequence[Spec]) -> int:
    return 0


@TORCH.register(Activation)
def _torch(op: Activation, _: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
    return (KINDS[op.kind].torch(x, *op.numbers),)


@ONNX.register(Activation)
def _onnx(op: Activation, writer: OnnxWriter, x: str) -> tuple[str, ...]:
    return (KINDS[op.kind].onnx(writer, x, *op.numbers),)


@C.register(Activation)
def _c(op: Activation, writer: CWriter, x: CValue) -> tuple[CValue, ...]:
    own = writer.own_name(op.kind, (op.kind, op.numbers))
    writer.functions.append(activation_to_c(op.kind, op.numbers, writer.name, own))
    writer.loops.append(
        f"static void {writer.name}_each_{own}(float *x, int count)\n{{\n    int i;\n"
        f"    for (i = 0; i < count; ++i)\n        x[i] = {writer.name}_{own}(x[i]);\n}}\n"
    )
    y = writer.over(x)
    if y.text != x.text:
        writer.each(y, f"{x.text}[i]")
    writer.add(f"    {writer.name}_each_{own}({y.text}, {y.count});")
    return (y,)


@TWIN.register(Activation)
def _twin(op: Activation, x: Float32) -> tuple[Float32, ...]:
    return (activation_in_float32(op.kind, op.numbers, x),)


@from_module(lambda: tuple({kind.module for kind in KINDS.values()}))
def _module(module: nn.Module, x: Traced) -> Lifted | None:
    for kind in KINDS.values():
        if type(module) is kind.module:
            given = {name: getattr(module, name) for name in (*kind.numbers, *kind.required)}
            lifted = _lifted(kind, given, x)
            if lifted is not None:
                return lifted
    return None


def _function(own: Kind) -> None:
    @from_function(lambda: own.functions)
    def _(x: Traced, *arguments: Any, **named: Any) -> Lifted | None:
        kinds = [kind for kind in KINDS.values() if set(kind.functions) & set(own.functions)]
        for kind in kinds:
            names = (*kind.numbers, *kind.required)
            if len(arguments) <= len(names):
                # Of several kinds of one function, the first is what torch computes by default.
                defaults = {**kind.numbers, **kinds[0].required}
                given = {**defaults, **dict(zip(names, arguments, strict=False)), **named}
                lifted = _lifted(kind, given, x) if given.keys() == set(names) else None
                if lifted is not None:
                    return lifted
        return None


def _lifted(kind: Kind, given: Mapping[str, Any], x: Traced) -> Lifted | None:
    if any(given[name] != value for name, value in kind.required.items()):
        return None
    numbers = [given[name] for name in kind.numbers]
    if not all(isinstance(number, int | float) for number in numbers):
        return None
    return Lifted(op=Activation(kind=kind.name, numbers=tuple(float(number) for number in numbers)), inputs=(x,))


for _kind in KINDS.values():
    _function(_kind)
