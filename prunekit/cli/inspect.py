"""``prunekit inspect``: parse, call, print. What is heavy is imported when the command runs."""

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
from prunekit.cli.streams import require_printed
from prunekit.cli.words import all_in_flags
from prunekit.console import write_json


def inspect(
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
    json_file: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Show what is in a policy file: inputs, outputs, layers, sizes, and how it was made."""
    from prunekit.benching.inspection import inspect_model, render
    from prunekit.outputs import require_apart
    from prunekit.readers.normalizers import files_beside
    from prunekit.readers.registry import require_policy

    options = policy_options(normalizer, no_normalizer, output, inputs, layers, activation, head, path)
    require_policy(policy)
    require_apart([policy, normalizer, *files_beside(policy)], [], json_file)
    facts = inspect_model(policy, options)
    write_json(json_file, facts)
    Console(quiet=quiet).print(render(all_in_flags(facts)))
    if json_file is None:
        require_printed()
