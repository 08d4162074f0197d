"""Rules for the files of every command: what is read is never written over, no two outputs are one file, and no file
of another program is replaced.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from prunekit.errors import InputError
from prunekit.files import is_written_into, require_writable

# What prunekit writes into its files, by the end of their names; .json is a certificate.
_MARKS = {
    ".onnx": b"prunekit.",
    ".pt": b"prunekit.model",
    ".json": b'"certifi',
    ".h": b"Written by prunekit",
    ".properties": b"author=prunekit",
    ".html": b"Written by prunekit",
}
_PART = 2**22
_FILE_SUFFIXES = (".onnx", ".pt", ".pth", ".zip", ".c", ".h", ".json", ".html", ".md", ".csv", ".toml")


def require_apart(
    read: Iterable[Path | None],
    written: Sequence[Path],
    json_file: Path | None = None,
    folders: Sequence[Path] = (),
) -> None:
    """Raise InputError, naming the file, unless a command may write all that it is about to write.

    ``read`` are the files that it reads (None and what is not there are passed over), ``written`` those that it writes,
    ``json_file`` the one of ``--json``, and ``folders`` those that it fills with files of its own. Everything must be
    writable, nothing may be a file that is read or another one that is written, also through links, and none may lie in
    one of ``folders`` or below a file. A device or a pipe is no file, and may be written to by all.
    """
    inputs = [path for path in read if path is not None and path.exists()]
    outputs = [*written, *([] if json_file is None else [json_file])]
    for number, path in enumerate(outputs):
        require_writable(path)
        if is_written_into(path):
            continue
        if any(_same(path, other) for other in inputs):
            raise InputError(f"{path}: is read here and would be overwritten; name another place with `out` or `json`")
        option = "`json`" if path is json_file else "`out`"
        for other in (*outputs[:number], *folders):
            if _same(path, other):
                raise InputError(f"{path}: is already written by this command; name another file with {option}")
            if _below(path, other) or _below(other, path):
                raise InputError(f"{path}: conflicts with {other}, which is written too; name another with {option}")


def require_not_foreign(written: Iterable[Path]) -> None:
    """Raise InputError, naming the file, if one of ``written`` exists and was not written by prunekit.

    This is for files whose names a command chose. A user who names a file knows what is in it. Pictures and C sources
    have no mark of prunekit, so they are not looked at.
    """
    for path in written:
        if path.suffix in _MARKS and path.is_file() and not is_written_into(path) and not _is_marked(path):
            raise InputError(
                f"{path}: was not written by prunekit and would be overwritten; move it, or name another place with "
                "`out`"
            )


def require_folder(path: Path) -> None:
    """Raise InputError, naming ``path``, if it is a file, or if it has the name of one and no folder has it yet."""
    if path.is_dir():
        return
    if path.exists():
        raise InputError(f"{path}: is a file, but a folder is needed to write into; name one")
    if path.suffix.lower() in _FILE_SUFFIXES:
        raise InputError(
            f"{path}: is the name of a file, but a folder is needed to write into; name one, such as {path.stem}"
        )


def _is_marked(path: Path) -> bool:
    mark, before = _MARKS[path.suffix], b""
    try:
        with path.open("rb") as file:
            while part := file.read(_PART):
                if mark in before + part:
                    return True
                before = part[-len(mark) :]
    except OSError as error:
        raise InputError(f"{path}: would be overwritten, and cannot be read ({error.strerror}); move it") from error
    return False


def _same(one: Path, other: Path) -> bool:
    """Return whether two paths lead to one file, which need not be there yet."""
    if one.exists() and other.exists():
        return one.samefile(other)
    return _place(one) == _place(other)


def _below(one: Path, other: Path) -> bool:
    return _place(other) in _place(one).parents


def _place(path: Path) -> Path:
    return Path(os.path.realpath(path))
