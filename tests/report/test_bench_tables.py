"""The table of a result, as read on a terminal."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from bench_results import DENSE, KEPT, SMALL, UNMEASURED, certificate, figures, result_of
from rich.console import Console, Group

from prunekit.benching.figures import Cost, DeviceFigures, DeviceResult, FirmwareFigures
from prunekit.benching.latency import Percentiles
from prunekit.benching.models import BenchModel
from prunekit.benching.result import BenchResult
from prunekit.benching.settings import BenchSettings
from prunekit.report.bench_tables import render, short_names
from prunekit.stats.bootstrap import Retention


def shown(result: BenchResult, width: int = 160) -> str:
    console = Console(width=width, color_system=None, file=None)
    with console.capture() as capture:
        console.print(Group(*render(result)))
    return capture.get()


def cells(text: str) -> dict[str, list[str]]:
    rows = [line.strip("│┃ \n").replace("┃", "│").split("│") for line in text.splitlines()]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows if len(row) > 1}


@pytest.fixture
def text() -> str:
    return shown(result_of([DENSE, SMALL], [figures(6.9, 532_480), figures(4.6, 128_000)]))


def test_figures_stand_beside_those_of_the_reference(text: str) -> None:
    rows = cells(text)
    assert rows["hidden units"] == ["256x256", "18x18"]
    assert rows["units removed"] == ["reference", "93.0%"]
    assert rows["parameters"] == ["69,635", "615"]
    assert rows["parameters removed"] == ["reference", "99.1%"]
    assert rows["multiply-accumulates"] == ["69,120", "576 (120.0x less)"]
    assert rows["file"] == ["270.0 KiB", "3.0 KiB (90.0x less)"]
    assert rows["cpu: back to back, p50"] == ["6.9 us", "4.6 us (1.5x less)"]
    assert rows["cpu: back to back, p99"] == ["13.8 us", "9.2 us"]
    assert rows["cpu: at 50 Hz, p50"] == ["69.0 us", "46.0 us (1.5x less)"]
    assert rows["cpu: at 50 Hz, p99"] == ["138.0 us", "92.0 us"]
    assert rows["cpu: memory, one model"] == ["8,192.0 KiB", "8,192.0 KiB"]
    assert rows["cpu: memory, each further"] == ["520.0 KiB", "125.0 KiB (4.2x less)"]
    assert rows["cpu: episodes"] == ["2", "2"]
    assert rows["cpu: return, mean"] == ["2,000.0", "2,000.5"]
    assert rows["cpu: return, 95% interval"] == ["1,050.2 to 2,990.8"] * 2
    assert rows["retention of return"] == ["reference", "0.973 (0.949 to 0.990)"]


def test_certificates_are_told_with_their_claim() -> None:
    result = result_of([DENSE, SMALL, SMALL, SMALL], [figures(6.9, 532_480)] * 4)
    found = (None, certificate(100.0, 200), certificate(99.0, 40), None)
    text = shown(replace(result, settings=BenchSettings(keep=0.95), certificates=found, retentions=(KEPT,) * 4), 400)
    assert found[1] is not None
    assert found[2] is not None
    assert cells(text)["at least 0.95 of it"] == [
        "reference",
        f"certified, {len(found[1].episodes)} episodes",
        f"not shown: at least {found[2].lower_bound:.3f}",
        "not run",
    ]
    assert found[1].sentence in text
    assert found[2].sentence not in text


def test_the_environment_its_versions_and_the_random_policy_are_named(text: str) -> None:
    title, *_ = text.splitlines()
    for words in ("Hopper-v5", "gymnasium 1.4.0", "mujoco 4.0.0"):
        assert words in title
    assert "python" not in title
    assert "The random policy returns 18.0." in text


def test_a_larger_or_slower_model_has_no_ratio() -> None:
    rows = cells(shown(result_of([SMALL, DENSE], [figures(4.6, 0), figures(6.9, 532_480)])))
    assert rows["file"] == ["3.0 KiB", "270.0 KiB"]
    assert rows["units removed"] == ["reference", "none"]
    assert rows["cpu: back to back, p50"] == ["4.6 us", "6.9 us"]
    assert rows["cpu: memory, each further"] == ["0.0 KiB", "520.0 KiB"]


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        ([UNMEASURED, UNMEASURED], ["not measured", "not measured"]),
        ([figures(5.0, 1024), UNMEASURED], ["5.0 us", "not measured"]),
        ([UNMEASURED, figures(5.0, 1024)], ["not measured", "5.0 us"]),
        ([figures(5.0, 1024), figures(0.0, 0)], ["5.0 us", "0.0 us"]),
    ],
)
def test_what_a_device_cannot_tell_is_said(measured: list[DeviceFigures], expected: list[str]) -> None:
    rows = cells(shown(result_of([DENSE, SMALL], measured)))
    assert rows["cpu: back to back, p50"] == expected
    unmeasured = [cell == "not measured" for cell in expected]
    for label in ("at 50 Hz, p50", "at 50 Hz, p99", "back to back, p99", "memory, one model", "memory, each further"):
        assert [cell == "not measured" for cell in rows[f"cpu: {label}"]] == unmeasured


def test_undefined_retention_gives_its_reason() -> None:
    undefined = Retention(estimate=None, reason="the reference earns no more than the random policy")
    rows = cells(shown(result_of([DENSE, SMALL], [UNMEASURED, UNMEASURED], [undefined, undefined])))
    assert rows["retention of return"] == ["reference", f"undefined: {undefined.reason}"]


def test_linear_models_have_no_units_to_remove() -> None:
    linear = BenchModel(path=Path("linear.onnx"), content=b"", size_bytes=500, hidden=(), parameters=36, macs=33)
    rows = cells(shown(result_of([linear, SMALL], [UNMEASURED, UNMEASURED])))
    assert rows["hidden units"] == ["none", "18x18"]
    assert rows["units removed"] == ["reference", "-"]


def test_names_are_as_short_as_tells_them_apart(text: str) -> None:
    assert "dense/model.onnx" in text
    assert "masked/model.compact.onnx" in text
    assert "runs/demo" not in text


def test_files_of_far_folders_are_called_by_as_little_as_tells_them_apart() -> None:
    far = ["/zoo/of/another/library/ppo/Pendulum-v1_1/agent.zip", "/home/me/results/of/today/pend/policy.onnx"]
    assert short_names([*map(Path, far)]) == ["agent.zip", "policy.onnx"]
    assert short_names([*map(Path, far), Path("/x/policy.onnx")]) == ["agent.zip", "pend/policy.onnx", "x/policy.onnx"]
    assert short_names([Path(far[0]), Path(far[0])]) == ["agent.zip", "agent.zip"]
    assert short_names([Path(far[0])]) == ["agent.zip"]
    assert short_names([Path("runs/agent.zip")]) == ["runs/agent.zip"]
    zoo = [Path(f"zoo/{name}/LunarLander-v2_1/LunarLander-v2.zip") for name in ("ppo", "a2c", "trpo")]
    assert short_names(zoo) == ["ppo", "a2c", "trpo"]
    assert short_names([*zoo, Path("zoo/LunarLander-v2_1/LunarLander-v2.zip")])[:3] != ["ppo", "a2c", "trpo"]
    assert short_names([*zoo[:1], Path("zoo/td3/Walker/Walker.zip")]) == ["LunarLander-v2.zip", "Walker.zip"]


def test_shares_and_times_are_written_to_be_read() -> None:
    large, tiny = replace(DENSE, parameters=67_586), replace(SMALL, parameters=9)
    rows = cells(shown(result_of([large, tiny, replace(large, parameters=900_000)], [figures(3684.2, 0)] * 3)))
    assert rows["parameters removed"] == ["reference", "99.99%", "none"]
    assert rows["cpu: back to back, p50"][0] == "3,684.2 us"


def test_policies_that_do_not_fit_beside_each_other_are_shown_without_cutting_words() -> None:
    result = result_of([DENSE, *[SMALL] * 3], [figures(6.9, 532_480)] * 4)
    text = shown(result, width=60)
    assert max(map(len, text.splitlines())) <= 60
    found = set(re.split(r"[\s│┃]+", text))
    assert found >= {"reference", "multiply-accumulates", "2,000.0", "(90.0x", "8,192.0"}


def test_a_ratio_that_rounds_to_one_is_none() -> None:
    rows = cells(shown(result_of([DENSE, SMALL], [figures(6.9, 532_480), figures(6.8, 532_000)])))
    assert rows["cpu: back to back, p50"] == ["6.9 us", "6.8 us"]
    assert rows["cpu: memory, each further"] == ["520.0 KiB", "519.5 KiB"]


@pytest.mark.parametrize("width", [80, 100, 160])
def test_long_names_are_folded_but_whole(width: int) -> None:
    names = [f"a-very-long-folder-name/[bold]{number}{'x' * 60}.onnx" for number in range(3)]
    models = [
        BenchModel(path=Path(name), content=b"", size_bytes=9, hidden=(8,), parameters=9, macs=9) for name in names
    ]
    text = shown(result_of(models, [UNMEASURED] * 3), width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    heads = [line.strip("┃").split("┃")[1:] for line in text.splitlines() if line.startswith("┃")]
    found = "".join("".join(part.strip() for part in head) for head in heads)  # a policy per table
    assert found == "".join(Path(name).name for name in names)


@pytest.mark.parametrize(("hidden", "noted"), [((64, 64), True), ((18,), True), ((65, 8), False), ((256, 256), False)])
def test_small_models_come_with_a_word_on_call_overhead(hidden: tuple[int, ...], noted: bool) -> None:
    other = BenchModel(
        path=Path("runs/demo/other.onnx"), content=b"", size_bytes=9, hidden=hidden, parameters=9, macs=9
    )
    assert ("call overhead" in shown(result_of([DENSE, other], [UNMEASURED] * 2))) is noted


RAN = FirmwareFigures(
    flash_bytes=2_500,
    static_ram_bytes=26,
    harness_flash_bytes=442,
    harness_ram_bytes=26,
    overflow={"flash": 0, "ram": 0},
    at_least=False,
    stack_bytes=120,
    cost=Cost(unit="cycles", p50=7_411, maximum=7_651, observations=64),
    compared=1_500,
    different=0,
    tools={"avr-gcc": "5.4.0"},
)
TOO_LARGE = replace(
    RAN, flash_bytes=270_000, overflow={"flash": 237_576, "ram": 0}, stack_bytes=None, cost=None, compared=0
)
UNPLACED = replace(TOO_LARGE, at_least=True, static_ram_bytes=None)


def on_a_board(firmware: list[FirmwareFigures], name: str = "avr-uno") -> BenchResult:
    """Return a result of one device on which each model ran its first episode where it fits."""
    models = [SMALL] * len(firmware)
    devices = tuple(
        {name: DeviceResult(figures=DeviceFigures(code="float32", firmware=entry), returns=ran[0], ci95=ran[1])}
        for entry in firmware
        for ran in ([((500.0,), (500.0, 500.0))] if entry.fits else [((), None)])
    )
    return replace(result_of(models, [UNMEASURED] * len(models)), devices=devices)


def test_firmware_has_rows_of_its_own() -> None:
    rows = cells(shown(on_a_board([replace(RAN, flash_bytes=10_000, stack_bytes=300, different=1), RAN])))
    assert rows["avr-uno: fits"] == ["yes", "yes"]
    assert rows["avr-uno: flash"] == ["10,000 B", "2,500 B (4.0x less)"]
    assert rows["avr-uno: static RAM"] == ["26 B", "26 B"]
    assert rows["avr-uno: stack"] == ["300 B", "120 B (2.5x less)"]
    assert rows["avr-uno: cycles, p50"] == ["7,411", "7,411"]
    assert rows["avr-uno: bits as on the host"] == ["1,499 of 1,500 actions", "1,500 of 1,500 actions"]
    assert rows["avr-uno: episodes"] == ["1", "1"]
    assert rows["avr-uno: return, mean"] == ["500.0", "500.0"]
    assert not [label for label in rows if "back to back" in label or "memory" in label]


def test_firmware_that_does_not_fit_says_by_how_much() -> None:
    rows = cells(shown(on_a_board([TOO_LARGE, UNPLACED, RAN])))
    words = ["no: 237,576 bytes of flash too many", "no: at least 237,576 bytes of flash too many", "yes"]
    assert rows["avr-uno: fits"] == words
    assert rows["avr-uno: flash"] == ["270,000 B", "270,000 B", "2,500 B (108.0x less)"]
    assert rows["avr-uno: static RAM"] == ["26 B", "not measured", "26 B"]
    assert rows["avr-uno: stack"] == ["not measured", "not measured", "120 B"]
    assert rows["avr-uno: cycles, p50"] == ["not measured", "not measured", "7,411"]
    assert rows["avr-uno: episodes"] == ["0", "0", "1"]
    assert "avr-uno: cycles, p50" in cells(shown(on_a_board([TOO_LARGE])))
    entry = DeviceResult(figures=DeviceFigures(firmware=TOO_LARGE), returns=(), ci95=None)
    result = replace(result_of([SMALL], [UNMEASURED]), devices=({"atmega328p": entry},))
    assert "atmega328p: cycles, p50" in cells(shown(result))
    assert "cortex-m4: instructions, p50" in cells(shown(replace(result, devices=({"cortex-m4": entry},))))
    for label in ("bits as on the host", "return, mean", "return, 95% interval"):
        assert rows[f"avr-uno: {label}"][:2] == ["not run", "not run"]


@pytest.mark.parametrize(
    ("overflow", "words"),
    [
        ({"flash": 0, "ram": 7}, "no: 7 bytes of RAM too many"),
        ({"flash": 1_234, "ram": 5}, "no: 1,234 bytes of flash and 5 bytes of RAM too many"),
    ],
)
def test_both_memories_may_be_too_small(overflow: dict[str, int], words: str) -> None:
    assert cells(shown(on_a_board([replace(RAN, overflow=overflow)])))["avr-uno: fits"] == [words]


def test_compiled_c_has_rows_of_latency_but_none_of_memory() -> None:
    entry = DeviceFigures(
        latency_us=Percentiles(p50=0.07, p99=0.131), paced_latency_us=Percentiles(p50=9.7, p99=9.9), code="w8a16"
    )
    measured = DeviceResult(figures=entry, returns=(500.0,), ci95=(500.0, 500.0))
    result = replace(result_of([SMALL], [UNMEASURED]), devices=({"cpu-c": measured},))
    rows = cells(shown(result))
    assert rows["cpu-c: back to back, p50"] == ["0.070 us"]
    assert rows["cpu-c: at 50 Hz, p99"] == ["9.9 us"]
    assert not [label for label in rows if "memory" in label]


def test_call_overhead_is_a_matter_of_the_cpu_alone() -> None:
    assert "call overhead" not in shown(on_a_board([RAN]))
    assert "call overhead" not in shown(on_a_board([RAN], "cpu-c"))
    assert "call overhead" in shown(on_a_board([RAN], "cpu"))
