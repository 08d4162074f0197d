"""A policy as an extension of Python: the bits of its twin, nothing but fitting arrays, and compiled but once."""

from __future__ import annotations

import array
import pickle
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compiled_policy import float_c, twin, with_wild_rows
from host_tools import fake_compiler, needs_native
from numpy.typing import NDArray
from torch import nn

from prunekit.compiled import run_tool
from prunekit.errors import ArtifactError, CheckError, InputError
from prunekit.export.c_code import CCode
from prunekit.export.c_int8 import int8_to_c
from prunekit.export.quantize import Bits, quantize, run_quantized
from prunekit.policy.actor import Actor, Normalizer
from prunekit.policy.artifact import make_artifact, save
from prunekit.policy.graphs import graph_of
from prunekit.policy.heads import ArgmaxHead, ClipHead, Head, TanhHead
from prunekit.policy.program import Affine, Program, lower
from prunekit.runtimes import native
from prunekit.runtimes.native import NativePolicy, load_native

pytestmark = needs_native
INF = float("inf")
HEADS: dict[str, Head] = {
    "argmax": ArgmaxHead(-4),
    "clip": ClipHead(low=(-0.2, -0.1, -INF), high=(0.1, INF, 0.3)),
    "tanh": TanhHead(low=(-2.0, 0.0, -0.5), high=(1.0, 7.0, 0.5)),
}
ROWS = (3.0 * np.random.default_rng(1).normal(size=(40, 5))).astype(np.float32)
NUMBERS = np.asarray([3, 0, 1, 7, 2])


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def plain_surroundings(shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_cache))
    monkeypatch.delenv("CC", raising=False)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder where compiled policies are kept, empty at first."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "prunekit" / "native"


@pytest.fixture
def compilations(kept: Path, monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """Return the commands that compile something, as they come."""
    commands: list[Sequence[str]] = []

    def counted(command: Sequence[str], folder: Path) -> str:
        commands.append(command)
        return run_tool(command, folder)

    monkeypatch.setattr(native, "run_tool", counted)
    return commands


@cache
def actor(head: str, seed: int) -> Actor:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3))
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 2:  # so that no bias decides alone
                parameter.mul_(2.0)
    return Actor(network, HEADS[head], Normalizer([0.5, -1.0, 0.0, 2.0, 1.0], [1.0, 0.5, 2.0, 0.25, 1.0], 5.0))


def program(head: str, seed: int = 4) -> Program:
    return lower(actor(head, seed))


def code(head: str = "clip", seed: int = 4) -> CCode:
    return float_c(program(head, seed), "some_policy", {})


def acted(policy: NativePolicy, rows: NDArray[Any]) -> NDArray[Any]:
    return np.asarray([policy.act(row) for row in rows], np.int32 if policy.outputs is None else np.float32)


@pytest.mark.parametrize("head", HEADS)
def test_float32_actions_are_those_of_the_twin_to_the_bit(head: str) -> None:
    rows = with_wild_rows(ROWS)
    expected = twin(program(head), rows)[0]
    assert len(np.unique(expected, axis=0)) > 2
    assert acted(NativePolicy(code(head)), rows).tobytes() == expected.tobytes()


@pytest.mark.parametrize(("hidden", "wide"), [((112, 128), True), ((128, 111), False), ((16, 16), False)])
def test_layers_of_whole_cache_lines_are_read_in_wide_vectors_with_the_same_bits(
    hidden: tuple[int, int], wide: bool, compilations: list[Sequence[str]]
) -> None:
    torch.manual_seed(3)
    first, second = hidden
    layers = nn.Linear(5, first), nn.Tanh(), nn.Linear(first, second), nn.Tanh(), nn.Linear(second, 3)
    large = lower(Actor(nn.Sequential(*layers), HEADS["tanh"]))
    made = float_c(large, "some_policy", {})
    assert made.wide == wide
    assert acted(NativePolicy(made), ROWS).tobytes() == twin(large, ROWS)[0].tobytes()
    [command] = compilations
    assert set(native.vector_flags(wide=wide)) <= set(command) or "clang" in native.version_of(command[0])


def test_the_width_of_vectors_is_asked_for_where_there_is_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    for platform, widths in (("linux-x86_64", ["256", "512"]), ("linux-aarch64", [])):
        monkeypatch.setattr(native.sysconfig, "get_platform", lambda platform=platform: platform)
        found = [flag for wide in (False, True) for flag in native.vector_flags(wide=wide)]
        assert found == [f"-mprefer-vector-width={width}" for width in widths]


