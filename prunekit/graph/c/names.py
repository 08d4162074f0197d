"""Names that are valid in C."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_C = """
auto break case char const continue default do double else enum extern float for goto if inline int long register
restrict return short signed sizeof static struct switch typedef union unsigned void volatile while
"""
_CPP = """
alignas alignof and asm bitand bitor bool catch class compl concept constexpr decltype delete explicit export false
friend mutable namespace new noexcept not nullptr operator or private protected public requires template this throw
true try typeid typename using virtual wchar_t xor
"""
_COMPILERS = "linux unix i386 arm avr vax near far huge interrupt typeof thread_local"
_OWN = "action state i j v r z row low high best inputs outputs observation flash int32"
C_WORDS = frozenset(_C.split())
"""The keywords of C99."""
_BUFFER = re.compile(r"[a-h]|buffer_[0-9]+")


def buffer_name(index: int) -> str:
    """Return the C name of a policy's array number ``index``."""
    return "abcdefgh"[index] if index < 8 else f"buffer_{index}"


def field_names(fields: Iterable[str], policy: str) -> list[str]:
    """Return C names of parameters, members and macros for ``fields`` of the policy ``policy``.

    The names are lowercase and distinct. None is a keyword of C or C++ or a name that the policy's function uses.
    """
    words = C_WORDS | frozenset(f"{_CPP} {_COMPILERS} {_OWN}".split())
    found: list[str] = []
    for field in fields:
        name = re.sub(r"[^a-z0-9]+", "_", field.lower()).strip("_") or "field"
        own = name in words or _BUFFER.fullmatch(name) or name.startswith((f"{policy}_", "in_"))
        name = f"in_{name}" if own or name[0].isdigit() or name == policy else name
        found.append(unique(name, found))
    return found


def unique(name: str, taken: Sequence[str]) -> str:
    """Return ``name``, with a number appended if it is taken."""
    tried, number = name, 1
    while tried in taken:
        number += 1
        tried = f"{name}_{number}"
    return tried
