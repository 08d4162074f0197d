"""The command line: parse, call, print; nothing else.

Heavy packages are imported inside the commands, so that ``prunekit --help`` is instant.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from typer.exceptions import TyperException

from prunekit.console import say, widths, write_json
from prunekit.errors import CheckError, InputError, PrunekitError

app = typer.Typer(
    help="Make reinforcement-learning policies small enough to deploy, and prove that they still work.",
    add_completion=False,
    rich_markup_mode="rich",
    epilog="Exit code 0: good; 1: a claim or check failed; 2: bad input; 130: interrupted. --debug shows tracebacks.",
)


def _writable(path: Path | None) -> Path | None:
    if path is not None:
        from prunekit.files import require_writable

        require_writable(path)
    return path


JsonOption = Annotated[
    Path | None, typer.Option("--json", callback=_writable, help="Write the result to this file, for machines.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
RangeOption = Annotated[
    str | None,
    typer.Option("--range", help="LOW,HIGH: what returns are clipped to in the claim; by default, as others earn."),
]
FailuresOption = Annotated[
    float | None,
    typer.Option("--max-failures", help="Share of episodes that may earn less than LOW, any share by default."),
]
OutOption = Annotated[Path | None, typer.Option("--out", help="Folder to write into.")]
_DEBUG = "--debug"
_INTERRUPTED = 130


def main() -> None:
    """Run the command line: exit code 0 good, 1 a claim or check failed, 2 bad input."""
    arguments = [argument for argument in sys.argv[1:] if argument != _DEBUG]
    debug = len(arguments) != len(sys.argv) - 1
    try:
        code = app(arguments or ["--help"], standalone_mode=False) or 0
        if code == _INTERRUPTED:  # typer makes this of Ctrl-C, without a word
            _fail("interrupted", code)
        sys.exit(code)
    except TyperException as error:
        _fail(error.format_message(), error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        _fail("interrupted", _INTERRUPTED)
    except PrunekitError as error:
        if debug:
            raise
        _fail(str(error), 2 if isinstance(error, InputError) else 1)
    except Exception as error:
        if debug:
            raise
        _fail(f"internal error: {type(error).__name__}: {error}; run again with {_DEBUG} for the traceback", 1)


def _print_version(wanted: bool) -> None:
    if wanted:
        from prunekit.versions import installed_versions

        typer.echo(f"prunekit {installed_versions(('prunekit',))['prunekit']}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take the options that belong to no command."""


