"""A head alone as C, behind integers: what the ops' own forms write for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from prunekit.errors import InputError
from prunekit.export.c_interface import Interface, flat_interface
from prunekit.graph.c.literals import Constant, Float32
from prunekit.graph.c.writer import CValue, CWriter
from prunekit.graph.forms import TWIN, C
from prunekit.graph.op import Spec
from prunekit.policy.heads import ArgmaxHead, Head, op_of_head


def interface_of_head(name: str, inputs: int, head: Head, width: int) -> Interface:
    """Return the interface of a policy of one flat observation whose ``head`` reads ``width`` values."""
    return flat_interface(name, inputs, op_of_head(head), width)


def decided(head: Head, scores: Float32) -> NDArray[Any]:
    """Return the actions of ``scores`` float32 [n, k]: int32 [n] or float32 [n, k], to the bit that the C gives."""
    op = op_of_head(head)
    return TWIN.of(op, "action")(op, scores)[0]


def require_int32(head: Head, outputs: int) -> None:
    """Raise InputError for action numbers that the C cannot return."""
    if isinstance(head, ArgmaxHead) and head.start > 2**31 - outputs:
        raise InputError(f"actions are numbered from {head.start}, but C returns them as numbers of 32 bits")


def decision(head: Head, name: str, scores: str, outputs: int) -> list[str]:
    """Return the lines that turn ``scores``, a float array of C, into the action; a score that is NaN gives the low."""
    return [line for line in _written(head, name, scores, outputs).statements if isinstance(line, str)]


def bounds_constants(head: Head, name: str, outputs: int) -> list[Constant]:
    """Return the head's constants, where they differ between components."""
    return _written(head, name, "scores", outputs).constants


def head_functions(head: Head, name: str, outputs: int) -> Sequence[str]:
    """Return the functions of C that ``decision`` needs."""
    return _written(head, name, "scores", outputs).functions


def _written(head: Head, name: str, scores: str, outputs: int) -> CWriter:
    op, writer, spec = op_of_head(head), CWriter(name), Spec((outputs,))
    made = op.shapes([spec])
    x = CValue(base=scores, spec=spec)
    writer.begin(made, (x,), CValue(base="action", spec=made[0], returned=made[0].dtype == "int64"))
    C.of(op, "action")(op, writer, x)
    return writer
