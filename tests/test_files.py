"""Atomic writes: the new file whole, or the old one untouched, and nothing else beside it."""

from __future__ import annotations

import math
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from prunekit import ArtifactError, InputError
from prunekit.files import held, json_text, require_file, require_writable, write_atomically, write_together

UNWRITABLE = Path("/proc/self")


def test_content_is_written_and_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.bin"
    content = bytes(range(256)) * 1000
    write_atomically(path, content)
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_an_old_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    write_atomically(path, b"old and longer")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_until_the_rename_the_old_file_stands_and_the_new_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    rename, seen = Path.replace, []

    def watched(source: Path, target: Path) -> Path:
        seen.append((target, source.read_bytes(), path.read_bytes(), source.parent))
        return rename(source, target)

    monkeypatch.setattr(Path, "replace", watched)
    write_atomically(path, b"new")
    assert seen == [(path, b"new", b"old", tmp_path)], "only a rename inside one folder is atomic"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize(("owner", "name"), [(Path, "replace"), (os, "fsync"), (os, "fdopen")])
def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object, name: str
) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(owner, name, fail)
    with pytest.raises(InputError, match=r"file\.bin: cannot be written \(No space left on device\)"):
        write_atomically(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_parent_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_bytes(b"mine")
    for path in (tmp_path / "taken" / "file.bin", tmp_path / "taken" / "deeper" / "file.bin"):
        with pytest.raises(InputError, match=r"file\.bin: cannot be written \(.+\)"):
            write_atomically(path, b"new")
    assert list(tmp_path.iterdir()) == [tmp_path / "taken"]
    assert (tmp_path / "taken").read_bytes() == b"mine"


@pytest.mark.skipif(not UNWRITABLE.is_dir(), reason="no folder here that even the administrator cannot write to")
def test_a_folder_that_cannot_be_written_to_is_refused() -> None:
    for attempt in (require_writable, lambda path: write_atomically(path, b"new")):
        with pytest.raises(InputError, match=r"file\.bin: cannot be written \(.+\)"):
            attempt(UNWRITABLE / "file.bin")


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="folder: cannot be written"):
        write_atomically(tmp_path / "folder", b"new")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]
    assert not list((tmp_path / "folder").iterdir())


def test_a_link_stays_and_its_file_is_written(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    file, link, chain = tmp_path / "elsewhere" / "file.bin", tmp_path / "link", tmp_path / "chain"
    link.symlink_to("elsewhere/file.bin")
    chain.symlink_to(link)
    for path, content in ((link, b"made"), (chain, b"replaced")):
        require_writable(path)
        write_atomically(path, content)
        assert file.read_bytes() == content
    assert link.is_symlink()
    assert chain.is_symlink()
    assert list((tmp_path / "elsewhere").iterdir()) == [file]


@pytest.mark.skipif(not UNWRITABLE.is_dir(), reason="no folder here that even the administrator cannot write to")
def test_a_link_to_where_nothing_can_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(UNWRITABLE / "file.bin")
    for attempt in (require_writable, lambda path: write_atomically(path, b"new")):
        with pytest.raises(InputError, match=r"link: cannot be written \(.+\)"):
            attempt(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("name", ["pipe", "link"])
def test_a_pipe_is_written_into(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    require_writable(tmp_path / name)
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_atomically(tmp_path / name, b"new")
        assert os.read(reader, 10) == b"new"
    finally:
        os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
    assert {path.name for path in tmp_path.iterdir()} == {"pipe", "link"}


def test_a_socket_cannot_be_written_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        for attempt in (require_writable, lambda path: write_atomically(path, b"new")):
            with pytest.raises(InputError, match=r"socket: cannot be written \(.+\)"):
                attempt(Path("socket"))


def test_a_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        write_atomically(tmp_path / ("x" * 300), b"new")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_known_before_and_nothing_is_left(tmp_path: Path) -> None:
    require_writable(tmp_path / "made" / "deeper" / "file.bin")
    assert not list(tmp_path.iterdir())
    (tmp_path / "made").mkdir()
    (tmp_path / "taken").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"file\.bin: cannot be written"):
        require_writable(tmp_path / "taken" / "file.bin")
    with pytest.raises(InputError, match="made: is a folder"):
        require_writable(tmp_path / "made")
    with pytest.raises(InputError, match="/: is a folder"):
        require_writable(Path("/"))
    require_writable(tmp_path / "taken")
    assert (tmp_path / "taken").read_bytes() == b"mine"


def test_files_that_are_required(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"")
    require_file(tmp_path / "there")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    refused = {"nowhere": "no such file", "there/x": "no such file", "": "is a folder", "pipe": "not a regular file"}
    refused |= {"loop": "cannot be read", "x" * 300: r"cannot be read \(File name too long\)", "a\0b": "cannot be read"}
    for name, reason in refused.items():
        with pytest.raises(ArtifactError, match=reason):
            require_file(tmp_path / name)


def test_json_text_is_strict_and_sorted() -> None:
    assert json_text({"b": [1 / 3, None], "a": True}, "x") == '{"a": true, "b": [0.3333333333333333, null]}'
    for value in (math.nan, -math.inf, {1}, b"x", {(1, 2): 3}, object()):
        with pytest.raises(InputError, match="the thing is not plain JSON data"):
            json_text([value], "the thing")


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o007, 0o660)])
def test_new_files_have_what_the_umask_leaves_and_old_ones_what_they_had(umask: int, mode: int, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "old").chmod(0o604)
    before = os.umask(umask)
    try:
        write_together({tmp_path / name: b"new" for name in ("old", "new")})
    finally:
        os.umask(before)
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert found == {"old": 0o604, "new": mode}


