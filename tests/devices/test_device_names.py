"""Devices by name, and what is known of them without running anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from prunekit.benching.settings import BenchSettings
from prunekit.devices import devices_named
from prunekit.errors import InputError

SETTINGS = BenchSettings(episodes=5, first_seed=70, loop_episodes=2)


def names(given: Sequence[str], parts: Sequence[str] = ()) -> list[str]:
    return [device.name for device in devices_named(given, parts)]


def test_devices_and_parts_come_once_each_in_their_order() -> None:
    assert names(["avr-uno", "cpu-c", "avr-uno", "cpu-c"]) == ["avr-uno", "cpu-c"]
    assert names([], ["stm32f103c8", "rp2040", "stm32f103", "stm32f103c8"]) == ["stm32f103c8", "rp2040"]
    assert names(["cortex-m3", "cpu"], ["stm32f103"]) == ["cortex-m3", "cpu", "stm32f103c8"]


def test_the_beginning_of_a_part_is_enough_where_it_tells_which() -> None:
    assert names([], ["stm32f103"]) == ["stm32f103c8"]
    with pytest.raises(InputError) as caught:
        names([], ["stm32f"])
    [candidates] = [text.split(", ") for text in str(caught.value).split("choose among ")[1:]]
    assert candidates == ["stm32f030f4", "stm32f030r8", "stm32f103c8", "stm32f405rg", "stm32f411ce", "stm32f746zg"]


def test_the_episodes_of_a_board_are_the_first_ones() -> None:
    [cpu, board_device] = devices_named(["cpu-c", "cortex-m4"])
    assert list(cpu.seeds(SETTINGS)) == [70, 71, 72, 73, 74]
    assert list(board_device.seeds(SETTINGS)) == [70, 71]
    assert list(board_device.seeds(replace(SETTINGS, loop_episodes=9))) == [70, 71, 72, 73, 74]
