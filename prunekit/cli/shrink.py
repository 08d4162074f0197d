"""``prunekit shrink``: parse, call, print. What is heavy is imported when the command runs."""

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
    OutOption,
    OutputOption,
    PathOption,
    QuietOption,
    policy_options,
)
from prunekit.cli.words import in_flags
from prunekit.console import say, write_json


def shrink(
    policy: Annotated[
        Path,
        typer.Argument(help="Policy file: prunekit model.pt, Stable-Baselines3 zip, ONNX, TorchScript or checkpoint."),
    ],
    normalizer: NormalizerOption = None,
    no_normalizer: NoNormalizerOption = False,
    output: OutputOption = None,
    inputs: InputsOption = None,
    layers: LayersOption = None,
    activation: ActivationOption = None,
    head: HeadOption = None,
    path: PathOption = None,
    out: OutOption = None,
    json_file: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Remove masked and constant units from a policy; write a compact .pt and .onnx, checked against the original."""
    from prunekit.export.shrink_command import shrink_file

    options = policy_options(normalizer, no_normalizer, output, inputs, layers, activation, head, path)
    outcome = shrink_file(policy, options, out, json_file)
    write_json(json_file, outcome.facts)
    console = Console(quiet=quiet)
    for file, text in outcome.lines:
        say(console, file, in_flags(text))
