"""Every option of every command with words that it cannot take: one line that names the culprit, and exit code 2."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]
MODEL = str(Path(__file__).parents[1] / "models" / "CartPole-v1-ppo" / "compact.pt")
SWEEP = str(Path(__file__).parents[1] / "benchmarks" / "sweeps" / "off_policy.toml")
BIG = ["4294967296", "1000000000000", str(10**30), "9" * 5000]
FLOATS = ["", "nan", "inf", "-inf", "-1", "x", "1e400"]
RANGES = ["", "1", "1,2,3", "x,y", "2,1", "1,1", "nan,1", "0,inf", "-1.7e308,1.7e308", "\udcff", "9" * 5000]
NOT_POSITIVE = ["", "0", "-1", "1.5", "nan", "inf", "x", *BIG[2:]]
PATHS = ["", "/", "/proc/nothing/x", "x" * 300, "y/" * 3000 + "z", "a\0b", "file/x"]
NAMES = ["", "nan", "a\0b", "\udcff", "x" * 300, "[red]", "\x1b[31m"]
ENVIRONMENTS = [*NAMES, " ", "::", ":", "a:b:c", "./x", "x/y.py:Env-v0", ".:CartPole-v1", "..x:CartPole-v1", "a b:C-v1"]
WEIGHTS = {option: ["", ",", "elu", "a.0"] for option in ("--layers", "--activation", "--head", "--path")}
DISTURBED = {
    "--noise": [*FLOATS, "obs=-1", "action=2", "wind=1", "0.1,0.1"],
    "--delay": ["", "-1", "1.5", "nan", "x", *BIG[1:]],
    "--drop": [*FLOATS, "1"],
    "--randomize": PATHS,
}
COMMANDS: dict[str, tuple[list[str], dict[str, list[str]]]] = {
    "train": (
        ["--out", "/proc/nothing/run"],
        {
            "--env": ENVIRONMENTS,
            "--algo": NAMES,
            "--steps": ["", "0", "-1", "1.5", "nan", "inf", "x"],
            "--sparsity": FLOATS,
            "--budget": FLOATS,
            "--penalty": FLOATS,
            "--max-divergence": [*FLOATS, "0"],
            "--reconstruction": ["", "-1", "1.5", "nan", "x", *BIG],
            "--hidden": ["", "0", "-1", "1,,2", "x", "1.5", "1000000000", "1000000000,1000000000", "9" * 5000,
                         "65536,65536", ",".join(["4096"] * 9)],
            "--lr-schedule": NAMES,
            "--checkpoint-every": NOT_POSITIVE,
            "--seed": ["", "-1", "1.5", "nan", "x", *BIG],
            "--out": PATHS,
            "--json": PATHS,
        },
    ),
    "shrink": (
        [MODEL],
        {
            **WEIGHTS,
            "--normalizer": PATHS,
            "--output": NAMES,
            "--inputs": [*NOT_POSITIVE, *BIG],
            "--out": [path for path in PATHS if path != "/"],
            "--json": PATHS,
        },
    ),
    "compress": (
        [MODEL, "--out", "out"],
        {
            **WEIGHTS,
            "--env": ENVIRONMENTS,
            "--keep": [*FLOATS, "0", "1.01"],
            "--range": RANGES,
            "--max-failures": [*FLOATS, "0", "1", "0.001"],
            "--normalizer": PATHS,
            "--output": NAMES,
            "--minutes": [*FLOATS, "0", "1e300"],
            "--steps": ["", "0", "-1", "1.5", "nan", "inf", "x", "1000000000001", "9" * 30, "9" * 5000],
            **DISTURBED,
            "--engine": NAMES,
            "--address": NAMES,
            "--episodes": [*NOT_POSITIVE, "19", *BIG[1:]],
            "--seed": ["", "-1", "nan", "x", *BIG],
            "--out": [path for path in PATHS if path != "/"],
            "--json": PATHS,
        },
    ),
    "certify": (
        [MODEL, "--against", MODEL, "--int8"],
        {
            "--layers": ["", ","],
            "--activation": ["", "x", "tanh:1", "leaky_relu:x"],
            "--head": ["", "x", "tanh:1", "clip:1,0", "tanh:-1,nan"],
            "--path": [],
            "--against": PATHS,
            "--env": ENVIRONMENTS,
            "--keep": [*FLOATS, "0", "1.01"],
            "--range": RANGES,
            "--max-failures": [*FLOATS, "0", "1", "0.001"],
            "--fail-below": ["", "nan", "inf", "-inf", "x", "1e400"],
            "--minutes": [*FLOATS, "0", "1e300"],
            "--episodes": [*NOT_POSITIVE, "19", *BIG],
            "--activations": [*NOT_POSITIVE, "4", "17"],
            "--seed": ["", "-1", "nan", "x", *BIG],
            "--workers": [*NOT_POSITIVE, "65", *BIG],
            **DISTURBED,
            "--ladder": ["", "x", "1,2", "obs=", "obs=2,1", "delay=1.5", "drop=1", "wind=1"],
            "--normalizer": [],  # options of other kinds of files are for the other files
            "--output": [],
            "--inputs": ["", "0", "-1", "1.5", "nan", "x"],
            "--out": PATHS,
            "--json": PATHS,
        },
    ),
    "export": (
        [MODEL, "--format", "c", "--int8", "--out", "out"],
        {
            **WEIGHTS,
            "--format": NAMES,
            "--activations": [*NOT_POSITIVE, "4", "17"],
            "--name": ["", "a\0b", "\udcff", "x y", "sched", "pthread", "wire", "aux", "immintrin", "2nd", "Ab"],
            "--env": ENVIRONMENTS,
            "--episodes": [*NOT_POSITIVE, "1000000000000"],
            "--observations": PATHS,
            "--normalizer": PATHS,
            "--output": NAMES,
            "--inputs": [*NOT_POSITIVE, *BIG],
            "--out": [path for path in PATHS if path != "/"],
            "--json": PATHS,
        },
    ),
    "bench": (
        [MODEL],
        {
            "--layers": ["", ","],
            "--activation": ["", "x", "tanh:1", "leaky_relu:x"],
            "--head": ["", "x", "tanh:1", "clip:1,0", "tanh:-1,nan"],
            "--path": [],
            "--device": NAMES,
            "--part": NAMES,
            "--activations": ["", "0", "4", "8", "x"],
            "--env": ENVIRONMENTS,
            "--episodes": [*NOT_POSITIVE, *BIG],
            "--loop-episodes": NOT_POSITIVE,
            "--first-seed": ["", "-1", "nan", "x", *BIG, "4294967295"],
            "--keep": [*FLOATS, "0", "1.01"],
            "--range": [*RANGES, "0,1"],
            "--max-failures": [*FLOATS, "0", "1", "0.5"],
            **DISTURBED,
            "--normalizer": [],  # options of other kinds of files are for the other files
            "--output": [],
            "--inputs": ["", "0", "-1", "1.5", "nan", "x"],
            "--report": PATHS,
            "--json": PATHS,
        },
    ),
    "inspect": (
        [MODEL],
        {
            **WEIGHTS,
            "--normalizer": PATHS,
            "--output": NAMES,
            "--inputs": [*NOT_POSITIVE, *BIG],
            "--json": PATHS,
        },
    ),
    "sweep": (
        [SWEEP, "--out", "out"],
        {
            "--out": PATHS,
            "--engine": NAMES,
            "--jobs": [*NOT_POSITIVE, *BIG[2:]],
            "--address": NAMES,
            "--known": PATHS,
            "--json": PATHS,
        },
    ),
    "report": (["."], {"--out": PATHS, "--original": PATHS, "--env": ["", "a\0b"], "--json": PATHS}),
}  # fmt: skip


def cases() -> Iterator[tuple[str, str]]:
    for command, (_, options) in COMMANDS.items():
        yield from ((command, option) for option in options)


@pytest.mark.parametrize(("command", "option"), list(cases()))
def test_words_that_an_option_cannot_take(
    command: str, option: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("prunekit.compression.command.workers_here", lambda: 1)
    Path("file").write_text("mine")
    given, options = COMMANDS[command]
    for word in options[option]:
        code, out, err = run(command, *given, option, word)
        told = f"{option} {word[:40]!r}: {code} {err[:300]}"
        assert (code, out, err.count("\n")) == (2, "", 1), told
        assert "internal error" not in err, told
        culprits = (option, option.removeprefix("--"), word[:20], "environment", "algorithm", "number")
        assert any(culprit and culprit in err for culprit in culprits) or not word.isprintable(), told
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("command", ["shrink", "compress", "export", "bench", "inspect", "sweep"])
def test_files_that_cannot_be_read(command: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine")
    Path("loop.pt").symlink_to("loop.pt")
    for word in (*PATHS, "loop.pt", "\udcff.pt", "[red].onnx", "\x1b[31m.pt", "file", "/dev/null", "/dev/full"):
        code, out, err = run(command, word, *(["--out", "out"] if command == "sweep" else []))
        assert (code, out, err.count("\n")) == (2, "", 1), f"{word[:40]!r}: {code} {err[:300]}"
        assert "internal error" not in err


def test_an_option_of_every_command_is_in_the_table(run: Run) -> None:
    import typer

    from prunekit.cli.app import app

    group = typer.main.get_command(app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        taking = {o for p in command.params if p.param_type_name == "option" and not p.is_flag for o in p.opts}
        assert taking == set(COMMANDS[name][1]), name


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(2, "No such file or directory", "there"), "there: No such file or directory"),
        (PermissionError(13, "Permission denied", b"\xff"), "\\udcff: Permission denied"),
        (OSError("no space"), "the system: no space"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "invalid start byte"),
        (MemoryError(), "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "not enough memory"),
    ],
)
def test_what_the_system_refuses_is_no_fault_of_prunekit(
    error: Exception, words: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("prunekit.benching.inspection.inspect_model", fail)
    code, out, err = run("inspect", MODEL)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err


def test_ctrl_c_ends_every_command_alike(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("prunekit.benching.inspection.inspect_model", stop)
    assert run("inspect", MODEL) == (130, "", "prunekit: interrupted\n")
