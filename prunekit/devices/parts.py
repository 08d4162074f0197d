"""Microcontrollers one can buy: which core they have and how much memory."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import final

from prunekit.devices.targets import Target, target_named
from prunekit.errors import InputError


@final
@dataclass(frozen=True)
class Part:
    """A microcontroller: its ``target`` runs the same instructions; flash and RAM in bytes, from ``source``."""

    name: str
    target: Target
    flash_bytes: int
    ram_bytes: int
    source: str


@cache
def parts() -> dict[str, Part]:
    """Return every part by name."""
    table = tomllib.loads((Path(__file__).parent / "parts.toml").read_text())
    return {
        name: Part(name, target_named(row["target"]), row["flash_bytes"], row["ram_bytes"], row["source"])
        for name, row in table.items()
    }


def part_named(name: str) -> Part:
    """Return the part called ``name``, or the only one whose name begins so.

    Raises InputError, with the names there are, where there is none or more than one.
    """
    if name in parts():
        return parts()[name]
    begun = [part for part in parts() if name and part.startswith(name)]
    if len(begun) != 1:
        raise InputError(f"part {name} is unknown; choose among {', '.join(begun or parts())}")
    return parts()[begun[0]]
