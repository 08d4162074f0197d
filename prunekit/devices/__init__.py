"""Devices by name; each reports only what it can measure."""

from __future__ import annotations

from collections.abc import Sequence

from prunekit.benching.figures import Device
from prunekit.devices.board import Board
from prunekit.devices.chips import chip_named, chips_beginning
from prunekit.devices.cores import CORES
from prunekit.devices.cpu import Cpu
from prunekit.devices.cpu_c import CpuC
from prunekit.devices.policy_code import PolicyCode
from prunekit.errors import InputError
from prunekit.export.quantize import Bits

DEVICES = ("cpu", "cpu-c", *CORES)
"""The names of all devices."""


def devices_named(names: Sequence[str], parts: Sequence[str] = (), activations: Bits | None = None) -> list[Device]:
    """Return the devices with these ``names``, then those of the chips ``parts``, without duplicates.

    ``activations`` applies to devices that run C.

    Raises InputError for an unknown name.
    """
    code = PolicyCode(activations)
    devices: list[Device] = []
    for name in dict.fromkeys(names):
        if name not in DEVICES:
            begun = chips_beginning(name)
            advice = f"; {begun[0]} is a chip, which `parts` takes" if begun else ""
            raise InputError(f"`devices` {name} is unknown; choose among {', '.join(DEVICES)}{advice}")
        if name in CORES:
            devices.append(Board(CORES[name], None, code))
        else:
            devices.append(Cpu() if name == "cpu" else CpuC(code))
    found = [chip_named(name) for name in parts]
    return [*devices, *(Board(chip.core, chip, code) for chip in dict.fromkeys(found))]
