"""Boards and compiled C as devices, one model at a time: what fits, what is compared, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compiled_policy import twin
from host_tools import needs_native
from numpy.typing import NDArray
from stub_policies import needs, with_tools
from torch import nn

from prunekit.benching.figures import DeviceFigures, FirmwareFigures, Place
from prunekit.benching.models import BenchModel
from prunekit.benching.runtimes import Runtime
from prunekit.benching.settings import BenchSettings
from prunekit.devices import board, devices_named
from prunekit.devices.board import Board, LoopRuntime
from prunekit.devices.build import Image, build
from prunekit.devices.chips import chip_named
from prunekit.devices.cores import CORES, Core
from prunekit.devices.emulator import EmulatedPolicy, count
from prunekit.devices.policy_code import PolicyCode
from prunekit.environments import Spaces
from prunekit.errors import InputError
from prunekit.export.quantize import Bits, quantize, run_quantized
from prunekit.graph.graph import Graph
from prunekit.ops.argmax import Argmax
from prunekit.policy.actions import with_head
from prunekit.policy.actor import Actor
from prunekit.policy.graphs import graph_of
from prunekit.policy.heads import ClipHead
from prunekit.policy.program import lower
from prunekit.runtimes.native import NativePolicy
from prunekit.spaces.box import BoxActions
from prunekit.spaces.discrete import DiscreteActions

pytestmark = needs_native
SEEN: NDArray[np.float32] = np.random.default_rng(2).normal(size=(6, 4)).astype(np.float32)
SETTINGS = BenchSettings(episodes=5, first_seed=70, loop_episodes=2)
PLACE = Place(
    spaces=Spaces(observation=4, actions=BoxActions(low=(-1.0, -1.0), high=(1.0, 1.0))),
    observe=lambda program, episodes: SEEN,
)


def model(*hidden: int, seed: int = 0, name: str = "model.pt") -> BenchModel:
    """Return a model from four values to two actions over layers of ``hidden`` units."""
    torch.manual_seed(seed)
    widths = [4, *hidden, 2]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    program = lower(Actor(nn.Sequential(*layers[:-1]), ClipHead(low=(-1.0, -1.0), high=(1.0, 1.0))))
    graph = graph_of(program)
    return BenchModel(
        path=Path(name),
        content=b"",
        size_bytes=0,
        hidden=program.hidden,
        parameters=program.parameters,
        macs=program.macs,
        graph=graph,
    )


def graph_in(measured: BenchModel) -> Graph:
    assert measured.graph is not None
    return measured.graph


def board_of(name: str, activations: Bits | None = None) -> Board:
    """Return the board of the target called ``name``, or else that of the part."""
    names, parts = ([name], []) if name in CORES else ([], [name])
    [device] = devices_named(names, parts, activations)
    assert isinstance(device, Board)
    return device


@pytest.fixture
def opened() -> Any:
    """Return what opens a model on a board: (figures, whether it runs there); all is closed after the test."""
    with ExitStack() as stack:

        def open_on(device: Board, measured: BenchModel) -> tuple[FirmwareFigures, Runtime | None]:
            runtime = device.runtime(measured, PLACE)
            if runtime is not None:
                stack.callback(runtime.close)
            [figures] = device.figures([measured], [runtime], SETTINGS)
            assert figures.firmware is not None
            return figures.firmware, runtime

        yield open_on


Open = Callable[[Board, BenchModel], tuple[FirmwareFigures, Runtime | None]]


@pytest.mark.parametrize("target", with_tools("cortex-m4", "riscv32", "avr-mega", "aarch64"))
@pytest.mark.parametrize("activations", [None, 16, 8])
def test_a_board_acts_as_the_twin_of_its_c(target: Core, activations: Bits | None, opened: Open) -> None:
    device, measured = board_of(target.name, activations), model(9)
    figures, runtime = opened(device, measured)
    assert runtime is not None
    assert (figures.compared, figures.different, figures.fits, figures.at_least) == (0, 0, True, False)
    graph = graph_in(measured)
    quantized = None if activations is None else quantize(graph, SEEN, activations)
    rows = (2.0 * SEEN).astype(np.float32)
    expected = twin(graph, rows)[0] if quantized is None else run_quantized(quantized, rows)[0]
    actions = np.asarray([runtime.act(row.astype(np.float64)) for row in rows], np.float32)
    assert actions.tobytes() == expected.tobytes()
    runtime.call()
    [after] = device.figures([measured], [runtime], SETTINGS)
    assert after.code == {None: "float32", 16: "w8a16", 8: "w8a8"}[activations]
    assert after.firmware == replace(figures, compared=len(rows))
    assert figures.cost is not None
    assert (figures.cost.unit, figures.cost.observations) == (target.unit, len(SEEN))
    assert figures.cost.p50 <= figures.cost.maximum


@needs("cortex-m4")
def test_figures_are_those_of_the_image_and_its_counts(opened: Open) -> None:
    target, measured = CORES["cortex-m4"], model(9)
    figures, _ = opened(board_of("cortex-m4"), measured)
    image = build(PolicyCode().of(measured, PLACE), target)
    counts = count(image, SEEN)
    assert (figures.flash_bytes, figures.static_ram_bytes) == (image.flash_bytes, image.static_ram_bytes)
    assert figures.harness_flash_bytes == image.harness_flash_bytes
    assert figures.harness_ram_bytes == image.harness_ram_bytes
    assert figures.stack_bytes == counts.stack_bytes
    assert figures.cost is not None
    assert figures.cost.maximum == counts.per_inference.max()
    assert set(figures.tools) == {"arm-none-eabi-gcc", "qemu-system-arm"}


@needs("cortex-m4")
def test_a_board_whose_host_is_another_policy_counts_the_differences(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = PolicyCode().of(model(9, seed=1), PLACE)
    monkeypatch.setattr(board, "NativePolicy", lambda code: NativePolicy(other))
    device, measured = board_of("cortex-m4"), model(9)
    _, runtime = opened(device, measured)
    assert runtime is not None
    actions = np.asarray([runtime.act(row) for row in SEEN])
    assert actions.tobytes() == twin(graph_in(measured), SEEN)[0].tobytes(), "not the firmware's"
    [figures] = device.figures([measured], [runtime], SETTINGS)
    assert figures.firmware is not None
    assert (figures.firmware.compared, figures.firmware.different) == (6, 6)


@needs("cortex-m4")
def test_one_bit_makes_an_action_different(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    device, measured = board_of("cortex-m4"), model(9)
    _, runtime = opened(device, measured)
    assert isinstance(runtime, LoopRuntime)
    act = NativePolicy.act

    def nudged(self: NativePolicy, observation: Any) -> Any:
        action = act(self, observation)
        assert isinstance(action, np.ndarray)
        return np.asarray([action[0], np.nextafter(action[1], np.float32(2.0))], np.float32)

    monkeypatch.setattr(NativePolicy, "act", nudged)
    runtime.act(SEEN[0])
    monkeypatch.undo()
    runtime.act(SEEN[1])
    assert (runtime.compared, runtime.different) == (2, 1)


@needs("cortex-m3")
def test_a_part_too_small_says_by_how_many_bytes_of_flash(opened: Open) -> None:
    measured, part = model(300, 50), chip_named("stm32f103c8")
    figures, runtime = opened(board_of(part.name), measured)
    assert runtime is None
    image = build(PolicyCode().of(measured, PLACE), part.core)
    assert figures.overflow == {"flash": image.flash_bytes - part.flash_bytes, "ram": 0}
    assert figures.overflow["flash"] > 0
    assert (figures.flash_bytes, figures.at_least, figures.fits) == (image.flash_bytes, False, False)
    assert (figures.cost, figures.stack_bytes, figures.compared) == (None, None, 0)


@needs("avr-uno")
def test_what_no_compiler_can_place_is_too_large_by_its_constants(opened: Open) -> None:
    measured = model(256, 256)
    for name, flash_bytes in (("avr-uno", 32 << 10), ("atmega328p", (32 << 10) - 512)):
        figures, runtime = opened(board_of(name), measured)
        assert runtime is None
        assert figures.overflow == {"flash": 4 * measured.parameters - flash_bytes, "ram": 0}
        assert (figures.flash_bytes, figures.at_least) == (4 * measured.parameters, True)
        assert (figures.static_ram_bytes, figures.harness_flash_bytes, figures.stack_bytes) == (None, None, None)
        assert set(figures.tools) == {"avr-gcc"}


@needs("riscv32")
def test_a_stack_beyond_the_part_is_told_to_the_byte(opened: Open) -> None:
    part = chip_named("fe310")
    fitting, large = (opened(board_of(part.name), model(width)) for width in (2000, 2040))
    assert fitting[1] is not None
    assert fitting[0].fits
    figures, runtime = large
    assert runtime is None
    assert figures.static_ram_bytes is not None
    assert figures.stack_bytes is not None
    assert figures.static_ram_bytes < part.ram_bytes
    code = PolicyCode().of(model(2040), PLACE)
    taken = figures.static_ram_bytes + count(build(code, part.core), SEEN).total_stack_bytes
    assert figures.overflow == {"flash": 0, "ram": taken - part.ram_bytes}
    assert 0 < figures.overflow["ram"] < 400
    assert not figures.at_least
    assert figures.cost is not None


@needs("avr-uno")
def test_buffers_beyond_the_ram_are_not_run(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("what cannot fit is not run")

    monkeypatch.setattr(board, "count", never)
    figures, runtime = opened(board_of("avr-uno"), model(300))
    assert runtime is None
    assert figures.static_ram_bytes is not None
    assert figures.overflow == {"flash": 0, "ram": figures.static_ram_bytes + 2 * 4 * 300 - 2048}
    assert (figures.at_least, figures.stack_bytes) == (True, None)


@needs("avr-uno")
@pytest.mark.parametrize("width", [246, 250, 252])
def test_a_stack_that_is_larger_than_the_ram_is_measured_and_not_run(width: int, opened: Open) -> None:
    figures, runtime = opened(board_of("avr-uno"), model(width))
    assert runtime is None
    assert not figures.at_least
    assert figures.stack_bytes is not None
    assert figures.stack_bytes > 2 * 4 * width
    assert figures.static_ram_bytes is not None
    assert figures.overflow["ram"] >= figures.static_ram_bytes + figures.stack_bytes - 2048 > 0


@needs("avr-uno")
def test_the_stack_with_memory_to_spare_is_that_of_the_chip() -> None:
    code = PolicyCode().of(model(9), PLACE)
    plain, ample = (count(build(code, CORES["avr-uno"], ample=spare), SEEN) for spare in (False, True))
    assert plain.stack_bytes == ample.stack_bytes
    assert plain.per_inference.tolist() == ample.per_inference.tolist()


@needs("avr-mega")
def test_constants_near_what_an_avr_can_address_are_read_right() -> None:
    measured = model(80, 90, 80)
    code = PolicyCode().of(measured, PLACE)
    assert 60_000 < sum(code.constant_bytes) < 65_000
    acted = count(build(code, CORES["avr-mega"]), SEEN).actions
    assert acted.tobytes() == twin(graph_in(measured), SEEN)[0].tobytes()


@needs("cortex-m0")
@pytest.mark.parametrize("name", ["rp2040", "cortex-m0"])
def test_a_wide_policy_gets_a_machine_with_room_for_its_stack(name: str, opened: Open) -> None:
    figures, runtime = opened(board_of(name), model(2048))
    assert figures.fits
    assert runtime is not None
    runtime.act(SEEN[0])


@needs("cortex-m7")
def test_what_fits_the_part_but_no_machine_is_not_run(opened: Open) -> None:
    figures, runtime = opened(board_of("imxrt1062"), model(1100, 1000))
    assert figures.fits
    assert runtime is None
    assert (figures.cost, figures.at_least) == (None, False)


@pytest.mark.parametrize("device", ["cpu-c", "cortex-m4"])
def test_another_kind_of_action_is_refused(device: str) -> None:
    [where] = devices_named([device])
    with pytest.raises(InputError, match=r"gives continuous actions, but the environment needs action numbers from 0"):
        where.runtime(model(9), replace(PLACE, spaces=Spaces(observation=4, actions=DiscreteActions(count=2))))


def test_action_numbers_from_another_first_are_refused() -> None:
    measured = model(9)
    measured = replace(measured, graph=with_head(graph_in(measured), Argmax()))
    [where] = devices_named(["cpu-c"])
    with pytest.raises(
        InputError, match="gives action numbers from 0, but the environment needs action numbers from 5"
    ):
        where.runtime(measured, replace(PLACE, spaces=Spaces(observation=4, actions=DiscreteActions(count=2, start=5))))


@needs("cortex-m4")
def test_no_emulator_stays_where_the_host_has_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    def watched(image: Image) -> EmulatedPolicy:
        policy = EmulatedPolicy(image)
        started.append(policy.process_id)
        return policy

    def failing(_: object) -> NativePolicy:
        raise InputError("no compiler here")

    monkeypatch.setattr(board, "EmulatedPolicy", watched)
    monkeypatch.setattr(board, "NativePolicy", failing)
    with pytest.raises(InputError, match="no compiler here"):
        board_of("cortex-m4").runtime(model(9), PLACE)
    assert not [process for process in started if Path(f"/proc/{process}").exists()]


@pytest.mark.parametrize("target", with_tools("cortex-m4", "avr-mega"))
@pytest.mark.parametrize("activations", [None, 16, 8])
@pytest.mark.parametrize("hidden", [(), (5, 40)])
def test_constants_and_buffers_are_no_more_than_what_is_taken(
    target: Core, activations: Bits | None, hidden: tuple[int, ...], opened: Open
) -> None:
    measured = model(*hidden)
    figures, _ = opened(board_of(target.name, activations), measured)
    code = PolicyCode(activations)
    assert figures.harness_flash_bytes is not None
    assert 0 < sum(code.of(measured, PLACE).constant_bytes) <= figures.flash_bytes - figures.harness_flash_bytes
    assert figures.stack_bytes is not None
    assert 0 < code.buffer_bytes(measured) <= figures.stack_bytes


@pytest.mark.parametrize("activations", [None, 16, 8])
def test_compiled_c_acts_as_its_twin(activations: Bits | None) -> None:
    measured = model(9)
    [device] = devices_named(["cpu-c"], activations=activations)
    runtime = device.runtime(measured, PLACE)
    assert runtime is not None
    assert runtime.inputs == 4
    graph = graph_in(measured)
    plain = twin(graph, SEEN)[0]
    expected = plain if activations is None else run_quantized(quantize(graph, SEEN, activations), SEEN)[0]
    assert (expected.tobytes() == plain.tobytes()) == (activations is None)
    assert np.asarray([runtime.act(row) for row in SEEN]).tobytes() == expected.tobytes()
    [figures] = device.figures([measured], [runtime], replace(SETTINGS, calls=10, paced_ticks=1))
    assert figures.code == {None: "float32", 16: "w8a16", 8: "w8a8"}[activations]
    assert figures.latency_us is not None
    assert figures.paced_latency_us is not None
    assert figures == DeviceFigures(
        latency_us=figures.latency_us, paced_latency_us=figures.paced_latency_us, code=figures.code
    )


@needs("cortex-m4")
@needs("avr-uno")
def test_a_model_is_observed_once_for_all_devices(opened: Open) -> None:
    asked: list[tuple[Graph, int]] = []

    def observe(graph: Graph, episodes: int) -> NDArray[np.float32]:
        asked.append((graph, episodes))
        return SEEN

    first, second = model(9), model(9, seed=1, name="other.pt")
    place = replace(PLACE, observe=observe)
    with ExitStack() as stack:
        for device in devices_named(["cpu-c", "cortex-m4", "avr-uno"], activations=16):
            for measured in (first, second):
                runtime = device.runtime(measured, place)
                assert runtime is not None
                stack.callback(runtime.close)
    assert asked == [(first.graph, 5), (second.graph, 5)]


@needs("cortex-m4")
@pytest.mark.parametrize(
    "spaces",
    [
        Spaces(observation=7, actions=BoxActions(low=(0.0,) * 3, high=(1.0,) * 3)),
        Spaces(observation=7, actions=DiscreteActions(count=3)),
    ],
)
def test_another_environment_is_refused_with_both_widths(spaces: Spaces) -> None:
    for device in devices_named(["cpu-c", "cortex-m4"]):
        words = r"^model\.pt: takes 4 values and gives 2, but the environment needs 7 and 3; .* `env`$"
        with pytest.raises(InputError, match=words):
            device.runtime(model(9), replace(PLACE, spaces=spaces))


@needs("cortex-m4")
def test_what_is_no_graph_is_refused_with_the_reason() -> None:
    for device in devices_named(["cpu-c", "cortex-m4"]):
        with pytest.raises(InputError, match=r"^model\.onnx: cannot be written as C: node 'x' is an LSTM$"):
            device.runtime(replace(model(9, name="model.onnx"), graph=None, not_read="node 'x' is an LSTM"), PLACE)


def test_a_missing_cross_compiler_is_told_before_anything_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    def observe(graph: Graph, episodes: int) -> NDArray[np.float32]:
        raise AssertionError("nobody plays for a board that cannot be")

    for name, packages in (("cortex-m4", "gcc-arm-none-eabi"), ("esp32c3", "gcc-riscv64-unknown-elf")):
        with pytest.raises(InputError, match=rf"run: apt-get install {packages} "):
            board_of(name, 16).runtime(model(9), replace(PLACE, observe=observe))