@pytest.mark.parametrize("first", [-1.0, 1.0])
def test_nothing_is_fused_where_the_compiler_has_an_instruction_for_it(first: float) -> None:
    # GCC 12 makes one instruction, rounding once, of products to which it adds and from which it subtracts in turns.
    generator = np.random.default_rng(3)
    signs = first * np.where(np.arange(8) % 2, 1.0, -1.0)
    bias = (signs * generator.uniform(0.1, 1.0, 8)).astype(np.float32)
    layer = Affine(weight=generator.normal(size=(8, 6)).astype(np.float32), bias=bias)
    program = Program(ops=(layer,), head=ClipHead(low=(-INF,) * 8, high=(INF,) * 8))
    rows = generator.normal(size=(50, 6)).astype(np.float32)
    policy = NativePolicy(float_c(program, "some_policy", {}))
    assert acted(policy, rows).tobytes() == twin(program, rows)[0].tobytes()


@pytest.mark.parametrize("name", ["policy", "run", "observation"])
@pytest.mark.parametrize("head", ["argmax", "clip"])
def test_a_policy_may_have_any_name(head: str, name: str) -> None:
    policy = NativePolicy(float_c(program(head), name, {}))
    assert acted(policy, ROWS).tobytes() == twin(program(head), ROWS)[0].tobytes()


@pytest.mark.parametrize("bits", [16, 8])
@pytest.mark.parametrize("head", HEADS)
def test_integer_actions_are_those_of_the_twin_to_the_bit(head: str, bits: Bits) -> None:
    rows = with_wild_rows(ROWS)
    quantized = quantize(graph_of(program(head)), ROWS, bits)
    expected = run_quantized(quantized, rows)[0]
    assert len(np.unique(expected, axis=0)) > 2
    policy = NativePolicy(int8_to_c(quantized, "some_policy", {}))
    assert acted(policy, rows).tobytes() == expected.tobytes()


@pytest.mark.parametrize("head", HEADS)
def test_a_model_file_becomes_machine_code(head: str, tmp_path: Path) -> None:
    save(make_artifact(actor(head, 4), None, {}), tmp_path / "model.pt")
    for path in (tmp_path / "model.pt", str(tmp_path / "model.pt")):
        assert acted(load_native(path), ROWS).tobytes() == twin(program(head), ROWS)[0].tobytes()


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.pt").write_text("hello")
    for name in ("nowhere.pt", "notes.pt"):
        with pytest.raises(ArtifactError, match=name):
            load_native(tmp_path / name)


def test_an_action_is_a_number_or_an_array_of_its_own() -> None:
    assert type(NativePolicy(code("argmax")).act(ROWS[0])) is int
    policy = NativePolicy(code("clip"))
    first = policy.act(ROWS[0])
    assert isinstance(first, np.ndarray)
    assert first.dtype == np.float32
    assert first.shape == (3,)
    before = first.copy()
    assert np.asarray(policy.act(ROWS[1])).tobytes() != before.tobytes()
    assert first.tobytes() == before.tobytes()


@pytest.mark.parametrize(
    "dtype", ["?", "i1", "u1", "<i2", ">i2", "i4", "i8", "u8", "f2", "f4", ">f4", "f8", ">f8", "g"]
)
def test_observations_of_any_number_type_are_read_as_their_values(dtype: str) -> None:
    observation = NUMBERS.astype(dtype)
    [expected] = twin(program("clip"), observation.astype(np.float32)[None])[0]
    assert np.asarray(NativePolicy(code()).act(observation)).tobytes() == expected.tobytes()


def test_observations_may_lie_anyhow_in_memory() -> None:
    policy = NativePolicy(code())
    expected = np.asarray(policy.act(ROWS[0])).tobytes()
    spread = np.zeros((5, 4), np.float32)
    spread[:, 1] = ROWS[0]
    locked = ROWS[0].copy()
    locked.setflags(write=False)
    for observation in (spread[:, 1], ROWS[0][::-1].copy()[::-1], locked, ROWS[0].tolist()):
        assert np.asarray(policy.act(observation)).tobytes() == expected


def locked_action() -> NDArray[np.float32]:
    action = np.zeros(3, np.float32)
    action.setflags(write=False)
    return action


