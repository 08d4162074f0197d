"""Parts by name, from their data sheets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from prunekit.devices.chips import chip_named, chips
from prunekit.devices.cores import CORES, core_named
from prunekit.errors import InputError


@pytest.mark.parametrize("name", chips())
def test_a_part_has_a_core_that_is_emulated_and_a_source(name: str) -> None:
    part = chip_named(name)
    assert part.name == name
    assert part.core in CORES.values()
    assert part.ram_bytes < part.flash_bytes <= part.core.flash_bytes * 2
    assert part.ram_bytes <= part.core.ram_bytes
    assert "data sheet" in part.source or "specification" in part.source


def test_the_documentation_names_every_part_and_no_other() -> None:
    text = (Path(__file__).parents[2] / "docs" / "bench.md").read_text()
    listed = text.partition("\nThe parts are ")[2].partition(".")[0]
    assert re.split(", | and ", listed.replace("\n", " ")) == list(chips())


def test_known_figures() -> None:
    assert (chip_named("stm32f103c8").flash_bytes, chip_named("stm32f103c8").ram_bytes) == (64 << 10, 20 << 10)
    assert (chip_named("atmega328p").flash_bytes, chip_named("atmega328p").ram_bytes) == ((32 << 10) - 512, 2 << 10)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"^`parts` z80 is unknown; choose among .*stm32f103c8.*atmega328p"):
        chip_named("z80")
    with pytest.raises(InputError, match=r"^core z80 is unknown; choose among cortex-m0, .*avr-uno"):
        core_named("z80")
