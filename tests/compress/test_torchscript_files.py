"""TorchScript files: which functions they may call, how large they may be, and what their weights are."""

from __future__ import annotations

import struct
import tracemalloc
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from prunekit.compression.read import read_teacher
from prunekit.environments import Spaces
from prunekit.errors import ArtifactError
from prunekit.spaces.box import BoxActions

CONTINUOUS = Spaces(observation=4, actions=BoxActions(low=(-1.0, -0.5), high=(1.0, 0.5)))
LARGE = 2**26


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module: Any = torch.jit.script(nn.Linear(4, 2))
        module.save(str(tmp_path / "sound.ts"))
    read_teacher(tmp_path / "sound.ts", CONTINUOUS)
    return tmp_path / "sound.ts"


def with_entries(source: Path, *sizes: int, name: str = "sound/data/more") -> Path:
    """Write ``source`` again with one more packed entry of spaces for each of ``sizes``."""
    path = source.with_name("large.ts")
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.namelist():
            new.writestr(entry, old.read(entry))
        for index, size in enumerate(sizes):
            new.writestr(f"{name}{index}.py", b" " * size)
    return path


def assert_refused_unopened(path: Path, reason: str) -> None:
    """Read, which is to be refused for ``reason`` before much is unpacked."""
    tracemalloc.start()
    try:
        with pytest.raises(ArtifactError, match=rf"{path.name}: .*{reason}"):
            read_teacher(path, CONTINUOUS)
        assert tracemalloc.get_traced_memory()[1] < LARGE / 4
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("sizes", [(LARGE,), (LARGE // 32,) * 32], ids=["one large entry", "many small ones"])
def test_what_unpacks_to_more_than_a_policy_is_not_unpacked(sizes: tuple[int, ...], sound: Path) -> None:
    assert_refused_unopened(with_entries(sound, *sizes), "is packed as torch's own files never are")


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_is_packed_in_another_way_is_not_unpacked(kind: int, sound: Path) -> None:
    with zipfile.ZipFile(sound, "a", kind) as archive:
        archive.writestr("sound/data/more", b"small")
    assert_refused_unopened(sound, "is packed as torch's own files never are")


def test_code_that_no_policy_needs_is_not_read(sound: Path) -> None:
    assert_refused_unopened(with_entries(sound, 2**18, name="sound/code/more"), "bytes of code")


def test_an_entry_that_says_a_smaller_size_is_not_unpacked_further(sound: Path) -> None:
    path = with_entries(sound, LARGE, name="sound/code/more")
    content = path.read_bytes()
    size = content.rindex(b"PK\x01\x02") + 24  # in the directory's last entry
    assert struct.unpack_from("<I", content, size) == (LARGE,)
    path.write_bytes(content[:size] + struct.pack("<I", 10) + content[size + 4 :])
    assert_refused_unopened(path, "cannot be read")


def test_entries_that_lie_within_each_other_are_not_unpacked(tmp_path: Path) -> None:
    """Each entry's data is all that follows it, the next entry's header first, so that no byte is packed."""
    content, directory = bytes(2**19), b""
    for index in reversed(range(200)):
        name = f"a/data/{index:03}".encode()
        fields = struct.pack("<5H3I2H", 20, 0, 0, 0, 0, zlib.crc32(content), len(content), len(content), len(name), 0)
        content = b"PK\x03\x04" + fields + name + content
        offset = index * (30 + len(name))
        directory += b"PK\x01\x02" + struct.pack("<H", 20) + fields + struct.pack("<3H2I", 0, 0, 0, 0, offset) + name
    end = b"PK\x05\x06" + struct.pack("<4H2IH", 0, 0, 200, 200, len(directory), len(content), 0)
    path = tmp_path / "nested.ts"
    path.write_bytes(content + directory + end)
    with zipfile.ZipFile(path) as archive:
        assert len(archive.read("a/data/007")) > 2**19
    assert_refused_unopened(path, "is packed as torch's own files never are")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_half_a_file_is_damaged(share: float, sound: Path) -> None:
    content = sound.read_bytes()
    sound.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ArtifactError, match=r"sound\.ts: its TorchScript cannot be read .*export the policy again"):
        read_teacher(sound, CONTINUOUS)


class Functional(nn.Module):
    """Calls functions of torch.nn.functional: by their paths, and by names that stand for them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        hidden = nn.functional.leaky_relu(nn.functional.relu(self.first(seen)), 0.1)
        return torch.tanh(self.second(nn.functional.silu(hidden)))


@pytest.fixture
def functional(tmp_path: Path) -> tuple[Path, nn.Module]:
    module = Functional()
    return saved(torch.jit.script, module, tmp_path / "functional.ts"), module


def saved(form: Any, module: nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        form(module).save(str(path))
    return path


def test_functions_that_a_file_defines_may_be_called(functional: tuple[Path, nn.Module]) -> None:
    path, module = functional
    seen = torch.randn(5, 4)
    answers = read_teacher(path, CONTINUOUS).responses(seen.numpy())
    assert answers[:, 0] == pytest.approx(module(seen)[:, 0].detach().numpy())


@pytest.mark.parametrize("kind", [nn.ReLU, nn.ELU, nn.LeakyReLU, nn.SiLU, nn.Mish, nn.Tanh])
def test_scripted_activations_load(kind: type[nn.Module], tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(4, 8), kind(), nn.Linear(8, 2))
    teacher = read_teacher(saved(torch.jit.script, module, tmp_path / "policy.ts"), CONTINUOUS)
    assert teacher.size is not None
    assert teacher.size.parameters == 58


def test_a_frozen_file_does_not_say_how_many_weights_it_has(tmp_path: Path) -> None:
    def frozen(module: nn.Module) -> Any:
        return torch.jit.freeze(torch.jit.script(module.eval()))

    path = saved(frozen, nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)), tmp_path / "frozen.ts")
    assert read_teacher(path, CONTINUOUS).size is None


ALIAS = "_0 = __torch__.torch.nn.functional.leaky_relu"


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (ALIAS, f"{ALIAS}\n    _0 = torch.save", r"names 'torch\.save'"),
        (ALIAS, f"{ALIAS}\n    for _0 in range(1):\n      pass", "calls '_0', which is not one of its functions"),
        (ALIAS, f"{ALIAS}\n    _1, _0 = (torch.relu, torch.save)", r"names 'torch\.relu'"),
        (ALIAS, "_0 = __torch__.torch.nn.functional.nowhere", "names '__torch__.*nowhere'"),
        (ALIAS, "_0 = __torch__.torch.classes.own.leaky_relu", r"names '__torch__\.torch\.classes"),
        (ALIAS, "_0 = ops.aten.save", r"names 'ops\.aten\.save'"),
        ("result = torch.relu(input)", "result = torch.save(input)", r"calls 'torch\.save'"),
    ],
)
def test_a_name_for_anything_else_is_refused(
    before: str, after: str, reason: str, functional: tuple[Path, nn.Module]
) -> None:
    path = changed(functional[0], before, after)
    with pytest.raises(ArtifactError, match=rf"other\.ts: its TorchScript {reason}"):
        read_teacher(path, CONTINUOUS)


def test_classes_of_torch_are_not_what_a_file_says_they_are(functional: tuple[Path, nn.Module]) -> None:
    path = changed(functional[0], ALIAS, "_0 = __torch__.torch.classes.own.leaky_relu")
    with zipfile.ZipFile(path, "a") as archive:
        root = archive.namelist()[0].split("/")[0]
        archive.writestr(
            f"{root}/code/__torch__/torch/classes/own.py", "def leaky_relu(x: Tensor) -> Tensor:\n  return x\n"
        )
    with pytest.raises(ArtifactError, match=r"its TorchScript names '__torch__\.torch\.classes"):
        read_teacher(path, CONTINUOUS)


def changed(source: Path, before: str, after: str) -> Path:
    """Write the archive again with ``after`` for the one ``before`` in its code."""
    path, found = source.with_name("other.ts"), 0
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            entry = old.read(name)
            if name.endswith(".py"):
                found += entry.count(before.encode())
                entry = entry.replace(before.encode(), after.encode())
            new.writestr(name, entry)
    assert found == 1
    return path
