"""How one damaged file is read: in a folder of its own, with every import, write and command of the process noted."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import shutil
import sys
import traceback
import unicodedata
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import prunekit.cli.app as command_line
from fuzzing.inputs import Input
from fuzzing.storages import beyond
from fuzzing.targets import TARGETS, Target
from fuzzing.values import BAIT_FILE, BAIT_MODULE
from prunekit.cli import main
from prunekit.errors import PrunekitError

_COMMANDS = (
    *("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "pty.spawn", "socket.connect"),
    *("socket.bind", "socket.getaddrinfo", "urllib.Request", "ctypes.dlopen", "webbrowser.open"),
)
_CHANGES = (
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod", "os.truncate"),
    *("shutil.rmtree", "shutil.move", "shutil.copyfile"),
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_OWN = ("/proc/self/", "/dev/null")
_BIDIRECTIONAL = {chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
_TORCH = ("model", "torchscript", "sb3", "checkpoint", "torch")
LONG_TEXT = 400
_LATE = (
    *("encodings.latin_1", "encodings.ascii", "encodings.idna", "encodings.utf_8_sig", "encodings.utf_16"),
    *("encodings.utf_16_le", "encodings.utf_16_be", "encodings.utf_32", "encodings.utf_32_le", "encodings.utf_32_be"),
    *("torch._subclasses.schema_check_mode", "difflib", "numpy.ma"),
    *("onnx.reference.ops._op_list", "torch.utils.serialization.config", "torch.profiler._cupti_monitor"),
)
"""Modules that Python, torch and onnx import late, whatever a file says: they are there from the start."""


class Terminal(io.BytesIO):
    """What is printed on a terminal, from which nothing is left out as it would be from a file."""

    def isatty(self) -> bool:
        """Return that it is one."""
        return True


class Notes:
    """What the process was seen to do, while ``active``: Python's audit events, as far as a file may not cause them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.active = str(folder), False
        self.troubles: list[str] = []

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take note of an event; Python calls this for every one."""
        if not self.active:
            return
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & _WRITING and not self._own(path):
                self.troubles.append(f"write: opened {path!r}")
        elif event == "import":
            self.troubles.append(f"import: {arguments[0]}")
        elif event in _COMMANDS:
            self.troubles.append(f"command: {event} {str(arguments)[:100]}")
        elif event in _CHANGES and not self._own(arguments[0]):
            self.troubles.append(f"write: {event} {arguments[0]!r}")

    def _own(self, path: object) -> bool:
        if isinstance(path, int):
            return True
        text = os.path.abspath(os.fsdecode(path)) if isinstance(path, str | bytes | os.PathLike) else str(path)
        return text.startswith((self.folder + "/", *_OWN))


class Reader:
    """Reads damaged files in ``folder``, where nothing else may be; is made in the process that reads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes = Notes(folder)
        self.hooked = False

    def begin(self) -> None:
        """Enter a fresh folder; from now on this process is good for nothing else."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in ("work", "home", "tmp", "modules"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "outside.bin").write_bytes(bytes(4096))
        bait = f"open({str(self.folder / 'SPRUNG')!r}, 'w')\ndef make(*_): pass\nclass Thing: pass\n"
        (self.folder / "modules" / f"{BAIT_MODULE}.py").write_text(bait)
        sys.path.insert(0, str(self.folder / "modules"))
        os.environ |= {"HOME": str(self.folder / "home"), "TMPDIR": str(self.folder / "tmp")}
        os.environ |= {"XDG_CACHE_HOME": str(self.folder / "home" / "cache"), "COLUMNS": "120"}
        os.environ["TERM"] = "dumb"  # so that every escape on it is of the file
        os.chdir(self.folder / "work")
        said = os.open(self.folder / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(said, 1)
        os.dup2(said, 2)
        sys.addaudithook(self.notes)
        for name in _LATE:
            importlib.import_module(name)
        warnings.simplefilter("ignore")
        sys.dont_write_bytecode = True
        self.hooked = True

    def read(self, item: Input, *, strict: bool = True) -> dict[str, Any]:
        """Do with a file all that is done with its kind; what comes back is as ``fuzzing.watch.Read`` wants it."""
        if not self.hooked:
            self.begin()
        outcomes, troubles = [], list[str]()
        for name, target in TARGETS[item.sound.kind].items():
            path = self._lay(item)
            before = self._files()
            outcome, found = self._done(target, path, item)
            if outcome == "read" and name != "inspect":
                found += _claims(item)
            outcomes.append(f"{name}: {outcome}")
            own = path.parents[1] if item.sound.kind == "checkpoint" else path.parent
            strange = sorted(one for one in self._files() - before if not self._expected(one, own, item))
            found += [f"write: left {one}" for one in strange[:5]] if strict else []
            troubles += [f"{name}: {one}" for one in found]
            if strange:
                self._clear()
        worst = "trouble" if troubles else "read" if any(one.endswith(": read") for one in outcomes) else "refused"
        return {"outcome": worst, "troubles": troubles[:8], "outcomes": outcomes}

    def _lay(self, item: Input) -> Path:
        """Put the damaged file and what belongs to it into the working directory."""
        work = self.folder / "work"
        shutil.rmtree(work / "run", ignore_errors=True)
        for name, content in item.sound.files.items():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            (work / name).write_bytes(item.content if name == item.sound.subject else content)
        for extra in work.iterdir():
            if extra.is_file() and extra.name not in item.sound.files:
                extra.unlink()
        return work / item.sound.subject

    def _files(self) -> set[str]:
        """Return all files and folders below the folder, and the bait at places where no test folder is."""
        found = {f"{root}/{name}" for root, folders, files in os.walk(self.folder) for name in (*folders, *files)}
        return found | {path for path in (f"/tmp/{BAIT_FILE}",) if os.path.exists(path)}

    def _expected(self, path: str, own: Path, item: Input) -> bool:
        """Whether a run that goes on may have written this."""
        resumes = item.sound.kind in ("checkpoint", "config")
        names = ("metrics.csv", ".lock", "tensorboard", "config.json", "checkpoint")
        inside = resumes and path.startswith(f"{own}/")
        return inside and path[len(str(own)) + 1 :].split("/")[0] in names

    def _clear(self) -> None:
        for name in ("work", "home", "tmp"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / name).mkdir()
        os.chdir(self.folder / "work")
        for path in (self.folder / "SPRUNG", self.folder / BAIT_FILE, Path(f"/tmp/{BAIT_FILE}")):
            path.unlink(missing_ok=True)

    def _done(self, target: Target, path: Path, item: Input) -> tuple[str, list[str]]:
        """Return what came of one target, and what was wrong with that."""
        raised: list[BaseException] = []

        def command(*_: object, **__: object) -> None:
            try:
                target(path, item.sound)
            except BaseException as error:
                raised.append(error)
                raise

        self.notes.troubles, said = [], Terminal()
        code = 0
        with _printed_into(said):
            self.notes.active = True
            try:
                _as_command(command)
            except SystemExit as stop:
                code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
            except Exception as error:
                raised.append(error)
                code = -1
            finally:
                self.notes.active = False
        troubles = [*dict.fromkeys(self.notes.troubles)]
        troubles += _wrong_words(said.getvalue().decode(errors="surrogateescape"), code)
        strange = [error for error in raised if not isinstance(error, PrunekitError)]
        troubles += [f"exception: {_described(error)}" for error in strange]
        return ("read" if code == 0 else "refused"), troubles


def _claims(item: Input) -> list[str]:
    """Return what an accepted file claims beyond what it holds."""
    content = item.content
    if item.sound.container == "sb3":
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                content = archive.read("policy.pth")
        except Exception:  # what this module cannot read, it cannot judge
            return []
    claim = beyond(content) if item.sound.container in _TORCH else None
    return [] if claim is None else [f"memory that is not the file's: {claim}"]


def _as_command(command: Any) -> None:
    """Run ``command`` where the command line runs its own, so that errors are printed as users see them."""
    app, arguments = command_line.app, sys.argv
    command_line.app, sys.argv = command, ["prunekit", "command"]
    try:
        main()
    finally:
        command_line.app, sys.argv = app, arguments


@contextlib.contextmanager
def _printed_into(said: io.BytesIO) -> Iterator[None]:
    """Take what is printed, as a terminal of UTF-8 would get it."""
    stream = io.TextIOWrapper(said, encoding="utf-8", errors="backslashreplace", write_through=True)
    before = sys.stdout, sys.stderr
    sys.stdout = sys.stderr = stream
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        with contextlib.suppress(ValueError):
            stream.detach()


def _wrong_words(said: str, code: int) -> list[str]:
    """Return what is wrong with what was printed: control characters, and errors that are not one clear line."""
    troubles = []
    strange = {one for one in said if one != "\n" and (unicodedata.category(one) == "Cc" or one in _BIDIRECTIONAL)}
    if strange:
        troubles.append(f"printed: control characters {sorted(map(ascii, strange))}: {ascii(said)[:LONG_TEXT]}")
    if code not in (0, 1, 2):
        troubles.append(f"exit code: {code}")
    if "internal error" in said:
        troubles.append(f"printed: {ascii(said)[:LONG_TEXT]}")
    elif code in (1, 2) and said.strip().count("\n"):
        troubles.append(f"printed: more than one line: {ascii(said)[:LONG_TEXT]}")
    elif code in (1, 2) and len(said) > 4000:
        troubles.append(f"printed: a line of {len(said)} characters")
    return troubles


def _described(error: BaseException) -> str:
    """Return type, text and place of an exception."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/prunekit/" in frame.filename] or list(frames)
    place = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "?"
    return f"{type(error).__name__} at {place}: {ascii(str(error))[:LONG_TEXT]}"
