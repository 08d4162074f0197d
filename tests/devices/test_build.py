"""What images take, measured rather than believed."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from stub_policies import CONTINUOUS, DISCRETE, SIMAVR_HEADERS, needs, policy, with_tools

from prunekit.devices.build import Image, build
from prunekit.devices.chips import chip_named
from prunekit.devices.cores import CORES, Core
from prunekit.devices.toolchain import FIRMWARE
from prunekit.errors import CheckError, InputError
from prunekit.export.c_code import CCode

MAX_HARNESS_BYTES = 700
PROBE_HARNESS_BYTES = 1136


def table(size_bytes: int, kind: str = "const") -> CCode:
    """Return a policy with a table of ``size_bytes`` in flash, or in RAM where ``kind`` is volatile."""
    body = "action[0] = (float)table[(int32_t)observation[0]];"
    code = policy(body, before=f"static {kind} uint8_t table[{size_bytes}] = {{1}};")
    return replace(code, constant_bytes=(size_bytes,)) if kind == "const" else code


@pytest.mark.parametrize("target", with_tools())
def test_the_harness_is_small_and_its_share_is_known(target: Core) -> None:
    image = build(CONTINUOUS, target)
    assert image.fits
    assert image.overflow == {"flash": 0, "ram": 0}
    assert 0 < image.harness_flash_bytes < MAX_HARNESS_BYTES < PROBE_HARNESS_BYTES
    assert image.flash_bytes >= image.harness_flash_bytes + 48 * 4 * (target.mcu is None)
    assert image.harness_ram_bytes < 64
    assert image.mark % 2 == 0


@pytest.mark.parametrize("target", with_tools())
@pytest.mark.parametrize("code", [CONTINUOUS, DISCRETE], ids=["continuous", "discrete"])
def test_the_harness_compiles_without_a_warning(target: Core, code: CCode, tmp_path: Path) -> None:
    code.write(tmp_path)
    outputs = "" if code.outputs is None else "#define PolicyOutputs STUB_OUTPUTS\n"
    glue = f'#include "stub.h"\n#define PolicyAction stub_action\n#define PolicyInputs STUB_INPUTS\n{outputs}'
    (tmp_path / "under-test.h").write_text(glue)
    flags = [*target.flags, "-pedantic", "-Werror", "-I.", f'-DPORT="{target.port}"', "-c", "-o", "unit.o"]
    for source in ("harness.c", *target.sources):
        command = [target.compiler, *flags, str(FIRMWARE / source)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@needs("cortex-m4")
@pytest.mark.parametrize(
    ("source", "own"),
    [("count_plugin.c", "-DPluginApi=1"), ("count_plugin.c", "-DPluginApi=2"), ("simavr_host.c", "-g")],
)
def test_what_runs_on_the_host_compiles_without_a_warning(source: str, own: str, tmp_path: Path) -> None:
    if source == "simavr_host.c" and not SIMAVR_HEADERS.exists():
        pytest.skip("simavr's headers are missing: apt-get install libsimavr-dev")
    flags = ["-O2", "-std=c99", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wno-maybe-uninitialized", "-pedantic", "-Werror"]
    command = ["cc", *flags, own, "-fPIC", "-c", str(FIRMWARE / source), "-o", str(tmp_path / "unit.o")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@needs("cortex-m3")
@pytest.mark.parametrize(("kind", "where"), [("const", "flash"), ("volatile", "ram")])
def test_an_overflow_is_told_to_the_byte(kind: str, where: str) -> None:
    part = chip_named("stm32f103c8")

    def image(size: int) -> Image:
        return build(table(size, kind), part.core, part)

    small = image(1000)
    used, most = (small.flash_bytes, part.flash_bytes) if where == "flash" else (small.static_ram_bytes, part.ram_bytes)
    exact = image(1000 + most - used)
    assert exact.overflow[where] == 0
    over = image(1000 + most - used + 12)
    assert over.overflow[where] == 12
    assert not over.fits
    assert over.machine is None


@needs("cortex-m3")
def test_the_measured_overflow_is_the_linkers_own(tmp_path: Path) -> None:
    part = chip_named("stm32f103c8")
    image = build(table(100_000), part.core, part)
    script = ["-T", str(FIRMWARE / "board.ld")]
    sizes = {"FLASH_AT": 0, "FLASH_BYTES": part.flash_bytes, "RAM_AT": 0x20000000, "RAM_BYTES": part.ram_bytes}
    symbols = [f"-Wl,--defsym=PRUNEKIT_{name}={size}" for name, size in sizes.items()]
    image.code.write(tmp_path)
    glue = '#include "stub.h"\n#define PolicyAction stub_action\n#define PolicyInputs 1\n#define PolicyOutputs 1\n'
    (tmp_path / "under-test.h").write_text(glue)
    own = ["-Os", "-fno-tree-loop-distribute-patterns", f'-DPORT="{part.core.port}"', "-I."]
    sources = [str(FIRMWARE / source) for source in ("harness.c", *part.core.sources)]
    compiler = [part.core.compiler, *part.core.flags]
    for file, flags in (*((source, own) for source in sources), ("stub.c", [])):
        command = [*compiler, *flags, "-c", file, "-o", f"{Path(file).stem}.o"]
        subprocess.run(command, cwd=tmp_path, check=True)
    objects = [f"{Path(file).stem}.o" for file in (*sources, "stub.c")]
    link = [*compiler, *script, *symbols, *objects, "-nostdlib", "-lgcc", "-Wl,--gc-sections", "-o", "a.elf"]
    done = subprocess.run(link, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert f"region `FLASH' overflowed by {image.overflow['flash']} bytes" in done.stderr


@needs("avr-uno")
def test_what_no_avr_can_hold_is_told() -> None:
    assert build(table(20_000, "volatile"), CORES["avr-uno"]).overflow["ram"] > 17_000
    with pytest.raises(InputError, match=r"^avr-uno: the policy is larger than an AVR can address; prune it further$"):
        build(table(70_000), CORES["avr-uno"])


@needs("cortex-m0")
def test_the_smallest_machine_that_holds_an_image_is_taken() -> None:
    target = CORES["cortex-m0"]
    assert build(CONTINUOUS, target).machine == target.machines[0]
    assert build(table(300_000), target).machine == target.machines[1]
    part = chip_named("rp2040")
    assert build(CONTINUOUS, target, part).machine == target.machines[1]


@needs("cortex-m4")
@pytest.mark.parametrize("name", ["policy", "harness", "start", "unit", "avr", "memory", "prunekit"])
def test_a_policy_may_have_any_name(name: str) -> None:
    header, source = (text.replace("stub", name) for text in (CONTINUOUS.header, CONTINUOUS.source))
    header = header.replace("STUB", name.upper())
    assert build(replace(CONTINUOUS, name=name, header=header, source=source), CORES["cortex-m4"]).fits


@needs("cortex-m4")
def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match=r"^chip rp2040 has the core cortex-m0, not cortex-m4$"):
        build(CONTINUOUS, CORES["cortex-m4"], chip_named("rp2040"))
    with pytest.raises(CheckError, match=r"^arm-none-eabi-gcc failed: .*nothing_like_that"):
        build(policy("action[0] = nothing_like_that;"), CORES["cortex-m4"])


@needs("cortex-m4")
def test_a_relative_cache_folder_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert build(CONTINUOUS, CORES["cortex-m4"]).fits
    assert not (tmp_path / "cache").exists()
