"""Devices by name, each measured by what it can honestly tell."""

from __future__ import annotations

from collections.abc import Sequence

from prunekit.bench.compare import Device
from prunekit.devices.cpu import Cpu
from prunekit.errors import InputError

DEVICES: dict[str, Device] = {"cpu": Cpu()}


def devices_named(names: Sequence[str]) -> list[Device]:
    """Return the devices called ``names``; raises InputError for an unknown one."""
    for name in names:
        if name not in DEVICES:
            raise InputError(f"--device {name} is unknown; choose among {', '.join(DEVICES)}")
    return [DEVICES[name] for name in dict.fromkeys(names)]
