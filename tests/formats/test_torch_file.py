"""Files of torch.save: read as torch reads them, or refused before anything is made of a number in them."""

from __future__ import annotations

import contextlib
import io
import struct
import time
import tracemalloc
import warnings
import zipfile
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from pickled import archive, integer, storage, tensor, text, torch_saved
from torch import Tensor, nn

from prunekit.errors import InputError
from prunekit.formats.pickles import Record
from prunekit.formats.torch_file import read_torch

SHARED = torch.arange(12.0)
PIECES: dict[str, Any] = {
    **{
        str(dtype): torch.tensor([[1, 0, 1], [0, 1, 1]]).to(dtype)
        for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32)
    },
    **{str(dtype): torch.tensor([1, 0, 1]).to(dtype) for dtype in (torch.int16, torch.int8, torch.uint8, torch.bool)},
    "a number": torch.tensor(3.5),
    "none": torch.zeros(0),
    "none of several axes": torch.zeros(0, 4),
    "transposed": torch.arange(6.0).reshape(2, 3).t(),
    "every second": SHARED[1::2],
    "shared": [SHARED[2:5], SHARED.view(3, 4), SHARED],
    "parameter": nn.Parameter(torch.ones(2, 2)),
    "plain": [
        None,
        True,
        False,
        -3,
        2**70,
        1.5,
        float("inf"),
        "text",
        "é",
        b"bytes",
        (),
        (1,),
        (1, 2, 3, 4),
        [],
        {},
    ],
    "ordered": OrderedDict([("b", 1), ("a", [1, 2])]),
    "keys": {"a": 1, 2: "b", None: 3},
    "set": {1, 2, 3},
    "state dict": nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).state_dict(),
    "many": [{"step": torch.tensor(float(i)), "mean": torch.ones(i)} for i in range(300)],
}


def assert_same(found: Any, wanted: Any) -> None:
    if isinstance(wanted, Tensor):
        assert found.dtype == wanted.dtype
        assert found.stride() == wanted.stride()
        assert torch.equal(found, wanted.detach())
    elif isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for key in wanted:
            assert_same(found[key], wanted[key])
    elif isinstance(wanted, list | tuple):
        assert type(found) is type(wanted)
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_same(one, other)
    else:
        assert type(found) is type(wanted)
        assert found == wanted


@pytest.mark.parametrize("name", PIECES)
def test_what_torch_saves_is_read_as_torch_reads_it(name: str) -> None:
    content = torch_saved({"it": PIECES[name]})
    assert_same(read_torch(content), {"it": PIECES[name]})
    wanted = torch.load(io.BytesIO(content), weights_only=True)
    assert_same(read_torch(content)["it"], wanted["it"])


def test_what_optimizers_save_is_read(tmp_path: Any) -> None:
    network = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    found = read_torch(tmp_path / "state.pt")
    assert_same(found, torch.load(tmp_path / "state.pt", weights_only=True))
    optimizer.load_state_dict(found)


def test_tensors_of_one_storage_share_it() -> None:
    whole, part = read_torch(torch_saved([SHARED, SHARED[3:]]))
    whole[3] = 99.0
    assert part[0] == 99.0


def test_a_file_may_be_read_twice_and_written_to_between() -> None:
    content = torch_saved(torch.zeros(3))
    read_torch(content)[0] = 1.0
    assert read_torch(content).tolist() == [0.0, 0.0, 0.0]


def test_reading_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_torch(torch_saved([torch.ones(2), torch.ones(2, dtype=torch.bool)]))


def test_other_kinds_of_tensors_are_kept_as_records() -> None:
    assert isinstance(read_torch(torch_saved(torch.empty(2, device="meta"))), Record)


