"""``prunekit bench``: parse, call, print. What is heavy is imported when the command runs."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from prunekit.cli.options import (
    ActivationOption,
    DelayOption,
    DropOption,
    FailuresOption,
    HeadOption,
    InputsOption,
    JsonOption,
    LayersOption,
    NoiseOption,
    NoNormalizerOption,
    NormalizerOption,
    OutputOption,
    PathOption,
    QuietOption,
    RandomizeOption,
    RangeOption,
    ReportOption,
    disturbance_named,
    policy_options,
)
from prunekit.cli.streams import require_printed
from prunekit.cli.words import in_flags
from prunekit.console import printable, say, tell, write_json


def bench(
    models: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Policy files (model.pt, SB3 zip, ONNX, TorchScript, checkpoint); the first is the reference."
        ),
    ] = None,
    device: Annotated[
        list[str] | None, typer.Option(help="Where to measure: cpu, cpu-c, cortex-m4, ...; may be repeated.")
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(help="Microcontroller: measure on its core, and check that the policy fits its memory."),
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="On devices that run C: use int8 weights.")] = False,
    activations: Annotated[
        int | None, typer.Option(help="With --int8: bits of the activations, 16 (default) or 8.")
    ] = None,
    env: Annotated[str | None, typer.Option(help="Environment, if the files name none.")] = None,
    episodes: Annotated[int, typer.Option(help="Episodes per policy, with the same seeds for all.")] = 100,
    loop_episodes: Annotated[int, typer.Option(help="Episodes of these with an emulated processor in the loop.")] = 3,
    first_seed: Annotated[int, typer.Option(help="Seed of the first episode.")] = 10_000,
    keep: Annotated[
        float | None,
        typer.Option(help="Exit with 1 unless every policy keeps this share of the return, with 95% confidence."),
    ] = None,
    clip_range: RangeOption = None,
    max_failures: FailuresOption = None,
    noise: NoiseOption = None,
    delay: DelayOption = 0,
    drop: DropOption = 0.0,
    randomize: RandomizeOption = None,
    normalizer: NormalizerOption = None,
    no_normalizer: NoNormalizerOption = False,
    output: OutputOption = None,
    inputs: InputsOption = None,
    layers: LayersOption = None,
    activation: ActivationOption = None,
    head: HeadOption = None,
    path: PathOption = None,
    report: ReportOption = None,
    json_file: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Compare policies: latency, memory, return, and how much of the first one's return the others keep."""
    from prunekit.benching.compare import run_bench
    from prunekit.benching.defaults import default_models
    from prunekit.benching.figures import check_claimed
    from prunekit.benching.settings import BenchSettings
    from prunekit.devices import devices_named
    from prunekit.export.command import bits_named
    from prunekit.files import write_atomically
    from prunekit.outputs import require_apart
    from prunekit.readers.normalizers import files_beside
    from prunekit.readers.registry import require_policy
    from prunekit.report.bench_tables import render
    from prunekit.stats.clipping import parse_range

    settings = BenchSettings(
        episodes=episodes,
        first_seed=first_seed,
        loop_episodes=loop_episodes,
        keep=keep,
        clip_range=None if clip_range is None else parse_range(clip_range),
        max_failures=max_failures,
        disturbance=disturbance_named(noise, delay, drop, randomize),
    )
    chosen = devices_named(device or ([] if part else ["cpu"]), part or [], bits_named(int8, activations))
    check_claimed(chosen[0], settings)
    suffix = ".onnx" if all(entry.name == "cpu" for entry in chosen) else ".pt"
    named = models or default_models(suffix=suffix)
    for model in named:
        require_policy(model)
    options = policy_options(normalizer, no_normalizer, output, inputs, layers, activation, head, path)
    require_apart(
        [*named, normalizer, randomize, *chain.from_iterable(map(files_beside, named))], _given(report), json_file
    )
    console = Console(quiet=quiet)
    with console.status("reading the models") as status:
        result = run_bench(named, chosen, settings, env, lambda text: status.update(Text(printable(text))), options)
    write_json(json_file, result.to_json())
    for shown in render(result):
        console.print(shown, soft_wrap=isinstance(shown, Text))
    for measured in result.models:
        for note in measured.notes:
            tell(console, f"note: {measured.path}: {in_flags(note)}")
    if report is not None:
        from prunekit.report.bench_page import bench_page
        from prunekit.report.html import to_html

        with console.status("drawing the report"):
            write_atomically(report, to_html(bench_page(result, env)))
        say(console, report, "the report")
    elif json_file is None:
        require_printed()
    if keep is not None:
        result.require()


def _given(path: Path | None) -> list[Path]:
    return [] if path is None else [path]
