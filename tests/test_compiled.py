"""What is kept is compiled code that will run: it is believed only where nobody else could have written it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from prunekit import compiled
from prunekit.compiled import cache_folder, made_once, private_folder

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only the administrator can give files to another user")


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_folder() / "native" / "key" / "policy.so"


@pytest.fixture
def get(kept: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], tuple[bytes, bool]]:
    """Return what asks for the file as a new process would: its content, and whether it was made anew."""
    count = 0

    def call() -> tuple[bytes, bool]:
        nonlocal count
        count += 1
        own, made = tmp_path / f"process-{count}", []
        monkeypatch.setattr(compiled, "private_folder", lambda: own)

        def make(folder: Path) -> Path:
            made.append(folder)
            (folder / "made").write_bytes(b"good")
            return folder / "made"

        found = made_once(kept, make)
        assert found.is_relative_to(own), "what is used must lie where nobody else can exchange it"
        return found.read_bytes(), bool(made)

    return call


Get = Callable[[], tuple[bytes, bool]]


def test_a_file_is_made_once_and_is_this_user_s_alone(kept: Path, get: Get) -> None:
    assert get() == (b"good", True)
    assert get() == (b"good", False)
    for path in (kept, kept.parent, cache_folder()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


@pytest.mark.parametrize(
    "damage", [lambda old: b"", lambda old: old[: len(old) // 2], lambda old: b"evil" + old[4:], lambda old: old + b"x"]
)
def test_what_is_damaged_is_made_anew(damage: Callable[[bytes], bytes], kept: Path, get: Get) -> None:
    get()
    kept.write_bytes(damage(kept.read_bytes()))
    assert get() == (b"good", True)
    assert get() == (b"good", False)


def forged(content: bytes = b"evil") -> bytes:
    return content + compiled.hashlib.sha256(content).digest()


@needs_root
def test_what_another_user_owns_is_not_believed(kept: Path, get: Get) -> None:
    for own in (kept, kept.parent, cache_folder()):
        get()
        kept.write_bytes(forged())
        os.chown(own, NOBODY, NOBODY)
        assert get() == (b"good", True)
        if own == kept:
            assert get() == (b"good", False), "a file in a folder of one's own is replaced"
        assert kept.stat().st_uid == (0 if own == kept else kept.stat().st_uid)
        os.chown(own, 0, 0)


@pytest.mark.parametrize("mode", [0o707, 0o770, 0o720, 0o702])
def test_what_others_can_write_is_not_believed_and_mended(mode: int, kept: Path, get: Get) -> None:
    for own in (kept, kept.parent, kept.parents[1], cache_folder()):
        get()
        kept.write_bytes(forged())
        own.chmod(mode)
        assert get() == (b"good", True), own
        assert get() == (b"good", False), own


def test_a_link_is_not_followed(kept: Path, get: Get, tmp_path: Path) -> None:
    get()
    (tmp_path / "evil").write_bytes(forged())
    kept.unlink()
    kept.symlink_to(tmp_path / "evil")
    assert get() == (b"good", True)
    assert (tmp_path / "evil").read_bytes() == forged()
    assert not kept.is_symlink()
    kept.unlink()
    os.mkfifo(kept)
    assert get() == (b"good", True)
    assert get() == (b"good", False)
    folder = kept.parent
    folder.rename(tmp_path / "moved")
    folder.symlink_to(tmp_path / "moved")
    assert get() == (b"good", True)
    assert get() == (b"good", True), "a folder that is a link is left alone"


@pytest.mark.parametrize("place", ["/proc/self", "file"])
def test_a_cache_that_cannot_be_written_is_done_without(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / place))

    def make(folder: Path) -> Path:
        (folder / "made").write_bytes(b"good")
        return folder / "made"

    assert made_once(cache_folder() / "native" / "policy.so", make).read_bytes() == b"good"
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_without_a_home_there_is_a_folder_for_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setattr(Path, "home", none)
    assert cache_folder().is_relative_to(private_folder())


def test_the_private_folder_is_private_and_goes(tmp_path: Path) -> None:
    code = (
        "import os; from prunekit.compiled import private_folder as p; print(p(), oct(p().stat().st_mode)[-3:]); "
        "pid = os.fork(); pid or exit(); os.waitpid(pid, 0); assert p().is_dir()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.split()[1] == "700"
    assert Path(done.stdout.split()[0]).parent == tmp_path
    assert not list(tmp_path.iterdir())