BEYOND = "reaches beyond its storage"
WRONG = "not non-negative integers"
TENSORS: dict[str, tuple[bytes, str]] = {
    "short record": (archive(tensor(count=4), {"0": bytes(12)}), "has 12 bytes, not the 4 elements"),
    "long record": (archive(tensor(count=4), {"0": bytes(20)}), "has 20 bytes, not the 4 elements"),
    "no record": (archive(tensor(), {}), "lacks its entry 'a/data/0'"),
    "claims of a huge storage": (archive(tensor(count=2**60)), "has 16 bytes, not the more than"),
    "claims beyond 64 bits": (archive(tensor(count=2**80)), "has 16 bytes, not the more than"),
    "negative claims": (archive(tensor(count=-4)), "has 16 bytes, not the -4 elements"),
    "a short record that no tensor uses": (archive(storage(count=4), {"0": bytes(12)}), "has 12 bytes, not the 4 elem"),
    "no record, and no tensor that uses it": (archive(storage(), {}), "lacks its entry 'a/data/0'"),
    "one element too far": (archive(tensor(offset=3)), BEYOND),
    "large offset": (archive(tensor(offset=2**62)), BEYOND),
    "offset beyond 64 bits": (archive(tensor(offset=2**64)), BEYOND),
    "negative offset": (archive(tensor(offset=-1)), WRONG),
    "large stride": (archive(tensor(strides=(4,))), BEYOND),
    "stride whose product overflows": (archive(tensor(sizes=(3,), strides=(2**63,))), BEYOND),
    "negative stride": (archive(tensor(offset=3, strides=(-1,))), WRONG),
    "negative size": (archive(tensor(sizes=(-2,))), WRONG),
    "product of sizes beyond 64 bits": (archive(tensor(sizes=(2**33, 2**33), strides=(0, 0))), "larger than itself"),
    "product of sizes that wraps to nothing": (
        archive(tensor(sizes=(2**32, 2**32), strides=(1, 1))),
        "larger than itself",
    ),
    "zero stride": (archive(tensor(sizes=(10**9,), strides=(0,))), "larger than itself"),
    "zero strides": (archive(tensor(sizes=(3, 3), strides=(0, 0))), "larger than itself"),
    "fewer strides": (archive(tensor(sizes=(2, 2), strides=(1,))), WRONG),
    "many axes": (archive(tensor(sizes=(1,) * 40, strides=(1,) * 40)), "more than 32 axes"),
    "no elements of a huge axis": (archive(tensor(sizes=(0, 2**60), strides=(1, 1))), "more than 32 axes or"),
    "another folder": (archive(tensor(key="../b")), "lacks its entry"),
    "two views of one": (
        archive(b"(" + tensor() + tensor().replace(b"FloatStorage", b"IntStorage") + b"t"),
        "describes its entry in two ways: ",
    ),
    "sizes of the truth": (archive(tensor().replace(integer(2), b"\x88", 1)), WRONG),
    "no storage": (archive(b"ctorch._utils\n_rebuild_tensor_v2\n)R"), "describes a tensor in an unknown way"),
    "whole views many times": (
        archive(b"(" + tensor(sizes=(4000,), count=4000) * 2000 + b"t", {"0": bytes(16000)}),
        "names tensors larger than itself",
    ),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_beyond_their_storage_are_refused(name: str) -> None:
    content, reason = TENSORS[name]
    with pytest.raises(InputError, match=reason):
        read_torch(content)


def test_the_tensors_written_by_hand_are_sound_otherwise() -> None:
    found = read_torch(archive(tensor(offset=1, sizes=(3,)), {"0": struct.pack("<4f", 1, 2, 3, 4)}))
    assert found.tolist() == [2.0, 3.0, 4.0]


def test_truth_values_are_0_or_1() -> None:
    content = archive(tensor(count=16).replace(b"FloatStorage", b"BoolStorage"), {"0": bytes(range(16))})
    with pytest.raises(InputError, match="neither 0 nor 1"):
        read_torch(content)


def test_numbers_of_other_machines_are_refused() -> None:
    content = torch_saved(torch.ones(2))
    place = content.index(b"little")
    with pytest.raises(InputError, match=r"byte order b'big\.\.\.'"):
        read_torch(repacked(content, byteorder=b"big..."))
    assert place


def repacked(content: bytes, compression: int = zipfile.ZIP_STORED, **entries: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, entries.get(name.split("/", 1)[1], old.read(name)))
    return buffer.getvalue()


def test_complex_and_unknown_numbers_are_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"of the kind 'torch\.ComplexFloatStorage'|could run code"):
        read_torch(torch_saved(torch.ones(2, dtype=torch.complex64)))


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packed_files_are_not_unpacked(compression: int) -> None:
    content = repacked(torch_saved(torch.zeros(2**22)), compression)
    assert len(content) < 2**17
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="is packed as torch's own files never are"):
            read_torch(content)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


