"""The compilers and emulators on this machine, and the packages to install if one is missing."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

from prunekit.compiled import cache_folder, cache_key, host_compiler, made_once, run_tool, version_of
from prunekit.devices.cores import Core, Machine
from prunekit.errors import CheckError, InputError

FIRMWARE = Path(__file__).parent / "firmware"
"""The C sources that are no policy."""
_QEMU_OF_COUNTERS_PER_CORE = 9


def require_tools(core: Core) -> None:
    """Raise InputError, naming the packages to install, if a tool that ``core`` needs is missing."""
    compiler(core)
    for machine in core.machines:
        emulator(core, machine)


def compiler(core: Core) -> str:
    """Return the path of the compiler of ``core``; raises InputError, naming the packages, if it is missing."""
    return _tool(core, core.compiler)


def emulator(core: Core, machine: Machine) -> str:
    """Return the path of the emulator of ``machine``; that of AVR is compiled on first use.

    Raises InputError, naming the packages to install, if the emulator or what it is built from is missing.
    """
    if core.mcu is None:
        return _tool(core, machine.emulator)
    flags = ("-O2", "-std=c99", "-D_GNU_SOURCE")
    return str(_host_built(core, machine.emulator, "simavr_host.c", flags, ("-lsimavr",)))


@cache
def can_count(tool: str) -> bool:
    """Return whether the emulator at ``tool`` supports plugins; some builds of QEMU's user mode do not."""
    done = subprocess.run([tool, "-h"], capture_output=True, text=True, check=False)
    return "plugin" in done.stdout


def count_plugin(core: Core, machine: Machine) -> Path:
    """Return the counting plugin for the QEMU of ``machine``, compiled on first use.

    Raises InputError if the host has no compiler, or if there is no such QEMU.
    """
    said = re.search(r"version (\d+)", version_of(emulator(core, machine)))
    interface = 2 if said is not None and int(said[1]) >= _QEMU_OF_COUNTERS_PER_CORE else 1
    flags = ("-O2", "-std=c99", "-shared", "-fPIC", f"-DPluginApi={interface}")
    return _host_built(core, "count_plugin.so", "count_plugin.c", flags, ())


def tool_versions(core: Core) -> dict[str, str]:
    """Return the version lines of compiler and emulators of ``core``; libsimavr has none."""
    paths = [compiler(core)]
    if core.mcu is None:
        paths += [emulator(core, machine) for machine in core.machines]
    return {Path(path).name: version_of(path) for path in paths}


def missing(core: Core, tool: str) -> InputError:
    """Return an error that names ``core``, the missing tool, and the packages to install."""
    install = f"apt-get install {' '.join(core.packages)}"
    return InputError(f"device {core.name} needs {tool}, which is not installed; run: {install}")


def _tool(core: Core, name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise missing(core, name)
    return str(Path(path).absolute())


def _host_built(core: Core, name: str, source: str, flags: tuple[str, ...], libraries: tuple[str, ...]) -> Path:
    host = host_compiler(f"device {core.name}")
    text = (FIRMWARE / source).read_text()
    kept = cache_folder() / "tools" / cache_key(text, flags, libraries, version_of(host)) / name

    def make(folder: Path) -> Path:
        made = folder / name
        try:
            run_tool([host, *flags, str(FIRMWARE / source), "-o", str(made), *libraries], folder)
        except CheckError as error:
            if not libraries:
                raise
            raise missing(core, "libsimavr and its headers") from error
        return made

    return made_once(kept, make)
