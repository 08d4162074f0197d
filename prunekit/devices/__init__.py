"""Devices by name, each measured by what it can honestly tell."""

from __future__ import annotations

from collections.abc import Sequence

from prunekit.benching.figures import Device
from prunekit.devices.board import Board
from prunekit.devices.cpu import Cpu
from prunekit.devices.cpu_c import CpuC
from prunekit.devices.parts import part_named
from prunekit.devices.policy_code import PolicyCode
from prunekit.devices.targets import TARGETS
from prunekit.errors import InputError
from prunekit.export.quantize import Bits

DEVICES = ("cpu", "cpu-c", *TARGETS)
"""The names of all devices."""


def devices_named(names: Sequence[str], parts: Sequence[str] = (), activations: Bits | None = None) -> list[Device]:
    """Return the devices called ``names``, then ``parts``, each once; ``activations`` as those that run C have them.

    Raises InputError for an unknown name.
    """
    code = PolicyCode(activations)
    devices: list[Device] = []
    for name in dict.fromkeys(names):
        if name not in DEVICES:
            raise InputError(f"`devices` {name} is unknown; choose among {', '.join(DEVICES)}")
        if name in TARGETS:
            devices.append(Board(TARGETS[name], None, code))
        else:
            devices.append(Cpu() if name == "cpu" else CpuC(code))
    found = [part_named(name) for name in parts]
    return [*devices, *(Board(part.target, part, code) for part in dict.fromkeys(found))]