@app.command()
def train(
    env: Annotated[str | None, typer.Option(help="Gymnasium environment, CartPole-v1 by default.")] = None,
    algo: Annotated[str | None, typer.Option(help="dqn, ppo, sac or td3; by default the environment's preset.")] = None,
    steps: Annotated[int | None, typer.Option(help="Environment steps; by default the preset's.")] = None,
    sparsity: Annotated[float | None, typer.Option(help="Share of hidden units to remove, 0.93 by default.")] = None,
    budget: Annotated[float | None, typer.Option(help="Share of all importance that may be removed.")] = None,
    dense: Annotated[bool, typer.Option("--dense", help="Train the control: nothing is pruned.")] = False,
    hidden: Annotated[str | None, typer.Option(help="The actor's widths, as in 18,18.")] = None,
    lr_schedule: Annotated[
        str | None,
        typer.Option(help="constant, linear, or hold (falls once masks are frozen)."),
    ] = None,
    live_shrink: Annotated[
        bool | None,
        typer.Option(
            "--live-shrink/--no-live-shrink", help="Remove dead units physically while training, or hold them at zero."
        ),
    ] = None,
    prune_critics: Annotated[bool, typer.Option("--prune-critics", help="Prune the critic by the same plan.")] = False,
    checkpoint_every: Annotated[
        int | None, typer.Option(help="Environment steps between checkpoints; a twentieth of the run by default.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random, 0 by default.")] = None,
    out: OutOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the interrupted run in --out, from its last checkpoint.")
    ] = False,
    json_file: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Train a policy while its unimportant units are removed."""
    from prunekit.training.command import Words, prepare
    from prunekit.training.progress import TerminalDisplay
    from prunekit.training.run import train as run

    words = Words(
        env, algo, steps, sparsity, budget, dense, hidden, lr_schedule, live_shrink, prune_critics, checkpoint_every,
        seed, out,
    )  # fmt: skip
    request, folder = prepare(words, resume)
    console = Console(quiet=quiet)
    title = f"{request.env_id}  {request.algorithm}  seed {request.seed}  into {folder}"
    try:
        with TerminalDisplay(console, title) as display:
            result = run(request, folder, [display], resume=resume)
    except KeyboardInterrupt:  # after the live display is gone, which would wipe the line
        _fail(f"interrupted; prunekit train --resume --out {folder} goes on from the last checkpoint", _INTERRUPTED)
    say(console, folder / "model.pt", result.summary)
    write_json(json_file, {"model": str(folder / "model.pt"), **result.artifact.provenance})
    if not result.complete:
        raise CheckError(f"{folder / 'model.pt'}: training ended before the masks were final; give it more --steps")


@app.command()
def shrink(
    model: Annotated[Path, typer.Argument(help="A model.pt written by prunekit train.")],
    out: OutOption = None,
    json_file: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Remove the dead units physically; write a compact .pt and .onnx, and say how far they differ."""
    from prunekit.export.onnx import export_onnx
    from prunekit.policy.artifact import load, save
    from prunekit.policy.compaction import compact

    folder = out or model.parent
    result = compact(load(model))
    target = folder / f"{model.stem}.compact.pt"
    report = export_onnx(result.artifact.actor, target.with_suffix(".onnx"), result.artifact.provenance)
    save(result.artifact, target)
    console = Console(quiet=quiet)
    say(
        console,
        target,
        f"hidden {widths(result.original_hidden)} -> {widths(result.after.hidden)}"
        f"{', removed while training' if result.before.hidden == result.after.hidden else ''}, "
        f"parameters {result.original_parameters:,} -> {result.after.parameters:,}, "
        f"largest difference {result.largest_difference:.2g} of scores up to {result.output_scale:.3g}",
    )
    say(console, report.path, report.summary)
    write_json(
        json_file,
        {
            "pt": str(target),
            "onnx": str(report.path),
            "onnx_bytes": report.size_bytes,
            "hidden": {"before": list(result.original_hidden), "after": list(result.after.hidden)},
            "parameters": {"before": result.original_parameters, "after": result.after.parameters},
            "largest_difference": result.largest_difference,
            "export_largest_difference": report.largest_difference,
        },
    )


