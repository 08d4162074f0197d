"""Activations from the text that Stable-Baselines3 stores for ``activation_fn``."""

from __future__ import annotations

import math
import re
from typing import Any, final

from torch import nn

from prunekit.errors import InputError
from prunekit.graph.lifting import Lifted, Traced, modules
from prunekit.graph.op import Op, Spec
from prunekit.ops.prelu import PReLU
from prunekit.readers.sb3.contents import quoted

_CLASS = r"<class '([\w.]+)'>"
_PLAIN = re.compile(_CLASS)
_PARTIAL = re.compile(rf"functools\.partial\({_CLASS}((?:, [^,()]{{1,40}}){{0,4}})\)")
_NUMBER = re.compile(r"-?\d{1,20}(\.\d{0,20})?(e[+-]?\d{1,3})?")
_WORDS = {"True": True, "False": False, "'none'": "none", "'tanh'": "tanh"}
# Torch's constructors are called with these alone, none of which says a size.
_NAMES = ("negative_slope", "alpha", "beta", "threshold", "approximate", "min_val", "max_val", "inplace")
_MODULES = {
    f"{module.__module__}.{module.__qualname__}": module
    for module in modules()
    if module.__module__ == "torch.nn.modules.activation" or module is nn.Identity
}
_LEARNED = f"{nn.PReLU.__module__}.{nn.PReLU.__qualname__}"


@final
class Learned:
    """A PReLU, whose slopes are stored with the weights."""


def activation_called(text: object) -> Op | Learned | None:
    """Return the op that ``text`` names, with its numbers; None for the identity; raises InputError for others."""
    found = (_PLAIN.fullmatch(text) or _PARTIAL.fullmatch(text)) if isinstance(text, str) else None
    if found is None:
        raise _unknown(text)
    if found[1] == _LEARNED:
        return Learned()
    module = _module(found[1], found[2] if found.re is _PARTIAL else "")
    if module is None:
        raise _unknown(text)
    lifted = modules()[type(module)](module, Traced(name="x", spec=Spec((1,))))
    match lifted:
        case Lifted(op=op):
            return op
        case Traced():
            return None
        case _:
            raise _unknown(text)


def _module(name: str, listed: str) -> nn.Module | None:
    kind = _MODULES.get(name)
    arguments, named = _arguments(listed)
    if kind is None or arguments is None:
        return None
    try:
        return kind(*arguments, **named)
    except (TypeError, ValueError, AssertionError):  # it takes no such arguments
        return None


def _arguments(listed: str) -> tuple[list[Any] | None, dict[str, Any]]:
    """Return (positional, keyword) arguments; positional ones are None if one of them cannot be read."""
    placed: list[Any] = []
    named: dict[str, Any] = {}
    for word in filter(None, listed.split(", ")):
        name, equals, text = word.rpartition("=")
        value = float(text) if _NUMBER.fullmatch(text) else _WORDS.get(text)
        if value is None or value == math.inf or value == -math.inf or (equals and name not in _NAMES):
            return None, {}
        if equals:
            named[name] = value
        else:
            placed.append(value)
    return placed, named


def _unknown(text: object) -> InputError:
    known = sorted({module.__name__ for module in _MODULES.values()} | {PReLU.__name__})
    return InputError(
        f"its activation {quoted(text)} is not known (known: {', '.join(known)}); name what it computes "
        "with `activation`"
    )