SEEN, ACTION = np.zeros(5, np.float32), np.zeros(3, np.float32)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((np.zeros(4, np.float32), ACTION), ValueError, "float32 array of 5 values"),
        ((np.zeros(6, np.float32), ACTION), ValueError, "float32 array of 5 values"),
        ((np.float32(0.0), ACTION), ValueError, "float32 array of 5 values"),
        ((np.zeros(5), ACTION), ValueError, "float32 array of 5 values"),
        ((np.zeros(5, np.int32), ACTION), ValueError, "float32 array of 5 values"),
        ((np.zeros(5, ">f4"), ACTION), ValueError, "float32 array of 5 values"),
        ((bytes(20), ACTION), ValueError, "float32 array of 5 values"),
        ((np.zeros(10, np.float32)[::2], ACTION), ValueError, "contiguous"),
        ((SEEN, np.zeros(2, np.float32)), ValueError, "float32 array of 3 values"),
        ((SEEN, np.zeros(4, np.float32)), ValueError, "float32 array of 3 values"),
        ((SEEN, np.zeros(3)), ValueError, "float32 array of 3 values"),
        ((SEEN, np.zeros(6, np.float32)[::2]), ValueError, "contiguous"),
        ((SEEN, locked_action()), ValueError, "read-only"),
        (([0.0] * 5, ACTION), TypeError, "list"),
        ((None, ACTION), TypeError, "None"),
        ((SEEN, None), TypeError, "None"),
        ((), TypeError, "takes 2 arguments, got 0"),
        ((SEEN,), TypeError, "takes 2 arguments, got 1"),
        ((SEEN, ACTION, ACTION), TypeError, "takes 2 arguments, got 3"),
    ],
)
def test_run_refuses_what_does_not_fit(arguments: tuple[Any, ...], error: type[Exception], words: str) -> None:
    policy = NativePolicy(code())
    with pytest.raises(error, match=words):
        policy.run(*arguments)
    action = np.zeros(3, np.float32)
    assert policy.run(SEEN, action) is None
    assert action.tobytes() == twin(program("clip"), SEEN[None])[0].tobytes()


def test_run_of_a_discrete_policy_takes_the_observation_alone() -> None:
    policy = NativePolicy(code("argmax"))
    assert policy.run(ROWS[0]) == twin(program("argmax"), ROWS[:1])[0][0]
    for arguments in ((), (SEEN, ACTION)):
        with pytest.raises(TypeError, match=f"takes 1 arguments, got {len(arguments)}"):
            policy.run(*arguments)
    with pytest.raises(ValueError, match="float32 array of 5 values"):
        policy.run(np.zeros(5))


def test_what_run_was_given_is_free_afterwards() -> None:
    policy = NativePolicy(code())
    seen, action, narrow = (array.array("f", [0.0] * size) for size in (5, 3, 2))
    policy.run(seen, action)
    with pytest.raises(ValueError, match="3 values"):
        policy.run(seen, narrow)
    with pytest.raises(ValueError, match="5 values"):
        policy.run(narrow, action)
    for buffer in (seen, action, narrow):
        buffer.append(0.0)  # BufferError while something still looks at it


def test_a_policy_is_compiled_once(compilations: list[Sequence[str]], kept: Path) -> None:
    first, second = NativePolicy(code()), NativePolicy(code())
    assert len(compilations) == 1
    assert acted(first, ROWS).tobytes() == acted(second, ROWS).tobytes()
    [folder] = kept.iterdir()
    assert [path.name for path in folder.iterdir()] == ["prunekit_policy.so"]


