"""``prunekit shrink``: parse, call, print. What is heavy is imported when the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from prunekit.cli.options import (
    InputsOption,
    JsonOption,
    NoNormalizerOption,
    NormalizerOption,
    OutOption,
    OutputOption,
    QuietOption,
)
from prunekit.console import say, write_json


def shrink(
    policy: Annotated[
        Path, typer.Argument(help="A policy: model.pt, zip of Stable-Baselines3, ONNX or TorchScript file.")
    ],
    normalizer: NormalizerOption = None,
    no_normalizer: NoNormalizerOption = False,
    output: OutputOption = None,
    inputs: InputsOption = None,
    out: OutOption = None,
    json_file: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Remove masked or constant units physically; write a compact .pt and .onnx, and say how far they differ."""
    from prunekit.export.shrink_command import shrink_file
    from prunekit.readers.policy_file import PolicyOptions

    options = PolicyOptions(normalizer=normalizer, without_normalizer=no_normalizer, output=output, inputs=inputs)
    outcome = shrink_file(policy, options, out, json_file)
    write_json(json_file, outcome.facts)
    console = Console(quiet=quiet)
    for path, text in outcome.lines:
        say(console, path, text)
