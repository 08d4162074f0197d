"""Firmware images of policies, and the memory that they need."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from prunekit.compiled import cache_folder, cache_key, made_once, run_tool, version_of
from prunekit.devices.chips import Chip
from prunekit.devices.cores import AVR_AMPLE_RAM_END, Core, Machine
from prunekit.devices.elf import read_elf
from prunekit.devices.toolchain import FIRMWARE, compiler, missing
from prunekit.errors import CheckError, InputError, TooLargeError
from prunekit.export.c_code import CCode, require_one_flat_input
from prunekit.export.c_text import avr_addresses

_AMPLE_BYTES = 256 << 20
_STACK_RESERVE_BYTES = 8192
"""RAM that a small machine must have left for the stack to be chosen before a larger one."""
_HARNESS_FLAGS = ("-Os", "-fno-tree-loop-distribute-patterns")


@final
@dataclass(frozen=True, kw_only=True)
class Image:
    """A policy in firmware, linked for ``core`` with the memory of ``chip``.

    ``flash_bytes`` and ``static_ram_bytes`` (without stack) include the harness; ``harness_flash_bytes`` and
    ``harness_ram_bytes`` are those of the same image with an empty policy. ``overflow`` gives, for ``flash`` and
    ``ram``, how many bytes exceed the memory of the chip, or of the emulated machine without a chip; 0 if it fits.
    ``machine`` is the emulated machine that runs the image; None if it does not fit, or if no emulated machine has as
    much memory as the chip. ``mark`` is the code address whose visits delimit a call.
    """

    code: CCode
    core: Core
    chip: Chip | None
    elf: Path
    machine: Machine | None
    flash_bytes: int
    static_ram_bytes: int
    harness_flash_bytes: int
    harness_ram_bytes: int
    overflow: dict[str, int]
    mark: int

    @property
    def fits(self) -> bool:
        """Whether flash and static variables fit; the stack is only known after a run."""
        return not any(self.overflow.values())


def build(code: CCode, core: Core, chip: Chip | None = None, *, stack_bytes: int = 0, ample: bool = False) -> Image:
    """Compile and link ``code`` with the harness; images are cached by content.

    The machine has room for ``stack_bytes``, if given; ``ample`` uses one with memory to spare. The sizes come from a
    link with ample memory, so an overflow is measured too. Raises InputError if a tool is missing, if the chip has
    another core, or if the policy has several inputs or a state; TooLargeError if it exceeds the compiler's address
    space; CheckError if the C does not compile.
    """
    if chip is not None and chip.core != core:
        raise InputError(f"chip {chip.name} has the core {chip.core.name}, not {core.name}")
    require_one_flat_input(code, f"the firmware for {core.name}")
    if core.mcu is not None and not avr_addresses(code.constant_bytes):
        raise TooLargeError(f"{core.name}: beyond what an AVR can address; prune the policy further")
    holder = core if chip is None else chip
    sizes = read_elf(_linked(code, core, None))
    harness = read_elf(_linked(_empty(code), core, None))
    overflow = {
        "flash": max(0, sizes.flash_bytes - holder.flash_bytes),
        "ram": max(0, sizes.ram_bytes - holder.ram_bytes),
    }
    machine = None
    if ample and sizes.flash_bytes <= _ample(core).flash_bytes:
        machine = _ample(core)
    elif not any(overflow.values()) and not ample:
        stack = max(_STACK_RESERVE_BYTES, stack_bytes)
        machine = _machine(core, chip, sizes.flash_bytes, sizes.ram_bytes, stack)
    memory = None
    if machine is not None:
        memory = (machine.flash_bytes, machine.ram_bytes) if chip is None else (chip.flash_bytes, chip.ram_bytes)
    elf = _linked(code, core, memory, ample)
    return Image(
        code=code,
        core=core,
        chip=chip,
        elf=elf,
        machine=machine,
        flash_bytes=sizes.flash_bytes,
        static_ram_bytes=sizes.ram_bytes,
        harness_flash_bytes=harness.flash_bytes,
        harness_ram_bytes=harness.ram_bytes,
        overflow=overflow,
        mark=read_elf(elf).symbols["prunekit_mark"] & ~1,  # bit 0 says Thumb
    )


def _ample(core: Core) -> Machine:
    return core.ample or core.machines[-1]


def _machine(core: Core, chip: Chip | None, flash_bytes: int, ram_bytes: int, stack: int) -> Machine | None:
    for machine in core.machines:
        wanted_ram = ram_bytes + (stack if machine != core.machines[-1] else 0)
        if chip is not None:
            wanted_ram = chip.ram_bytes
        if flash_bytes <= machine.flash_bytes and wanted_ram <= machine.ram_bytes:
            return machine
    return None


def _empty(code: CCode) -> CCode:
    result, action = ("int32_t", "") if code.outputs is None else ("void", f", float action[{code.outputs}]")
    body = "(void)observation; return 0;" if code.outputs is None else "(void)observation; (void)action;"
    signature = f"{result} {code.name}_action(const float observation[{code.inputs}]{action})"
    return replace(code, source=f'#include "{code.name}.h"\n\n{signature} {{ {body} }}\n')


def _glue(code: CCode) -> str:
    upper = code.name.upper()
    lines = [
        f'#include "{code.name}.h"',
        f"#define PolicyAction {code.name}_action",
        f"#define PolicyInputs {upper}_INPUTS",
        f"typedef char PolicyInputsAgree[{upper}_INPUTS == {code.inputs} ? 1 : -1];",
    ]
    if code.outputs is not None:
        lines += [
            f"#define PolicyOutputs {upper}_OUTPUTS",
            f"typedef char PolicyOutputsAgree[{upper}_OUTPUTS == {code.outputs} ? 1 : -1];",
        ]
    return "\n".join(lines) + "\n"


def _linked(code: CCode, core: Core, memory: tuple[int, int] | None, ample: bool = False) -> Path:
    """Return the image for ``memory`` bytes of flash and RAM; None means more than any chip has."""
    headers = {f"{code.name}.h": code.header, "under-test.h": _glue(code)}
    objects = [
        _object(core, (FIRMWARE / "harness.c").read_text(), headers, (*_HARNESS_FLAGS, f'-DPORT="{core.port}"')),
        *(_object(core, (FIRMWARE / source).read_text(), {}, _HARNESS_FLAGS) for source in core.sources),
        _object(core, code.source, headers, ()),
    ]
    stack = (f"-Wl,--defsym=__stack={AVR_AMPLE_RAM_END:#x}",) if ample and core.mcu is not None else ()
    before = (*core.flags, *_memory_flags(core, memory), *stack)
    after = (*core.link_flags, "-lgcc", "-Wl,--gc-sections")
    script = (FIRMWARE / "board.ld").read_text()
    names = [path.name for path in objects]  # keyed by content, because their paths differ between processes
    kept = cache_folder() / "images" / f"{cache_key(before, names, after, script, version_of(compiler(core)))}.elf"
    flags = (*before, *map(str, objects), *after)
    return _made(core, flags, {}, kept)


def _memory_flags(core: Core, memory: tuple[int, int] | None) -> tuple[str, ...]:
    if core.flash_at is None or core.ram_at is None:
        return ()
    flash_bytes, ram_bytes = memory or (min(_AMPLE_BYTES, core.ram_at - core.flash_at), _AMPLE_BYTES)
    symbols = {
        "PRUNEKIT_FLASH_AT": core.flash_at,
        "PRUNEKIT_FLASH_BYTES": flash_bytes,
        "PRUNEKIT_RAM_AT": core.ram_at,
        "PRUNEKIT_RAM_BYTES": ram_bytes,
    }
    return ("-T", str(FIRMWARE / "board.ld"), *(f"-Wl,--defsym={name}={value}" for name, value in symbols.items()))


def _object(core: Core, source: str, headers: dict[str, str], flags: tuple[str, ...]) -> Path:
    texts = {path.name: path.read_text() for path in sorted(FIRMWARE.glob("*.h"))} | headers | {"unit.c": source}
    command = (*core.flags, *flags, "-c", "unit.c")
    kept = cache_folder() / "objects" / f"{cache_key(command, texts, version_of(compiler(core)))}.o"
    return _made(core, command, texts, kept)


def _made(core: Core, arguments: tuple[str, ...], texts: dict[str, str], kept: Path) -> Path:
    def make(folder: Path) -> Path:
        for name, text in texts.items():
            (folder / name).write_text(text)
        try:
            run_tool([compiler(core), *arguments, "-o", "made"], folder)
        except CheckError as error:
            if core.mcu is not None and "avr/" in str(error):
                raise missing(core, "avr-libc") from error
            if "stdint.h: No such file" in str(error):
                raise missing(core, "stdint.h of its C library") from error
            raise
        return folder / "made"

    return made_once(kept, make)
