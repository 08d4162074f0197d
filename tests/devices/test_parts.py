"""Parts by name, from their data sheets."""

from __future__ import annotations

from pathlib import Path

import pytest

from prunekit.devices.parts import part_named, parts
from prunekit.devices.targets import TARGETS, target_named
from prunekit.errors import InputError


@pytest.mark.parametrize("name", parts())
def test_a_part_has_a_core_that_is_emulated_and_a_source(name: str) -> None:
    part = part_named(name)
    assert part.name == name
    assert part.target in TARGETS.values()
    assert part.ram_bytes < part.flash_bytes <= part.target.flash_bytes * 2
    assert part.ram_bytes <= part.target.ram_bytes
    assert "data sheet" in part.source or "specification" in part.source


def test_the_documentation_names_every_part_and_no_other() -> None:
    text = (Path(__file__).parents[2] / "docs" / "bench.md").read_text()
    listed = text.partition("\nParts: ")[2].partition(";")[0]
    assert listed.replace("\n", " ").split(", ") == list(parts())


def test_known_figures() -> None:
    assert (part_named("stm32f103c8").flash_bytes, part_named("stm32f103c8").ram_bytes) == (64 << 10, 20 << 10)
    assert (part_named("atmega328p").flash_bytes, part_named("atmega328p").ram_bytes) == ((32 << 10) - 512, 2 << 10)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"^part z80 is unknown; choose among .*stm32f103c8.*atmega328p"):
        part_named("z80")
    with pytest.raises(InputError, match=r"^target z80 is unknown; choose among cortex-m0, .*avr-uno"):
        target_named("z80")
