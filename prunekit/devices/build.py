"""Firmware images of policies, and what they take of a part's memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from prunekit.compiled import cache_folder, cache_key, made_once, run_tool, version_of
from prunekit.devices.elf import read_elf
from prunekit.devices.parts import Part
from prunekit.devices.targets import AVR_AMPLE_RAM_END, Machine, Target
from prunekit.devices.toolchain import FIRMWARE, compiler, missing
from prunekit.errors import CheckError, InputError, TooLargeError
from prunekit.export.c_code import CCode, require_one_flat_input
from prunekit.export.c_text import avr_addresses

_AMPLE_BYTES = 256 << 20
_STACK_RESERVE_BYTES = 8192
"""RAM that a small machine must have left for the stack to be chosen before a larger one."""
_HARNESS_FLAGS = ("-Os", "-fno-tree-loop-distribute-patterns")


@final
@dataclass(frozen=True)
class Image:
    """A policy in firmware, linked for ``target`` with the memory of ``part``.

    ``flash_bytes`` and ``static_ram_bytes`` (no stack) include the harness, whose share is that of the same image with
    an empty policy: ``harness_flash_bytes`` and ``harness_ram_bytes``. ``overflow`` says per ``flash`` and ``ram`` how
    many bytes too much there are for the part, or for the emulated machine where there is no part; 0 where it fits.
    ``machine`` is what runs it; None where it does not fit, or where no emulated machine holds what the part holds.
    ``mark`` is the address between whose visits a call is counted.
    """

    code: CCode
    target: Target
    part: Part | None
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
        """Whether flash and static variables fit; the stack is known from a run only."""
        return not any(self.overflow.values())


def build(code: CCode, target: Target, part: Part | None = None, *, stack_bytes: int = 0, ample: bool = False) -> Image:
    """Compile and link ``code`` with the harness; images are kept by content.

    The machine has room for ``stack_bytes``, where they are known; with ``ample`` it is one with memory to spare.
    The sizes come from a link with ample memory, so that an overflow is measured, too. Raises InputError where a tool
    is missing, the part has another core, or the policy takes several inputs or keeps a state, TooLargeError where it
    is larger than the compiler's address space, CheckError where the C does not compile.
    """
    if part is not None and part.target != target:
        raise InputError(f"part {part.name} has the core of {part.target.name}, not {target.name}")
    require_one_flat_input(code, f"the firmware for {target.name}")
    if target.mcu is not None and not avr_addresses(code.constant_bytes):
        raise TooLargeError(f"{target.name}: beyond what an AVR can address; prune the policy further")
    most = target if part is None else part
    sizes = read_elf(_linked(code, target, None))
    harness = read_elf(_linked(_empty(code), target, None))
    overflow = {
        "flash": max(0, sizes.flash_bytes - most.flash_bytes),
        "ram": max(0, sizes.ram_bytes - most.ram_bytes),
    }
    machine = None
    if ample and sizes.flash_bytes <= _ample(target).flash_bytes:
        machine = _ample(target)
    elif not any(overflow.values()) and not ample:
        stack = max(_STACK_RESERVE_BYTES, stack_bytes)
        machine = _machine(target, part, sizes.flash_bytes, sizes.ram_bytes, stack)
    memory = None
    if machine is not None:
        memory = (machine.flash_bytes, machine.ram_bytes) if part is None else (part.flash_bytes, part.ram_bytes)
    elf = _linked(code, target, memory, ample)
    return Image(
        code=code,
        target=target,
        part=part,
        elf=elf,
        machine=machine,
        flash_bytes=sizes.flash_bytes,
        static_ram_bytes=sizes.ram_bytes,
        harness_flash_bytes=harness.flash_bytes,
        harness_ram_bytes=harness.ram_bytes,
        overflow=overflow,
        mark=read_elf(elf).symbols["prunekit_mark"] & ~1,  # bit 0 says Thumb
    )


def _ample(target: Target) -> Machine:
    return target.ample or target.machines[-1]


def _machine(target: Target, part: Part | None, flash_bytes: int, ram_bytes: int, stack: int) -> Machine | None:
    for machine in target.machines:
        wanted_ram = ram_bytes + (stack if machine != target.machines[-1] else 0)
        if part is not None:
            wanted_ram = part.ram_bytes
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


def _linked(code: CCode, target: Target, memory: tuple[int, int] | None, ample: bool = False) -> Path:
    """Return the image for ``memory`` bytes of flash and RAM, or for more than any part has."""
    headers = {f"{code.name}.h": code.header, "under-test.h": _glue(code)}
    objects = [
        _object(target, (FIRMWARE / "harness.c").read_text(), headers, (*_HARNESS_FLAGS, f'-DPORT="{target.port}"')),
        *(_object(target, (FIRMWARE / source).read_text(), {}, _HARNESS_FLAGS) for source in target.sources),
        _object(target, code.source, headers, ()),
    ]
    stack = (f"-Wl,--defsym=__stack={AVR_AMPLE_RAM_END:#x}",) if ample and target.mcu is not None else ()
    before = (*target.flags, *_memory_flags(target, memory), *stack)
    after = (*target.link_flags, "-lgcc", "-Wl,--gc-sections")
    script = (FIRMWARE / "board.ld").read_text()
    names = [path.name for path in objects]  # by their content; where they lie is another place in each process
    kept = cache_folder() / "images" / f"{cache_key(before, names, after, script, version_of(compiler(target)))}.elf"
    flags = (*before, *map(str, objects), *after)
    return _made(target, flags, {}, kept)


def _memory_flags(target: Target, memory: tuple[int, int] | None) -> tuple[str, ...]:
    if target.flash_at is None or target.ram_at is None:
        return ()
    flash_bytes, ram_bytes = memory or (min(_AMPLE_BYTES, target.ram_at - target.flash_at), _AMPLE_BYTES)
    symbols = {
        "PRUNEKIT_FLASH_AT": target.flash_at,
        "PRUNEKIT_FLASH_BYTES": flash_bytes,
        "PRUNEKIT_RAM_AT": target.ram_at,
        "PRUNEKIT_RAM_BYTES": ram_bytes,
    }
    return ("-T", str(FIRMWARE / "board.ld"), *(f"-Wl,--defsym={name}={value}" for name, value in symbols.items()))


def _object(target: Target, source: str, headers: dict[str, str], flags: tuple[str, ...]) -> Path:
    texts = {path.name: path.read_text() for path in sorted(FIRMWARE.glob("*.h"))} | headers | {"unit.c": source}
    command = (*target.flags, *flags, "-c", "unit.c")
    kept = cache_folder() / "objects" / f"{cache_key(command, texts, version_of(compiler(target)))}.o"
    return _made(target, command, texts, kept)


def _made(target: Target, arguments: tuple[str, ...], texts: dict[str, str], kept: Path) -> Path:
    def make(folder: Path) -> Path:
        for name, text in texts.items():
            (folder / name).write_text(text)
        try:
            run_tool([compiler(target), *arguments, "-o", "made"], folder)
        except CheckError as error:
            if target.mcu is not None and "avr/" in str(error):
                raise missing(target, "avr-libc") from error
            if "stdint.h: No such file" in str(error):
                raise missing(target, "stdint.h of its C library") from error
            raise
        return folder / "made"

    return made_once(kept, make)
