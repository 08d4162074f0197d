"""``bench`` on compiled C and emulated boards, with shipped policies in their environments."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from host_tools import needs_native
from rich.console import Console, Group
from stub_policies import needs

from prunekit.benching.compare import run_bench
from prunekit.benching.result import BenchResult
from prunekit.benching.settings import BenchSettings
from prunekit.devices import board, devices_named
from prunekit.devices.cpu_c import CpuC
from prunekit.devices.emulator import EmulatedPolicy
from prunekit.errors import CheckError, InputError
from prunekit.report.bench_tables import render

Run = Callable[..., tuple[int, str, str]]

pytestmark = [needs_native, needs("cortex-m4"), needs("avr-uno"), pytest.mark.xdist_group("bench_devices")]
ROOT = Path(__file__).parents[2]
CARTPOLE = [ROOT / "models" / "CartPole-v1-ppo" / name for name in ("dense.pt", "compact.pt")]
HOPPER = ROOT / "models" / "Hopper-v5-ppo" / "compact.pt"
FEW = BenchSettings(episodes=2, loop_episodes=1, calls=50, paced_ticks=1)


def as_json(result: BenchResult) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(json.dumps(result.to_json(), allow_nan=False))
    return data


def rows(result: BenchResult) -> dict[str, list[str]]:
    console = Console(width=200, color_system=None)
    with console.capture() as capture:
        console.print(Group(*render(result)))
    lines = [line.strip("│\n").split("│") for line in capture.get().splitlines() if line.startswith("│")]
    return {label.strip(): [cell.strip() for cell in cells] for label, *cells in lines}


@pytest.fixture(scope="module")
def cartpole() -> BenchResult:
    return run_bench(CARTPOLE, devices_named(["cpu-c", "cortex-m4", "avr-uno"], ["atmega328p"]), FEW)


@pytest.fixture(scope="module")
def hopper() -> BenchResult:
    return run_bench([HOPPER], devices_named(["cpu-c", "cortex-m4", "avr-mega"]), FEW)


@pytest.fixture
def emulators(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EmulatedPolicy]]:
    """Return the emulators in the loop, as they come; held here, they do not end by being forgotten."""
    started: list[EmulatedPolicy] = []

    def watched(*given: Any) -> EmulatedPolicy:
        started.append(EmulatedPolicy(*given))
        return started[-1]

    monkeypatch.setattr(board, "EmulatedPolicy", watched)
    yield started
    for emulator in started:
        emulator.close()


def running(emulators: list[EmulatedPolicy]) -> list[bool]:
    return [Path(f"/proc/{emulator.process_id}").exists() for emulator in emulators]


def test_a_measured_result_is_what_the_page_promises(cartpole: BenchResult, hopper: BenchResult) -> None:
    (block,) = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "bench.md").read_text(), re.DOTALL)
    schema = jsonschema.Draft202012Validator(json.loads(block))
    for result in (cartpole, hopper):
        data = as_json(result)
        schema.validate(data)
        for model in data["models"]:
            for figures in model["devices"].values():
                figures["firmware"] = {"fits": True}
        assert not schema.is_valid(data)


def test_the_loop_plays_the_first_episodes_with_the_same_returns(hopper: BenchResult) -> None:
    [devices] = hopper.devices
    native = devices["cpu-c"].returns
    assert len(set(native)) == 2
    for name in ("cortex-m4", "avr-mega"):
        assert devices[name].returns == native[:1]
    told = as_json(hopper)["models"][0]["devices"]
    assert told["cpu-c"]["return"]["seeds"] == [10_000, 10_001]
    assert told["cortex-m4"]["return"]["seeds"] == [10_000]


def test_every_action_in_the_loop_is_compared_and_the_same(hopper: BenchResult) -> None:
    [devices] = hopper.devices
    firmware = [devices[name].figures.firmware for name in ("cortex-m4", "avr-mega")]
    steps = [entry.compared for entry in firmware if entry is not None]
    assert steps[0] == steps[1] > 100
    assert [entry.different for entry in firmware if entry is not None] == [0, 0]


def test_boards_tell_of_firmware_and_compiled_c_of_latency(hopper: BenchResult) -> None:
    told = as_json(hopper)["models"][0]["devices"]
    assert {entry["code"] for entry in told.values()} == {"float32"}
    assert told["cpu-c"]["firmware"] is None
    assert told["cpu-c"]["latency_us"]["p50"] > 0.0
    for name, unit in (("cortex-m4", "instructions"), ("avr-mega", "cycles")):
        assert told[name]["latency_us"] is None
        assert told[name]["firmware"]["fits"] is True
        assert told[name]["firmware"]["cost"]["unit"] == unit
        assert told[name]["firmware"]["cost"]["observations"] == 64
    assert {entry["memory_bytes"] for entry in told.values()} == {None}


def test_a_discrete_policy_acts_alike_everywhere(cartpole: BenchResult) -> None:
    dense, compact = cartpole.devices
    ran = [(dense, "cortex-m4"), *((compact, name) for name in ("cortex-m4", "avr-uno", "atmega328p"))]
    for devices, name in ran:
        firmware = devices[name].figures.firmware
        assert firmware is not None
        assert devices[name].returns == devices["cpu-c"].returns[:1]
        assert (firmware.compared, firmware.different) == (devices[name].returns[0], 0)


def test_a_dense_policy_does_not_fit_the_uno(cartpole: BenchResult) -> None:
    dense, compact = cartpole.devices
    for name, flash_bytes in (("avr-uno", 32_768), ("atmega328p", 32_256)):
        assert dense[name].returns == ()
        told = as_json(cartpole)["models"][0]["devices"][name]
        assert told["return"] is None
        assert told["firmware"]["overflow_bytes"] == {"flash": 4 * 67_586 - flash_bytes, "ram": 0}
        assert (told["firmware"]["fits"], told["firmware"]["at_least"]) == (False, True)
        assert (told["firmware"]["cost"], told["firmware"]["compared_actions"]) == (None, 0)
        assert len(compact[name].returns) == 1
    assert [kept.estimate for kept in cartpole.retentions] == [1.0, 1.0]


def test_retention_is_undefined_where_the_first_device_does_not_run_it() -> None:
    result = run_bench(CARTPOLE, devices_named(["avr-uno", "cpu-c"]), replace(FEW, keep=0.5))
    for kept in result.retentions:
        assert (kept.estimate, kept.ci95) == (None, None)
        assert kept.reason == f"{CARTPOLE[0]} does not run on avr-uno, the first device"
    with pytest.raises(CheckError, match=r"compact\.pt \(it or the reference does not run on the first device\)"):
        result.require()
    small_first = run_bench(CARTPOLE[::-1], devices_named(["avr-uno"]), FEW).retentions
    assert (small_first[0].estimate, small_first[1].estimate) == (1.0, None)
    assert small_first[1].reason == f"{CARTPOLE[0]} does not run on avr-uno, the first device"


def test_a_table_of_firmware_says_what_fits(cartpole: BenchResult) -> None:
    shown = rows(cartpole)
    assert shown["cortex-m4: fits"] == ["yes", "yes"]
    assert shown["avr-uno: fits"] == ["no: at least 237,576 bytes of flash too many", "yes"]
    assert shown["atmega328p: fits"] == ["no: at least 238,088 bytes of flash too many", "yes"]
    assert shown["avr-uno: return, mean"] == ["not run", "500.0"]
    assert shown["cortex-m4: bits as on the host"] == ["500 of 500 actions", "500 of 500 actions"]
    assert shown["avr-uno: bits as on the host"] == ["not run", "500 of 500 actions"]
    assert "x less" in shown["cortex-m4: instructions, p50"][1]
    assert "avr-uno: cycles, p50" in shown
    assert not [label for label in shown if "memory" in label]


def test_integers_are_said_and_are_what_runs(hopper: BenchResult) -> None:
    [devices] = run_bench([HOPPER], devices_named(["cpu-c"], activations=16), FEW).devices
    assert devices["cpu-c"].figures.code == "w8a16"
    assert devices["cpu-c"].returns != hopper.devices[0]["cpu-c"].returns


def test_one_file_twice_runs_twice(emulators: list[EmulatedPolicy]) -> None:
    first, second = run_bench([HOPPER, HOPPER], devices_named(["cortex-m4"]), FEW).devices
    assert len(emulators) == 2
    assert first == second
    assert first["cortex-m4"].figures.firmware is not None
    assert first["cortex-m4"].figures.firmware.compared > 100


def test_emulators_are_closed_after_a_run(emulators: list[EmulatedPolicy]) -> None:
    meanwhile: list[bool] = []

    def watch(text: str) -> None:
        if text == "the random policy's return":
            meanwhile.extend(running(emulators))

    run_bench([HOPPER], devices_named(["cortex-m4", "avr-mega"]), FEW, progress=watch)
    assert meanwhile == [True, True]
    assert running(emulators) == [False, False]


def test_emulators_are_closed_when_a_later_device_cannot_run(
    emulators: list[EmulatedPolicy], monkeypatch: pytest.MonkeyPatch
) -> None:
    meanwhile: list[bool] = []

    def fail(*_: object) -> None:
        meanwhile.extend(running(emulators))
        raise InputError("no compiler here")

    monkeypatch.setattr(CpuC, "runtime", fail)
    with pytest.raises(InputError, match="no compiler here"):
        run_bench([HOPPER], devices_named(["cortex-m4", "avr-mega", "cpu-c"]), FEW)
    assert meanwhile == [True, True]
    assert running(emulators) == [False, False]


def test_another_environment_is_refused_with_both_widths() -> None:
    for name in ("cpu-c", "cortex-m4"):
        with pytest.raises(InputError, match=r"compact\.pt: takes 4 values and gives 2, .* needs 11 and 3; .*`env`$"):
            run_bench(CARTPOLE[1:], devices_named([name]), FEW, "Hopper-v5")


def test_onnx_runs_as_c_beside_the_pt() -> None:
    paths = [CARTPOLE[1], CARTPOLE[1].with_suffix(".onnx")]
    first, second = run_bench(paths, devices_named(["cpu-c"]), FEW).devices
    assert first["cpu-c"].returns == second["cpu-c"].returns
    assert second["cpu-c"].figures.code == "float32"


@pytest.mark.parametrize(
    ("words", "suffix"),
    [([], ".onnx"), (["--device", "cpu-c"], ".pt"), (["--part", "rp2040"], ".pt"),
     (["--device", "cpu", "--device", "cortex-m4"], ".pt")],
)  # fmt: skip
def test_without_a_name_the_shipped_files_that_a_device_can_run_are_taken(
    words: list[str], suffix: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def stop(paths: list[Path], *_: object) -> None:
        asked.extend(paths)
        raise InputError("enough is known")

    monkeypatch.setattr("prunekit.benching.compare.run_bench", stop)
    monkeypatch.chdir(tmp_path)
    assert run("bench", *words)[0] == 2
    assert [path.name for path in asked] == [f"dense{suffix}", f"compact{suffix}"]


def test_the_command_measures_on_a_part(run: Run, tmp_path: Path) -> None:
    bench = partial(run, "bench", HOPPER, "--part", "atmega2560", "--episodes", 1, "--loop-episodes", 1)
    code, out, err = bench("--int8", "--activations", 8, "--json", tmp_path / "bench.json")
    assert code == 0, err
    assert "atmega2560: fits" in out
    assert "call overhead" not in out
    [model] = json.loads((tmp_path / "bench.json").read_text())["models"]
    assert list(model["devices"]) == ["atmega2560"]
    assert model["devices"]["atmega2560"]["code"] == "w8a8"