def test_two_entries_of_one_name_are_refused() -> None:
    buffer = io.BytesIO(torch_saved(torch.zeros(2)))
    with zipfile.ZipFile(buffer, "a") as made:
        made.writestr(made.namelist()[0].upper(), b"other")
    with pytest.raises(InputError, match="two entries of one name"):
        read_torch(buffer.getvalue())


def test_two_folders_are_refused() -> None:
    buffer = io.BytesIO(torch_saved(torch.zeros(2)))
    with zipfile.ZipFile(buffer, "a") as made:
        made.writestr("other/data.pkl", b"\x80\x02N.")
    with pytest.raises(InputError, match=r"2 entries 'data\.pkl'"):
        read_torch(buffer.getvalue())


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"noise" * 9, torch_saved(1, _use_new_zipfile_serialization=False)[:-9], b"\x80\x02K\x01."]
)
def test_what_is_no_zip_is_refused(content: bytes) -> None:
    with pytest.raises(InputError, match="is damaged, or not a torch file"):
        read_torch(content)


def test_flipped_bytes_of_an_old_file_are_read_or_refused() -> None:
    """All of it is in one stream, so that any byte may be a size."""
    values = {"a": torch.ones(3, 2), "b": [1, "text", (2.5, None)], "c": torch.ones(5)[1:3]}
    content = torch_saved(values, _use_new_zipfile_serialization=False)
    generator, started, read = np.random.default_rng(0), time.monotonic(), 0
    for _ in range(3000):
        flipped = bytearray(content)
        for place in generator.integers(0, len(content), 2):
            flipped[place] = generator.integers(0, 256)
        with contextlib.suppress(InputError):
            read += read_torch(bytes(flipped)) is not None
    assert 0 < read < 3000
    assert time.monotonic() - started < 60.0


@pytest.mark.filterwarnings("ignore")
def test_flipped_bytes_are_read_or_refused() -> None:
    content = torch_saved({"a": torch.ones(3, 2), "b": [1, "text", (2.5, None)], "c": torch.ones(5)[1:3]})
    end = content.index(b"PK\x03\x04", 30)
    generator, started = np.random.default_rng(0), time.monotonic()
    for _ in range(3000):
        flipped = bytearray(content)
        for place in generator.integers(0, end if generator.random() < 0.7 else len(content), 2):
            flipped[place] = generator.integers(0, 256)
        # the checksum of the zip would catch most of it
        try:
            read_torch(with_checksum(bytes(flipped), end))
        except InputError as error:
            assert "\n" not in str(error)  # noqa: PT017
    assert time.monotonic() - started < 30.0


def with_checksum(content: bytes, end: int) -> bytes:
    """Return the archive with its first entry's checksum made that of its bytes, where its header still stands."""
    import zlib

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as old:
            first = old.infolist()[0]
        start = 30 + len(first.filename) + struct.unpack_from("<H", content, 28)[0]
        checksum = struct.pack("<I", zlib.crc32(content[start : start + first.file_size]))
    except Exception:
        return content
    place = content.index(b"PK\x01\x02") + 16
    return content[:14] + checksum + content[18:place] + checksum + content[place + 4 :]


def test_texts_written_by_hand_are_read() -> None:
    assert read_torch(archive(text("a"), {})) == "a"
