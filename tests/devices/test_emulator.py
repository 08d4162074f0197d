"""Emulated policies answer bit for bit, and their cost is counted exactly."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from stub_policies import CONTINUOUS, DISCRETE, OBSERVATIONS, needs, outputs_of, policy, with_tools

from prunekit.devices import emulator
from prunekit.devices.build import build
from prunekit.devices.chips import chip_named
from prunekit.devices.cores import CORES, Core
from prunekit.devices.emulator import EmulatedPolicy, count
from prunekit.errors import CheckError, InputError


def stack_of(target: Core, size_bytes: int) -> int:
    body = f"""
        volatile uint8_t used[{size_bytes}];
        int i;
        for (i = 0; i < {size_bytes}; i++) used[i] = (uint8_t)i;
        action[0] = (float)used[{size_bytes} - 1];"""
    return count(build(policy(body), target), [[0.0]]).stack_bytes


@pytest.mark.parametrize("target", with_tools("aarch64", "armhf"))
def test_a_process_has_room_for_large_buffers(target: Core) -> None:
    assert 400_000 <= stack_of(target, 400_000) < 401_000


@pytest.mark.parametrize("target", with_tools())
def test_a_vector_comes_back_bit_for_bit(target: Core) -> None:
    image = build(CONTINUOUS, target)
    wanted = np.array([outputs_of(row) for row in OBSERVATIONS])
    with EmulatedPolicy(image) as emulated:
        plain = np.array([emulated.act(row) for row in OBSERVATIONS])
    counts = count(image, OBSERVATIONS)
    assert plain.dtype == counts.actions.dtype == np.float32
    assert plain.tobytes() == counts.actions.tobytes() == wanted.tobytes()
    assert counts.unit == ("instructions" if target.mcu is None else "cycles")
    assert counts.per_inference.shape == (len(OBSERVATIONS),)
    assert (counts.per_inference > 48).all()
    assert 0 < counts.stack_bytes < counts.total_stack_bytes < 400


@pytest.mark.parametrize("target", with_tools())
def test_a_number_comes_back(target: Core) -> None:
    wanted = [7 if scores[0] > 0 else -70000 for scores in map(outputs_of, OBSERVATIONS)]
    assert set(wanted) == {7, -70000}
    image = build(DISCRETE, target)
    with EmulatedPolicy(image) as emulated:
        assert [emulated.act(row) for row in OBSERVATIONS] == wanted
    counts = count(image, OBSERVATIONS)
    assert counts.actions.dtype == np.int32
    assert counts.actions.tolist() == wanted


@pytest.mark.parametrize("target", with_tools())
def test_counts_differ_by_exactly_what_is_added(target: Core) -> None:
    def cost(nops: int) -> int:
        body = f'__asm__ volatile(".rept {nops}\\n\\tnop\\n\\t.endr");\naction[0] = observation[0];'
        [instructions] = count(build(policy(body), target), [[1.5]]).per_inference
        return int(instructions)

    assert cost(100) - cost(0) == 100
    assert cost(1) - cost(0) == 1


@needs("cortex-m4")
def test_a_count_is_that_of_the_disassembly() -> None:
    copy = build(policy("action[0] = observation[0];"), CORES["cortex-m4"])
    assert count(copy, [[1.5]]).per_inference.tolist() == [2]  # ldr, str; the return is an empty function's, too


@pytest.mark.parametrize("target", with_tools())
def test_an_empty_policy_costs_nothing(target: Core) -> None:
    counts = count(build(policy("(void)observation; (void)action;"), target), [[1.0], [2.0]])
    assert counts.per_inference.tolist() == [0, 0]
    assert counts.stack_bytes <= 4


@pytest.mark.parametrize("target", with_tools())
def test_painting_sees_the_stack_of_a_policy(target: Core) -> None:
    assert 496 <= stack_of(target, 1024) - stack_of(target, 512) <= 528
    assert 512 <= stack_of(target, 512) <= 600


@needs("cortex-m0")
def test_a_stack_that_runs_into_variables_is_told() -> None:
    body = "volatile uint8_t used[{}]; int i; for (i = 0; i < {}; i++) used[i] = 1; action[0] = used[pad[0]];"
    part = chip_named("stm32f030f4")
    for used, why in ((2500, r"\(the stack ran into the static variables\)"), (9000, "Lockup")):
        image = build(policy(body.format(used, used), before="static volatile uint8_t pad[2000];"), part.core, part)
        assert image.fits
        with pytest.raises(CheckError, match=rf"^the emulator of stm32f030f4 ended early .*{why}"):
            count(image, [[0.0]])


@needs("cortex-m4")
def test_a_fault_is_told() -> None:
    faulting = policy('__asm__ volatile("udf #0"); action[0] = observation[0];')
    with EmulatedPolicy(build(faulting, CORES["cortex-m4"])) as emulated:
        with pytest.raises(CheckError, match="the core faulted"):
            emulated.act([0.0])


@pytest.mark.parametrize("target", with_tools("cortex-m4", "avr-uno", "aarch64"))
def test_a_hung_policy_is_ended(target: Core) -> None:
    hanging = policy('for (;;) __asm__ volatile("" ::: "memory"); action[0] = observation[0];')
    with EmulatedPolicy(build(hanging, target), timeout_s=0.3) as emulated:
        with pytest.raises(CheckError, match=rf"^the emulator of {target.name} gave no answer within 0.3 s"):
            emulated.act([0.0])
        assert_gone(emulated.process_id)


@pytest.mark.parametrize("target", with_tools("cortex-m4", "avr-uno", "aarch64"))
def test_a_killed_emulator_is_told(target: Core) -> None:
    with EmulatedPolicy(build(CONTINUOUS, target)) as emulated:
        emulated.act(OBSERVATIONS[0])
        os.kill(emulated.process_id, signal.SIGKILL)
        with pytest.raises(CheckError, match=rf"^the emulator of {target.name} ended early \(SIGKILL\)"):
            emulated.act(OBSERVATIONS[0])


@needs("cortex-m4")
def test_the_last_thing_that_an_emulator_said_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = build(CONTINUOUS, CORES["cortex-m4"])
    fake = tmp_path / "qemu-system-arm"
    fake.write_text("#!/bin/sh\necho first >&2\necho machine gone >&2\nexit 5\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with EmulatedPolicy(image) as emulated:
        with pytest.raises(CheckError, match=r"\(status 5\): machine gone$"):
            emulated.act(OBSERVATIONS[0])


@needs("cortex-m4")
def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = build(CONTINUOUS, CORES["cortex-m4"])
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    emulated = EmulatedPolicy(image)
    process_id = emulated.process_id
    emulated.act(OBSERVATIONS[0])
    emulated.close()
    emulated.close()
    assert_gone(process_id)
    forgotten = EmulatedPolicy(image)
    process_id = forgotten.process_id
    del forgotten
    assert_gone(process_id)
    count(image, OBSERVATIONS)
    assert not list(tmp_path.iterdir())


@needs("cortex-m3")
def test_bad_input_is_named() -> None:
    target = CORES["cortex-m3"]
    image = build(CONTINUOUS, target)
    with EmulatedPolicy(image) as emulated:
        with pytest.raises(InputError, match=r"shape \(3,\) was given; the policy takes \(4,\)"):
            emulated.act(np.zeros(3))
    with pytest.raises(InputError, match="counting takes"):
        count(image, np.zeros((0, 4)))
    part = chip_named("stm32f103c8")
    large = policy("action[0] = table[(int)observation[0]];", before="static const float table[20000] = {1};")
    with pytest.raises(InputError, match=r"^stm32f103c8 lacks [\d,]+ bytes of flash for this policy; "):
        EmulatedPolicy(build(large, part.core, part))


def assert_gone(process_id: int) -> None:
    for _ in range(100):
        if not Path(f"/proc/{process_id}").exists():
            return
        time.sleep(0.02)
    raise AssertionError(f"process {process_id} is still there")


@needs("aarch64")
def test_an_emulator_without_plugins_runs_but_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    image = build(CONTINUOUS, CORES["aarch64"])
    counted = count(image, OBSERVATIONS)
    monkeypatch.setattr(emulator, "can_count", lambda _: False)
    plain = count(image, OBSERVATIONS)
    assert plain.actions.tobytes() == counted.actions.tobytes()
    assert plain.stack_bytes == counted.stack_bytes
    assert (len(plain.per_inference), len(counted.per_inference)) == (0, len(OBSERVATIONS))
