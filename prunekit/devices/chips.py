"""Microcontrollers on the market: their cores and their memory."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import final

from prunekit.devices.cores import CORES, Core, core_named
from prunekit.errors import InputError


@final
@dataclass(frozen=True, kw_only=True)
class Chip:
    """A microcontroller: its ``core``, and flash and RAM in bytes, from the data sheet ``source``."""

    name: str
    core: Core
    flash_bytes: int
    ram_bytes: int
    source: str


@cache
def chips() -> dict[str, Chip]:
    """Return every chip by name."""
    table = tomllib.loads((Path(__file__).parent / "chips.toml").read_text())
    return {
        name: Chip(
            name=name,
            core=core_named(row["core"]),
            flash_bytes=row["flash_bytes"],
            ram_bytes=row["ram_bytes"],
            source=row["source"],
        )
        for name, row in table.items()
    }


def chips_beginning(name: str) -> list[str]:
    """Return the chips whose names begin with ``name``; none for an empty name."""
    return [chip for chip in chips() if name and chip.startswith(name)]


def unit_of(device: str) -> str:
    """Return what is counted on the core or chip ``device``: instructions, or cycles."""
    known = {**CORES, **{name: chip.core for name, chip in chips().items()}}
    return known[device].unit if device in known else "instructions"


def chip_named(name: str) -> Chip:
    """Return the chip ``name``, or the only chip whose name begins with it.

    Raises InputError, listing the known names, if no chip or more than one matches.
    """
    if name in chips():
        return chips()[name]
    begun = chips_beginning(name)
    if len(begun) != 1:
        raise InputError(f"`parts` {name} is unknown; choose among {', '.join(begun or chips())}")
    return chips()[begun[0]]