@app.command()
def compress(
    teacher: Annotated[
        Path, typer.Argument(help="A policy: model.pt, zip of Stable-Baselines3, .onnx or TorchScript file.")
    ],
    env: Annotated[str | None, typer.Option(help="Environment; by default the one that the file names.")] = None,
    keep: Annotated[float, typer.Option(help="Share of the teacher's return to keep, with 95% confidence.")] = 0.95,
    normalizer: Annotated[
        Path | None, typer.Option(help="The zip's file of VecNormalize.save, where it is not beside it.")
    ] = None,
    no_normalizer: Annotated[
        bool, typer.Option("--no-normalizer", help="The zip's policy was trained without VecNormalize.")
    ] = False,
    output: Annotated[str | None, typer.Option(help="The decision among an ONNX file's outputs.")] = None,
    tuning: Annotated[
        bool, typer.Option(help="Fine-tune on the environment's rewards where imitation falls short.")
    ] = True,
    minutes: Annotated[float, typer.Option(help="Time that it may take.")] = 5.0,
    episodes: Annotated[int, typer.Option(help="Fresh episodes per certified size, at most.")] = 1000,
    clip_range: RangeOption = None,
    max_failures: FailuresOption = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random in the search.")] = 0,
    out: OutOption = None,
    json_file: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Turn any policy into the smallest network that is certified to keep its return."""
    from prunekit.compress.command import CompressWords, compress_file
    from prunekit.compress.progress import TerminalDisplay

    words = CompressWords(
        teacher, env, keep, normalizer, no_normalizer, output, tuning, minutes, episodes, seed, out, json_file,
        clip_range, max_failures,
    )  # fmt: skip
    console = Console(quiet=quiet)
    with TerminalDisplay(console, f"{teacher}  keep {keep:g}", keep) as display:
        outcome = compress_file(words, display)
    say(console, outcome.paths[0], outcome.result.summary)
    for text in (*map(str, outcome.paths[1:]), *(f"note: {note}" for note in outcome.notes)):
        console.print(f"  {escape(text)}", highlight=False, soft_wrap=True)
    write_json(json_file, outcome.result.to_json())
    if not outcome.result.certified:
        raise CheckError(f"{teacher}: {outcome.result.failure}")


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="A model.pt written by prunekit.")],
    format_: Annotated[str, typer.Option("--format", help="onnx or c.")] = "onnx",
    int8: Annotated[bool, typer.Option("--int8", help="C: int8 weights, integers between input and output.")] = False,
    activations: Annotated[
        int | None, typer.Option(help="C with --int8: bits of activations, 16 (default) or 8.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="C: what its names begin with; by default the file's.")] = None,
    self_test: Annotated[bool, typer.Option("--self-test", help="C: add a function that tests the target.")] = False,
    arduino: Annotated[bool, typer.Option("--arduino", help="C: lay the files out as an Arduino library.")] = False,
    env: Annotated[
        str | None, typer.Option(help="Environment to record in; by default the one the file names.")
    ] = None,
    episodes: Annotated[int, typer.Option(help="Episodes to record, for --int8 and --self-test.")] = 5,
    out: OutOption = None,
    json_file: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Export a policy: ONNX and float32 C are checked before they are written, of --int8 it says how far it is off."""
    from prunekit.export.command import ExportWords, export_file

    words = ExportWords(
        model, format_, int8, activations, name, self_test, arduino, env, episodes, out
    )  # fmt: skip
    outcome = export_file(words)
    console = Console(quiet=quiet)
    for path, text in outcome.lines:
        say(console, path, text)
    write_json(json_file, outcome.facts)


@app.command()
def bench(
    models: Annotated[
        list[Path] | None,
        typer.Argument(help="Model files, .pt or .onnx (devices that run C: .pt); the first is the reference."),
    ] = None,
    device: Annotated[
        list[str] | None, typer.Option(help="Where to measure, several times if wanted: cpu, cpu-c, cortex-m4, ...")
    ] = None,
    part: Annotated[
        list[str] | None, typer.Option(help="A microcontroller: its core, and whether it fits its memory.")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Devices that run C: int8 weights.")] = False,
    activations: Annotated[
        int | None, typer.Option(help="With --int8: bits of activations, 16 (default) or 8.")
    ] = None,
    env: Annotated[str | None, typer.Option(help="Environment, for files that name none.")] = None,
    episodes: Annotated[int, typer.Option(help="Episodes per model, all with the same seeds.")] = 100,
    loop_episodes: Annotated[int, typer.Option(help="Of these, with an emulated processor in the loop.")] = 3,
    first_seed: Annotated[int, typer.Option(help="Seed of the first episode.")] = 10_000,
    keep: Annotated[
        float | None, typer.Option(help="Fail unless every model's retention is at least this, with 95% confidence.")
    ] = None,
    clip_range: RangeOption = None,
    max_failures: FailuresOption = None,
    json_file: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Compare models: latency, memory, return, and how much of the first one's return the others keep."""
    from prunekit.bench.compare import run_bench
    from prunekit.bench.defaults import default_models
    from prunekit.bench.report import render
    from prunekit.bench.settings import BenchSettings
    from prunekit.devices import devices_named
    from prunekit.export.command import bits_named
    from prunekit.stats.certificate import check_episodes
    from prunekit.stats.clipping import parse_range

    settings = BenchSettings(
        episodes=episodes,
        first_seed=first_seed,
        loop_episodes=loop_episodes,
        keep=keep,
        clip_range=None if clip_range is None else parse_range(clip_range),
        max_failures=max_failures,
    )
    chosen = devices_named(device or ([] if part else ["cpu"]), part or [], bits_named(int8, activations))
    if keep is not None:
        check_episodes(len(chosen[0].seeds(settings)), max_failures, " on the first device")
    suffix = ".onnx" if all(entry.name == "cpu" for entry in chosen) else ".pt"
    console = Console(quiet=quiet)
    with console.status("reading the models") as status:
        named = models or default_models(suffix=suffix)
        result = run_bench(named, chosen, settings, env, lambda text: status.update(escape(text)))
    console.print(render(result))
    write_json(json_file, result.to_json())
    if keep is not None:
        result.require()


@app.command()
def inspect(
    model: Annotated[Path, typer.Argument(help="A .pt or .onnx file.")],
    json_file: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Say what is in a model file: layers, sizes, and how it came to be."""
    from prunekit.bench.inspection import inspect_model, render

    facts = inspect_model(model)
    Console(quiet=quiet).print(render(facts))
    write_json(json_file, facts)


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(f"prunekit: {' '.join(message.split())}", err=True)
    sys.exit(code)
