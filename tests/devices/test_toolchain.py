"""Missing tools are told in one line with what to install; what is compiled once is kept."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from stub_policies import CONTINUOUS, needs

from prunekit.devices import toolchain
from prunekit.devices.build import build
from prunekit.devices.cores import CORES, Core
from prunekit.devices.toolchain import count_plugin, emulator, require_tools, tool_versions
from prunekit.errors import InputError


@pytest.mark.parametrize("target", CORES.values(), ids=CORES)
def test_a_missing_compiler_is_told_in_one_line(target: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    for attempt in (lambda: require_tools(target), lambda: build(CONTINUOUS, target)):
        with pytest.raises(InputError) as caught:
            attempt()
        packages = " ".join(target.packages)
        needed = (
            f"device {target.name} needs {target.compiler}, which is not installed; run: apt-get install {packages}"
        )
        assert str(caught.value) == needed


@needs("cortex-m4")
def test_a_missing_emulator_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = CORES["cortex-m4"]
    only_compiler(target, tmp_path, monkeypatch)
    with pytest.raises(InputError, match=r"^device cortex-m4 needs qemu-system-arm, .* qemu-system-arm$"):
        require_tools(target)


@needs("avr-uno")
def test_a_missing_host_compiler_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = CORES["avr-uno"]
    only_compiler(target, tmp_path, monkeypatch)
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(InputError, match=r"^device avr-uno needs a C compiler .*apt-get install gcc$"):
        require_tools(target)


@needs("avr-uno")
def test_a_missing_library_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "cc"
    fake.write_text("#!/bin/sh\necho 'fatal error: simavr/sim_avr.h: No such file' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    target = CORES["avr-uno"]
    with pytest.raises(InputError, match=r"^device avr-uno needs libsimavr and its headers, .*libsimavr-dev"):
        emulator(target, target.machines[0])


@pytest.mark.parametrize("name", ["cortex-m4", "riscv32", "armhf"])
def test_missing_headers_of_a_c_library_are_told(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = CORES[name]
    fake = tmp_path / target.compiler
    fake.write_text("#!/bin/sh\necho 'stdint.h:9:16: fatal error: stdint.h: No such file or directory' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(InputError) as caught:
        build(CONTINUOUS, target)
    install = f"apt-get install {' '.join(target.packages)}"
    assert str(caught.value) == (
        f"device {name} needs stdint.h of its C library, which is not installed; run: {install}"
    )


@needs("cortex-m4")
def test_the_plugin_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    target = CORES["cortex-m4"]
    monkeypatch.setattr(toolchain, "version_of", lambda _: "QEMU emulator version 8.2.2 (Debian 1:8.2.2)")
    first = count_plugin(target, target.machines[0])
    [kept] = [path for path in (tmp_path / "prunekit").rglob("*") if path.is_file()]
    assert kept.name == "count_plugin.so"
    changed = kept.stat().st_mtime_ns
    assert count_plugin(target, target.machines[0]) == first
    assert kept.stat().st_mtime_ns == changed
    monkeypatch.setattr(toolchain, "version_of", lambda _: "QEMU emulator version 10.0.2 (Debian 1:10.0.2)")
    newer = count_plugin(target, target.machines[0])
    assert b"insn_exec_inline_per_vcpu" in newer.read_bytes()
    assert b"insn_exec_inline_per_vcpu" not in first.read_bytes()


@needs("cortex-m4")
def test_images_are_kept_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = build(CONTINUOUS, CORES["cortex-m4"])
    changed = first.elf.stat().st_mtime_ns
    assert build(CONTINUOUS, CORES["cortex-m4"]) == first
    assert first.elf.stat().st_mtime_ns == changed


@needs("cortex-m4")
def test_tools_say_their_versions() -> None:
    versions = tool_versions(CORES["cortex-m4"])
    assert set(versions) == {"arm-none-eabi-gcc", "qemu-system-arm"}
    assert all(any(letter.isdigit() for letter in version) for version in versions.values())


def only_compiler(target: Core, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shutil.which(target.compiler)
    assert path is not None
    (folder / target.compiler).symlink_to(path)
    monkeypatch.setenv("PATH", str(folder))
