"""What a command reads is never written over, and no two of its outputs are one file: one rule for all commands."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from onnx import numpy_helper

from prunekit import InputError
from prunekit.outputs import require_apart, require_folder, require_not_foreign

Run = Callable[..., tuple[int, str, str]]
MODEL = Path(__file__).parents[1] / "models" / "CartPole-v1-ppo" / "compact.pt"


def test_what_is_read_is_not_written_under_any_name(tmp_path: Path) -> None:
    read, folder = tmp_path / "in", tmp_path / "folder"
    read.write_bytes(b"mine")
    folder.mkdir()
    (tmp_path / "symbolic").symlink_to("in")
    (tmp_path / "chain").symlink_to("symbolic")
    os.link(read, tmp_path / "hard")
    (tmp_path / "same").symlink_to(tmp_path)
    names = ("in", "symbolic", "chain", "hard", "folder/../in", "same/in")
    for name in names:
        for written, json_file in (([tmp_path / name], None), ([], tmp_path / name)):
            with pytest.raises(InputError, match=r"is read here and would be overwritten; .*`out` or `json`$"):
                require_apart([None, tmp_path / "nowhere", read], written, json_file)
    assert read.read_bytes() == b"mine"
    require_apart([read], [tmp_path / "out"], tmp_path / "result.json")


def test_files_of_other_programs_are_not_replaced(tmp_path: Path) -> None:
    own, foreign = tmp_path / "own.pt", tmp_path / "foreign.pt"
    shutil.copy(MODEL, own)
    shutil.copy(MODEL.with_suffix(".onnx"), tmp_path / "own.onnx")
    torch.save({"weight": torch.zeros(2)}, foreign)
    (tmp_path / "certificate.json").write_text('{"certified": false}')
    (tmp_path / "kept.c").write_text("int main(void);")
    (tmp_path / "settings.json").write_text("{}")
    (tmp_path / "large.onnx").write_bytes(b"." * (2**22 - 4) + b"prunekit.sizes")  # across two parts
    names = ("own.pt", "own.onnx", "certificate.json", "nowhere.onnx", "large.onnx", ".")
    require_not_foreign(tmp_path / name for name in names)
    require_not_foreign([tmp_path / "kept.c"])  # C sources and pictures have no mark
    require_not_foreign([Path("/dev/null")])
    for name in ("foreign.pt", "settings.json"):
        with pytest.raises(InputError, match=rf"{name}: was not written by prunekit and would be overwritten; move it"):
            require_not_foreign([tmp_path / "new.onnx", tmp_path / name])
    with pytest.raises(InputError, match=r"foreign\.pt: was not written"):
        require_not_foreign([own, foreign])


def test_a_folder_does_not_have_the_name_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "x.c").touch()
    (tmp_path / "old.onnx").mkdir()
    for name in ("new", "run.v1", "old.onnx"):
        require_folder(tmp_path / name)
    with pytest.raises(InputError, match=r"x\.c: is a file, but a folder is needed to write into; name one"):
        require_folder(tmp_path / "x.c")
    with pytest.raises(InputError, match=r"y\.ONNX: is the name of a file, .*; name one, such as y$"):
        require_folder(tmp_path / "y.ONNX")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["export"], "compact.onnx"),
        (["export", "--format", "c"], "compact.h"),
        (["export", "--format", "c", "--arduino"], "Compact/library.properties"),
        (["export", "--card"], "compact-card/policy.pt"),
        (["shrink"], "compact.compact.pt"),
        (["compress"], "compact-compressed/policy.onnx"),
        (["compress"], "compact-compressed/not-certified/certificate.json"),
    ],
)
def test_no_command_replaces_a_file_of_another_program(words: list[str], name: str, tmp_path: Path, run: Run) -> None:
    model, mine = tmp_path / "compact.pt", tmp_path / name
    shutil.copy(MODEL, model)
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("mine")
    code, out, err = run(words[0], model, *words[1:])
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"{mine}: was not written by prunekit and would be overwritten" in err
    assert mine.read_text() == "mine"
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path not in (model, mine)] == []


def test_a_page_of_another_program_is_kept(tmp_path: Path, run: Run) -> None:
    (tmp_path / "report.html").write_text("mine")
    (tmp_path / "certificate.json").write_text("{}")
    code, _, err = run("report", tmp_path)
    assert (code, "report.html: was not written by prunekit" in err) == (2, True)
    assert (tmp_path / "report.html").read_text() == "mine"


def test_an_export_writes_its_own_files_again(tmp_path: Path, run: Run) -> None:
    shutil.copy(MODEL, tmp_path / "p.pt")
    for words in ([], ["--format", "c"], ["--format", "c", "--arduino"], ["--card"], ["--out", tmp_path / "n.onnx"]):
        for _ in range(2):
            assert run("export", tmp_path / "p.pt", "-q", *words) == (0, "", "")
    assert (tmp_path / "n.onnx").read_bytes() == (tmp_path / "p.onnx").read_bytes()
    (tmp_path / "n.onnx").write_text("named by the user")
    assert run("export", tmp_path / "p.pt", "-q", "--out", tmp_path / "n.onnx") == (0, "", "")


def test_out_of_commands_is_a_folder(tmp_path: Path, run: Run) -> None:
    shutil.copy(MODEL, tmp_path / "p.pt")
    for words in (["export", "--format", "c"], ["export", "--card"], ["shrink"], ["compress"]):
        code, out, err = run(words[0], tmp_path / "p.pt", *words[1:], "--out", tmp_path / "small.onnx")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "small.onnx: is the name of a file, but a folder is needed" in err
    assert [path.name for path in tmp_path.iterdir()] == ["p.pt"]


def test_two_outputs_are_two_files(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"")
    (tmp_path / "link").symlink_to("new")
    (tmp_path / "same").symlink_to(tmp_path)
    pairs = [
        ("there", "there"),
        ("new", "new"),
        ("link", "new"),
        ("new", "link"),
        ("same/new", "new"),
        ("new", "a/../new"),
    ]
    for first, second in pairs:
        with pytest.raises(InputError, match=r"is already written by this command; name another file with `json`$"):
            require_apart([], [tmp_path / first], tmp_path / second)
    for first, second in (("new", "new/deeper"), ("new/deeper", "new")):
        with pytest.raises(InputError, match=r"conflicts with .*new.*`json`$"):
            require_apart([], [tmp_path / first], tmp_path / second)
    with pytest.raises(InputError, match=r"conflicts with .*checkpoint.*`json`$"):
        require_apart([], [], tmp_path / "checkpoint" / "x.json", [tmp_path / "checkpoint"])
    require_apart([], [tmp_path / "there", tmp_path / "new"], tmp_path / "result.json", [tmp_path / "checkpoint"])


def test_a_device_or_a_pipe_takes_what_it_is_given(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path(os.devnull)):
        require_apart([MODEL], [path], path)


@pytest.mark.parametrize(
    "words",
    [
        "inspect m.pt --json m.pt",
        "inspect m.onnx --json m.onnx",
        "inspect beside.onnx --json w.data",
        "bench m.onnx beside.onnx --json w.data",
        "compress beside.onnx --json w.data",
        "bench m.pt --json m.pt",
        "bench m.onnx m.pt --json link.pt",
        "shrink m.pt --json m.pt",
        "shrink m.pt --json hard.pt",
        "shrink m.pt --json m.compact.pt",
        "shrink m.pt --json m.compact.onnx",
        "shrink m.pt --out new --json new/m.compact.onnx",
        "shrink m.pt --out new --json new/m.compact.pt/x",
        "shrink m.pt --out new --json new",
        "export m.pt --json m.pt",
        "export m.pt --json other/../m.pt",
        "export m.pt --json m.onnx",
        "export m.pt --format c --json m.h",
        "export m.pt --format c --json m.c",
        "export m.pt --format c --arduino --json M/src/m.c",
        "export m.pt --format c --arduino --json M/library.properties",
        "compress m.pt --json m.pt",
        "compress m.pt --json m-compressed/policy.onnx",
        "compress m.pt --json m-compressed/frontier.svg",
        "compress m.pt --out new --json new/not-certified/certificate.json",
        "compress m.pt --out new --json new",
        "compress policy.pt --out .",
        "compress not-certified/policy.onnx --out . --env CartPole-v1",
        "compress a.zip --json vec_normalize.pkl",
        "compress a.zip --normalizer n.pkl --json n.pkl",
        *(f"train --out run --json run/{name}" for name in ("model.pt", "agent.zip", "config.json", "metrics.csv")),
        *(f"train --out run --json run/{name}" for name in (".lock", "vec_normalize.pkl", "checkpoint", "tensorboard")),
        *(f"train --out run --json run/{name}" for name in ("checkpoint/1.pt", "tensorboard/x", "model.pt/x", "")),
    ],
)
def test_no_command_writes_over_what_it_reads_or_writes(
    words: str, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other").mkdir()
    Path("not-certified").mkdir()
    for name in ("m.pt", "policy.pt"):
        shutil.copy(MODEL, name)
    for name in ("m.onnx", "not-certified/policy.onnx"):
        shutil.copy(MODEL.with_suffix(".onnx"), name)
    model = onnx.load("m.onnx")
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
    onnx.save(model, "beside.onnx", save_as_external_data=True, location="w.data", size_threshold=0)
    Path("link.pt").symlink_to("m.pt")
    os.link("m.pt", "hard.pt")
    for name in ("a.zip", "vec_normalize.pkl", "n.pkl"):
        Path(name).write_bytes(b"mine")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    code, out, err = run(*words.split())
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert words.split()[-1].rstrip("/") in err or "policy" in err
    assert "name another" in err
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before
    assert not Path("new").exists()
    assert not Path("run").exists()