def stand(folder: Path, *names: str) -> dict[str, bytes]:
    """Write files of an old set, and return what stands in the folder."""
    for name in names:
        (folder / name).write_bytes(f"old {name}".encode())
    return standing(folder)


def standing(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


SET = ("a", "b", "c")


@pytest.mark.parametrize("old", [(), ("a",), ("a", "b", "c"), ("c",), ("b", "c")], ids="".join)
@pytest.mark.parametrize("function", ["fsync", "replace", "hardlink_to"])
@pytest.mark.parametrize(
    "reason", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "Ctrl-C"]
)
def test_a_set_is_written_whole_or_not_at_all(
    old: tuple[str, ...], function: str, reason: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stand(tmp_path, *old)
    owner = os if function == "fsync" else Path
    real = getattr(owner, function)
    for failing in range(4):
        calls: list[int] = []

        def fail(*arguments: object, at: int = failing, calls: list[int] = calls) -> object:
            calls.append(1)
            if len(calls) == at + 1:
                raise reason
            return real(*arguments)

        with monkeypatch.context() as patched:
            patched.setattr(owner, function, fail)
            try:
                write_together({tmp_path / "new" / ".." / name: b"new" for name in SET})
            except (InputError, KeyboardInterrupt):
                assert standing(tmp_path) == before
                assert not (tmp_path / "new").exists()
                continue
        assert len(calls) <= failing or (function, type(reason)) == ("hardlink_to", OSError)
        assert standing(tmp_path) == dict.fromkeys(SET, b"new")
        return
    assert function != "fsync", "the fourth of three files cannot fail"


def test_files_of_two_folders_and_through_links_are_one_set(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "taken").mkdir()
    files = {tmp_path / "link": b"new", tmp_path / "x" / "y" / "z": b"new", tmp_path / "taken": b"new"}
    with pytest.raises(InputError, match="taken: cannot be written"):
        write_together(files)
    assert standing(tmp_path) == {"real": b"old", "link": b"old"}
    assert not (tmp_path / "x").exists()
    del files[tmp_path / "taken"]
    write_together(files)
    assert standing(tmp_path) == dict.fromkeys(("real", "link", "z"), b"new")
    assert (tmp_path / "link").is_symlink()


KILLED = """
import os, signal, sys
from pathlib import Path
from prunekit.files import write_together
real, at, calls = Path.replace, int(sys.argv[2]), []
def replace(self, target):
    calls.append(1)
    if len(calls) == at:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, target)
Path.replace = replace
write_together({Path(sys.argv[1]) / name: b"new" for name in "abc"})
"""


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_kill_never_leaves_a_mixed_set_with_its_last_file(at: int, tmp_path: Path) -> None:
    before = stand(tmp_path, *SET)
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(at)], check=False)
    assert done.returncode == -9
    found = {name: content for name, content in standing(tmp_path).items() if name in SET}
    assert "c" not in found or found == before


def test_a_name_of_full_length_can_be_written(tmp_path: Path) -> None:
    for name in ("x" * 255, "é" * 127):
        write_atomically(tmp_path / name, b"new")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_is_held_against_others_and_nothing_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with held(folder, traceless=True):
        with pytest.raises(InputError, match="b: another process is working in it"), held(folder, traceless=True):
            raise AssertionError
        with pytest.raises(InputError, match="b: another process is working in it"), held(folder):
            raise AssertionError
    assert not list(tmp_path.iterdir())
    with held(folder, traceless=True):
        (folder / "mine").write_bytes(b"")
    assert [path.name for path in folder.iterdir()] == ["mine"]
    with held(folder):
        pass
    assert {path.name for path in folder.iterdir()} == {"mine", ".lock"}


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="needs /dev/stdout")
def test_a_stream_that_is_a_file_is_written_to_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    write = "from pathlib import Path; from prunekit.files import write_atomically as w; w(Path('/dev/stdout'), b'it')"
    with log.open("a") as stream:
        subprocess.run([sys.executable, "-c", write], stdout=stream, check=True)
    assert log.read_text() == "before\nit"
