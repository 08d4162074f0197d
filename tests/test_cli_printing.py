"""What the command line prints: nothing of a file reaches the terminal as it is, and no print costs a result."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from prunekit.cli.streams import SteadyStream
from prunekit.console import printable
from prunekit.policy.artifact import load, save, with_provenance

Run = Callable[..., tuple[int, str, str]]
MODEL = Path(__file__).parents[1] / "models" / "CartPole-v1-ppo" / "compact.pt"
EVIL = "\x1b]0;title\x07[red]\r\b\n\x9b31m\u202eabc\u2066\ud800[/x]\u200b"
PRUNEKIT = [sys.executable, "-m", "prunekit"]


def test_what_is_printable_says_what_stands_there() -> None:
    assert printable("héé モデル [red] ~") == "héé モデル [red] ~"
    assert printable("\x1b[31m\r\n\x7f\x9b") == "\\x1b[31m\\r\\n\\x7f\\x9b"
    assert printable("\u202e\u2066\u200b\u2028\ufeff\xad") == "\\u202e\\u2066\\u200b\\u2028\\ufeff\\xad"
    assert printable(Path(os.fsdecode(b"\xff"))) == "\\udcff"
    assert printable("\U000e0041") == "\\U000e0041"
    assert printable(EVIL).isprintable()


def evil_model(folder: Path) -> Path:
    """Write a model whose every word is hostile, in a file of a hostile name."""
    path = folder / f"{EVIL.replace(chr(0xD800), chr(0xDCFF)).replace('/', '')}.pt"
    text = EVIL.replace("\ud800", "")  # half a character is refused when it is written
    artifact = with_provenance(load(MODEL), note=text, versions={text: text}, algorithm=[text])
    artifact = replace(artifact, provenance={**artifact.provenance, "odd" + "_key": text})
    save(artifact, path)
    return path


@pytest.mark.parametrize(
    "words",
    [
        ["inspect"],
        ["export"],
        ["export", "--format", "c", "--name", "p"],
        ["shrink"],
        ["bench", "--episodes", "1"],
        ["bench", "--episodes", "1", "--env", EVIL],
        ["bench", "--device", EVIL],
        ["bench", "--part", EVIL],
        ["compress", "--env", EVIL],
        ["compress", "--output", EVIL],
        ["train", "--algo", EVIL],
        ["train", "--hidden", EVIL],
        ["train", "--lr-schedule", EVIL],
        ["export", "--format", EVIL],
        ["export", "--format", "c", "--name", EVIL],
        [EVIL],
        ["inspect", f"--{EVIL}"],
    ],
    ids=lambda words: " ".join(words).replace(EVIL, "EVIL"),
)
@pytest.mark.parametrize("terminal", ["1", ""])
def test_nothing_hostile_reaches_the_terminal(
    words: list[str], terminal: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", terminal)
    monkeypatch.setenv("COLUMNS", "400")
    model = [] if words[0] in ("train", EVIL) else [evil_model(tmp_path)]
    code, out, err = run(*words[:1], *model, *words[1:])
    assert code in (0, 2)
    own = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # rich's own colours and cursor movements
    for text in (own.sub("", out), err):
        assert all(char.isprintable() or char in "\n\r" for char in text), ascii(text)
        assert "\x1b" not in text
    assert "31m" not in "".join(own.findall(out))
    if code == 2:
        assert err.count("\n") == 1
        assert "\r" not in err


def test_an_entry_whose_name_is_markup_is_refused(run: Run, tmp_path: Path) -> None:
    data = torch.load(MODEL, weights_only=True)
    data["provenance"]["[/x]"] = 1
    torch.save(data, tmp_path / "m.pt")
    code, _, err = run("inspect", tmp_path / "m.pt")
    assert (code, err.count("\n")) == (2, 1)
    assert "'[/x]'" in err


def shell(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(MODEL, folder / "m.pt")
    command = command.replace("prunekit", " ".join(PRUNEKIT), 1)
    given = {**os.environ, **environment}
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=given, capture_output=True, text=True, errors="replace", check=False
    )


FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


@FULL
def test_a_full_disk_behind_the_output_costs_no_result(tmp_path: Path) -> None:
    done = shell("prunekit shrink m.pt --json j >/dev/full", tmp_path)
    assert done.returncode == 0
    assert done.stderr == "prunekit: note: standard output could not be written (No space left on device)\n"
    assert json.loads((tmp_path / "j").read_text())


@FULL
def test_a_result_that_is_lost_is_told(tmp_path: Path) -> None:
    done = shell("prunekit inspect m.pt >/dev/full", tmp_path)
    assert done.returncode == 2
    lost = "the result could not be printed (No space left on device) and is lost; name a file for it with --json"
    assert done.stderr == f"prunekit: {lost}\n"


@pytest.mark.parametrize(
    "words",
    [
        "inspect m.pt --json j | true",
        "inspect m.pt --json j >&- 2>&- <&-",
        "train --dense --algo ppo --steps 256 --hidden 4 --out run --json j | true",
    ],
)
def test_an_output_that_nobody_reads_costs_nothing(words: str, tmp_path: Path) -> None:
    done = shell(f"prunekit {words}; exit ${{PIPESTATUS[0]}}", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((tmp_path / "j").read_text())
    assert load(tmp_path / "m.pt").provenance == load(MODEL).provenance


@FULL
def test_an_error_that_cannot_be_printed_keeps_its_code(tmp_path: Path) -> None:
    assert shell("prunekit inspect nowhere.pt 2>/dev/full >/dev/full", tmp_path).returncode == 2


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
def test_what_an_encoding_lacks_is_replaced(encoding: str, tmp_path: Path) -> None:
    folder = tmp_path / "モデル"
    folder.mkdir()
    shutil.copy(MODEL, folder)
    code = "from prunekit.cli import main; import sys\n"
    code += "for words in (['inspect'], ['export'], ['export', '--format', 'c'], ['shrink']):\n"
    code += "    sys.argv = ['prunekit', *words, 'モデル/compact.pt']\n"
    code += "    try: main()\n    except SystemExit as stop: assert not stop.code, words\n"
    given = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=given, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode(encoding).count("???/compact") == 6


def test_warnings_of_libraries_are_spelled_out(capsys: pytest.CaptureFixture[str]) -> None:
    stream = SteadyStream(sys.stderr, escaped=True)
    Console(file=stream).print("one\x1b]0;x\x07")  # type: ignore[arg-type]
    assert capsys.readouterr().err == "one\\x1b]0;x\n"
