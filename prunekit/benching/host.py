"""The machine and the package versions of a measurement."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunekit.versions import installed_versions

if TYPE_CHECKING:
    from gymnasium.envs.registration import EnvSpec

_PACKAGES = ("prunekit", "onnxruntime", "numpy", "gymnasium")


def host_facts(registered: EnvSpec | None) -> dict[str, Any]:
    """Return processor, cores, system, versions and date; MuJoCo's version if ``registered`` is one of its
    environments.
    """
    packages: tuple[str, ...] = _PACKAGES
    if registered is not None and "mujoco" in str(registered.entry_point):
        packages = (*packages, "mujoco")
    return {
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": installed_versions(packages),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        for line in facts.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
