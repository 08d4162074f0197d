"""``prunekit export``: parse, call, print. What is heavy is imported when the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from prunekit.cli.options import (
    ActivationOption,
    HeadOption,
    InputsOption,
    JsonOption,
    LayersOption,
    NoNormalizerOption,
    NormalizerOption,
    OutputOption,
    PathOption,
    QuietOption,
    policy_options,
)
from prunekit.cli.words import in_flags
from prunekit.console import say, write_json


def export(
    policy: Annotated[
        Path,
        typer.Argument(help="Policy file: prunekit model.pt, Stable-Baselines3 zip, ONNX, TorchScript or checkpoint."),
    ],
    format_: Annotated[str, typer.Option("--format", help="onnx or c.")] = "onnx",
    int8: Annotated[bool, typer.Option("--int8", help="C: int8 weights and integer arithmetic.")] = False,
    activations: Annotated[
        int | None, typer.Option(help="With --int8: bits of the activations, 16 (default) or 8.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="C: prefix of all names; by default the name of the file.")] = None,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="C: add a function that checks the target machine.")
    ] = False,
    arduino: Annotated[bool, typer.Option("--arduino", help="C: write an Arduino library.")] = False,
    card: Annotated[
        bool,
        typer.Option(
            "--card", help="ONNX: write a folder for the Hugging Face Hub, with model.pt, model card and certificate."
        ),
    ] = False,
    env: Annotated[
        str | None,
        typer.Option(
            help="Environment that gives observations and the meaning of actions; the one in the file by default."
        ),
    ] = None,
    episodes: Annotated[int, typer.Option(help="Episodes to record, for --int8 and --self-test.")] = 5,
    observations: Annotated[
        Path | None,
        typer.Option(help="NumPy file (.npy) of observations, n rows of inputs, instead of recorded episodes."),
    ] = None,
    normalizer: NormalizerOption = None,
    no_normalizer: NoNormalizerOption = False,
    output: OutputOption = None,
    inputs: InputsOption = None,
    layers: LayersOption = None,
    activation: ActivationOption = None,
    head: HeadOption = None,
    path: PathOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write to; for ONNX also a file that ends in .onnx.")
    ] = None,
    json_file: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write a policy as ONNX or C: float32 is checked before it is written, and --int8 reports its error."""
    from prunekit.export.command import ExportOptions, export_file

    options = policy_options(normalizer, no_normalizer, output, inputs, layers, activation, head, path)
    request = ExportOptions(
        policy=policy,
        format=format_,
        int8=int8,
        activations=activations,
        name=name,
        self_test=self_test,
        arduino=arduino,
        card=card,
        env=env,
        episodes=episodes,
        observations=observations,
        options=options,
        out=out,
        json_file=json_file,
    )
    outcome = export_file(request)
    write_json(json_file, outcome.facts)
    console = Console(quiet=quiet)
    for file, text in outcome.lines:
        say(console, file, in_flags(text))