def test_nothing_is_left_behind_where_the_disk_is_full(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(InputError, match="the disk is full"):
            NativePolicy(code())
    assert [path for path in kept.rglob("*") if path.is_file()] == []
    NativePolicy(code())


def test_another_policy_is_compiled_anew(compilations: list[Sequence[str]]) -> None:
    plain = code()
    for number, other in enumerate((plain, code(seed=9), code("tanh"), replace(plain, header=f"{plain.header}\n"))):
        NativePolicy(other)
        assert len(compilations) == number + 1


def test_another_version_of_the_compiler_compiles_anew(
    compilations: list[Sequence[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, version, count in (("one", "1.0", 1), ("two", "2.0", 2), ("same", "1.0", 2)):
        compiler = fake_compiler(tmp_path / name, f"fake {version}")
        monkeypatch.setenv("CC", str(compiler))
        NativePolicy(code())
        assert len(compilations) == count
        assert all(command[0] in (str(tmp_path / "one"), str(tmp_path / "two")) for command in compilations)


def test_without_a_wish_the_cache_is_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    NativePolicy(code())
    assert list((tmp_path / ".cache" / "prunekit" / "native").glob("*/prunekit_policy.so"))


def test_where_nothing_can_be_kept_policies_run_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    NativePolicy(code())
    assert (tmp_path / "file").read_text() == "mine"


def test_c_that_does_not_compile_is_told_and_not_kept(kept: Path) -> None:
    broken = replace(code(), source="#error nothing like that\n")
    for _ in range(2):
        with pytest.raises(CheckError, match=r"^[\w-]+ failed: some_policy\.c:1:.*error: .*nothing like that$"):
            NativePolicy(broken)
    assert not kept.exists()


def test_two_processes_may_compile_the_same_policy_at_once(
    tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each waits until the other has found nothing in the cache.
    (tmp_path / "gate").mkdir()
    waiting = f'touch {tmp_path}/gate/$$\nn=0\nwhile [ "$(ls {tmp_path}/gate | wc -l)" -lt 2 ] && [ $n -lt 3000 ]; do\n'
    compiler = fake_compiler(tmp_path / "slow-cc", "slow 1", f"{waiting}sleep 0.01; n=$((n + 1)); done")
    monkeypatch.setenv("CC", str(compiler))
    given = pickle.dumps((code(), ROWS[0]))
    script = (
        "import pickle, sys; from prunekit.runtimes.native import NativePolicy; "
        "code, row = pickle.load(sys.stdin.buffer); sys.stdout.buffer.write(NativePolicy(code).act(row).tobytes())"
    )
    command = [sys.executable, "-c", script]
    pipe = subprocess.PIPE
    started = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) for _ in range(2)]
    with ThreadPoolExecutor() as threads:
        said = list(threads.map(lambda process: process.communicate(given, timeout=120), started))
    assert [error for _, error in said] == [b"", b""]
    expected = twin(program("clip"), ROWS[:1])[0].tobytes()
    assert [answer for answer, _ in said] == [expected, expected]
    assert len(list((tmp_path / "gate").iterdir())) == 2
    [folder] = kept.iterdir()
    assert [path.name for path in folder.iterdir()] == ["prunekit_policy.so"]


@pytest.mark.parametrize(("chosen", "named"), [(None, "cc, gcc or clang"), ("nonexistent-cc", "nonexistent-cc")])
def test_a_missing_compiler_is_told_in_one_line(
    chosen: str | None, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if chosen is None:
        monkeypatch.setenv("PATH", "")
    else:
        monkeypatch.setenv("CC", chosen)
    with pytest.raises(InputError) as caught:
        NativePolicy(code())
    needed = f"the policy's C on this computer needs a C compiler ({named}); run: apt-get install gcc"
    assert str(caught.value) == needed


def test_a_compiler_with_arguments_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "cc -m64")
    with pytest.raises(InputError, match="CC must name one executable without arguments, not 'cc -m64'"):
        NativePolicy(code())


def test_missing_headers_of_python_are_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path / name))
    with pytest.raises(InputError) as caught:
        NativePolicy(code())
    needed = "the policy's C on this computer needs Python's headers (Python.h); run: apt-get install python3-dev"
    assert str(caught.value) == needed


def test_policies_in_one_process_do_not_mix() -> None:
    policies = [NativePolicy(code(head, seed)) for head in ("clip", "argmax") for seed in (4, 9)]
    policies.append(NativePolicy(code()))
    expected = [twin(program(head, seed), ROWS)[0] for head in ("clip", "argmax") for seed in (4, 9)]
    expected.append(expected[0])
    assert len({actions.tobytes() for actions in expected}) == 4
    for index, row in enumerate(ROWS):
        for policy, actions in zip(policies, expected, strict=True):
            assert np.asarray(policy.act(row), actions.dtype).tobytes() == actions[index].tobytes()


def test_policies_act_in_threads() -> None:
    policies = [NativePolicy(code("clip", seed)) for seed in (4, 9)] * 2
    expected = [twin(program("clip", seed), ROWS)[0].tobytes() for seed in (4, 9)] * 2

    def wrong(policy: NativePolicy, actions: bytes) -> int:
        return sum(acted(policy, ROWS).tobytes() != actions for _ in range(50))

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(wrong, policies, expected)) == [0] * 4


def identity(name: str = "some_policy") -> CCode:
    """Return the policy that chooses the largest of four values."""
    layer = Affine(weight=np.eye(4, dtype=np.float32), bias=np.zeros(4, np.float32))
    return float_c(Program(ops=(layer,), head=ArgmaxHead(0)), name, {})


def test_an_observation_that_is_not_aligned_is_taken() -> None:
    seen = np.ndarray(4, np.float32, bytearray(17), 1)
    seen[:] = [0.0, 0.0, 1.0, 0.0]
    assert NativePolicy(identity()).act(seen) == 2


def test_a_compiler_is_found_by_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_compiler(tmp_path / "mycc", "relative 1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CC", "./mycc")
    assert NativePolicy(identity()).act([0.0, 0.0, 1.0, 0.0]) == 2


@pytest.mark.parametrize("name", ["stdint", "limits", "policy"])
def test_names_of_system_headers_are_no_trouble(name: str) -> None:
    assert NativePolicy(identity(name)).act([0.0, 0.0, 1.0, 0.0]) == 2
