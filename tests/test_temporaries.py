"""Temporary files: none outlives a later write of the same file, and none is taken from a process that uses it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from prunekit.files import write_atomically, write_together
from prunekit.temporaries import LOCKS, names_beside, remove_left

pytestmark = pytest.mark.skipif(not LOCKS, reason="files cannot be locked here")

STOPPED = """
import os, sys
from pathlib import Path
from prunekit.files import write_together
folder, owner, name, at = Path(sys.argv[1]), *sys.argv[2:4], int(sys.argv[4])
owner, calls = {"os": os, "Path": Path}[owner], []
real = getattr(owner, name)
def stop(*arguments):
    calls.append(1)
    if len(calls) == at:
        print("there", flush=True)
        sys.stdin.readline()
    return real(*arguments)
setattr(owner, name, stop)
write_together({folder / name: b"the child's" for name in sys.argv[5:]})
"""


def stopped_inside(folder: Path, owner: str, name: str, at: int, *files: str) -> subprocess.Popen[str]:
    """Return a process that stops before the call number ``at`` of a function while it writes ``files``."""
    words = [sys.executable, "-c", STOPPED, str(folder), owner, name, str(at), *files]
    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "there\n"
    return child


def end(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.communicate()


def standing(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(("function", "at"), [("fsync", 1), ("fsync", 2), ("replace", 1), ("replace", 2)])
def test_what_a_killed_write_left_goes_with_the_next_one(function: str, at: int, tmp_path: Path) -> None:
    write_together({tmp_path / name: b"old" for name in "ab"})
    end(stopped_inside(tmp_path, "os" if function == "fsync" else "Path", function, at, "a", "b"))
    assert len(list(tmp_path.iterdir())) > 2
    write_together({tmp_path / name: b"new" for name in "ab"})
    assert standing(tmp_path) == dict.fromkeys("ab", b"new")


def test_a_new_file_of_full_length(tmp_path: Path) -> None:
    name = "é" * 127
    end(stopped_inside(tmp_path, "os", "fsync", 1, name))
    write_atomically(tmp_path / name, b"new")
    assert list(standing(tmp_path)) == [name]


@pytest.mark.parametrize(("owner", "name"), [("os", "fsync"), ("Path", "replace")])
def test_what_a_process_is_writing_is_not_removed(owner: str, name: str, tmp_path: Path) -> None:
    write_together({tmp_path / name: b"old" for name in "ab"})
    child = stopped_inside(tmp_path, owner, name, 2, "a", "b")
    write_together({tmp_path / name: b"new" for name in "ab"})
    assert len(list(tmp_path.iterdir())) > 2
    _, _ = child.communicate("\n")
    assert child.returncode == 0
    assert standing(tmp_path) == dict.fromkeys("ab", b"the child's")


def test_only_regular_files_with_our_names_are_removed(tmp_path: Path) -> None:
    target, elsewhere = tmp_path / "model.pt", tmp_path / "elsewhere"
    elsewhere.write_bytes(b"mine")
    (link, folder), (ours, _) = names_beside(target), names_beside(target)
    link.symlink_to(elsewhere)
    folder.mkdir()
    os.mkfifo(names_beside(target)[0])
    ours.write_bytes(b"left")
    token = "0123456789ab"
    kept = [f".model.pt.{token}", f".model.pt.{token}.prunekit-new~", f".model.pt.{token}0.prunekit-new"]
    kept += [f".model.pt.{token.upper()}.prunekit-new", f"model.pt.{token}.prunekit-new", f".x.{token}.prunekit-new"]
    for name in kept:
        (tmp_path / name).write_bytes(b"mine")
    before = {path.name for path in tmp_path.iterdir()}
    remove_left(target)
    remove_left(target, old=True)
    assert {path.name for path in tmp_path.iterdir()} == before - {ours.name}
    assert elsewhere.read_bytes() == b"mine"


def test_ctrl_c_after_the_last_rename_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_together({tmp_path / name: b"old" for name in "ab"})
    real, calls = Path.replace, []

    def interrupt(source: Path, target: Path) -> Path:
        found = real(source, target)
        calls.append(1)
        if len(calls) == 3:  # the last file away, then both into their places
            raise KeyboardInterrupt
        return found

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_together({tmp_path / name: b"new" for name in "ab"})
    assert standing(tmp_path) == dict.fromkeys("ab", b"old")
