"""The cores for which a policy can be built and emulated: compilers, flags and machines, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from prunekit.errors import InputError

_COMMON = ("-std=c99", "-O2", "-ffp-contract=off", "-ffunction-sections", "-fdata-sections", "-Wall", "-Wextra")
_LEAN = ("-fno-stack-protector", "-fno-unwind-tables", "-fno-asynchronous-unwind-tables")
_MEBIBYTE = 1 << 20
AVR_AMPLE_RAM_END = 0x7FFF
"""The last address of RAM of an AVR with memory to spare."""


@final
@dataclass(frozen=True, kw_only=True)
class Machine:
    """An emulated machine: the emulator, its arguments before the image, and its memory in bytes."""

    emulator: str
    arguments: tuple[str, ...]
    flash_bytes: int
    ram_bytes: int


@final
@dataclass(frozen=True, kw_only=True)
class Core:
    """A core with its compiler and the machines that emulate it, the smallest first.

    ``unit`` is what the emulator counts: instructions in QEMU, cycles in simavr. ``packages`` are Debian packages.
    ``flash_at`` and ``ram_at`` are the addresses of the memory; None if the compiler's own linker script sets them.
    ``mcu`` is simavr's name of the chip; None for QEMU. ``ample`` is a machine with memory to spare, which is used to
    measure how much a policy needs. All cores are little-endian.
    """

    name: str
    compiler: str
    flags: tuple[str, ...]
    link_flags: tuple[str, ...]
    port: str
    sources: tuple[str, ...]
    machines: tuple[Machine, ...]
    packages: tuple[str, ...]
    unit: Literal["instructions", "cycles"] = "instructions"
    flash_at: int | None = None
    ram_at: int | None = None
    mcu: str | None = None
    ample: Machine | None = None

    @property
    def flash_bytes(self) -> int:
        """The flash of the largest machine."""
        return self.machines[-1].flash_bytes

    @property
    def ram_bytes(self) -> int:
        """The RAM of the largest machine."""
        return self.machines[-1].ram_bytes


def _board(emulator: str, machine: tuple[str, ...], flash_bytes: int, ram_bytes: int) -> Machine:
    quiet = ("-display", "none", "-serial", "none", "-monitor", "none")
    semihosting = ("-semihosting-config", "enable=on,target=native", "-kernel")
    return Machine(
        emulator=emulator,
        arguments=("-M", *machine, *quiet, *semihosting),
        flash_bytes=flash_bytes,
        ram_bytes=ram_bytes,
    )


def _cortex_m(name: str, core: tuple[str, ...], machines: tuple[Machine, ...]) -> Core:
    return Core(
        name=name,
        compiler="arm-none-eabi-gcc",
        flags=(*_COMMON, *_LEAN, "-mthumb", *core),
        link_flags=("-nostdlib",),
        port="port-semihosting.h",
        sources=("start.c", "memory.c"),
        machines=machines,
        packages=("gcc-arm-none-eabi", "libnewlib-arm-none-eabi", "qemu-system-arm"),
        flash_at=0,
        ram_at=0x2000_0000,
    )


def _mps2(fpga: str) -> Machine:
    return _board("qemu-system-arm", (f"mps2-{fpga}",), 4 * _MEBIBYTE, 4 * _MEBIBYTE)


def _riscv32(name: str, core: tuple[str, ...]) -> Core:
    machine = _board("qemu-system-riscv32", ("virt", "-m", "72M", "-bios", "none"), 64 * _MEBIBYTE, 4 * _MEBIBYTE)
    return Core(
        name=name,
        compiler="riscv64-unknown-elf-gcc",
        flags=(*_COMMON, *_LEAN, "-ffreestanding", "-mcmodel=medany", *core),
        link_flags=("-nostdlib",),
        port="port-semihosting.h",
        sources=("start.c", "memory.c"),
        machines=(machine,),
        packages=("gcc-riscv64-unknown-elf", "qemu-system-misc"),
        flash_at=0x8000_0000,
        ram_at=0x8400_0000,
    )


def _avr(name: str, mcu: str, flash_bytes: int, ram_bytes: int) -> Core:
    return Core(
        name=name,
        compiler="avr-gcc",
        flags=(*_COMMON, f"-mmcu={mcu}"),
        # avr-libc's floating point is several times faster than libgcc's; lengths are large, to measure overflows
        link_flags=(
            "-lm",
            "-Wl,--defsym=__TEXT_REGION_LENGTH__=0x7e0000",
            "-Wl,--defsym=__DATA_REGION_LENGTH__=0x7e0000",
        ),
        port="port-avr.h",
        sources=("start_avr.c",),
        machines=(Machine(emulator="simavr_host", arguments=("0",), flash_bytes=flash_bytes, ram_bytes=ram_bytes),),
        packages=("gcc-avr", "avr-libc", "libsimavr-dev", "gcc"),
        unit="cycles",
        mcu=mcu,
        ample=Machine(
            emulator="simavr_host",
            arguments=(f"{AVR_AMPLE_RAM_END:#x}",),
            flash_bytes=flash_bytes,
            ram_bytes=AVR_AMPLE_RAM_END,
        ),
    )


def _linux(name: str, compiler: str, emulator: str, packages: tuple[str, ...], core: tuple[str, ...]) -> Core:
    return Core(
        name=name,
        compiler=compiler,
        flags=(*_COMMON, *_LEAN, "-fno-pie", *core),
        link_flags=("-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none"),
        port="port-linux.h",
        sources=("start_linux.c", "memory.c"),
        machines=(Machine(emulator=emulator, arguments=(), flash_bytes=1024 * _MEBIBYTE, ram_bytes=1024 * _MEBIBYTE),),
        packages=packages,
    )


_MICROBIT = _board("qemu-system-arm", ("microbit",), 256 << 10, 16 << 10)
_ALL = (
    # The mps2 boards' cores run the very same ARMv6-M instructions where the micro:bit is too small.
    _cortex_m("cortex-m0", ("-mcpu=cortex-m0",), (_MICROBIT, _mps2("an385"))),
    _cortex_m("cortex-m3", ("-mcpu=cortex-m3",), (_mps2("an385"),)),
    _cortex_m("cortex-m4", ("-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"), (_mps2("an386"),)),
    _cortex_m("cortex-m7", ("-mcpu=cortex-m7", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16"), (_mps2("an500"),)),
    _riscv32("riscv32", ("-march=rv32imac", "-mabi=ilp32")),
    _riscv32("riscv32f", ("-march=rv32imafc", "-mabi=ilp32f")),
    _avr("avr-uno", "atmega328p", 32 << 10, 2 << 10),
    _avr("avr-mega", "atmega2560", 256 << 10, 8 << 10),
    _linux(
        "aarch64",
        "aarch64-linux-gnu-gcc",
        "qemu-aarch64",
        ("gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "qemu-user"),
        (),
    ),
    _linux(
        "armhf",
        "arm-linux-gnueabihf-gcc",
        "qemu-arm",
        ("gcc-arm-linux-gnueabihf", "libc6-dev-armhf-cross", "qemu-user"),
        ("-march=armv7-a", "-mthumb", "-mfpu=vfpv3-d16", "-mfloat-abi=hard"),
    ),
)
CORES: dict[str, Core] = {core.name: core for core in _ALL}
"""Every core by name."""


def core_named(name: str) -> Core:
    """Return the core ``name``; raises InputError, listing the known names, for an unknown one."""
    if name not in CORES:
        raise InputError(f"core {name} is unknown; choose among {', '.join(CORES)}")
    return CORES[name]
