"""``prunekit inspect``: parse, call, print. What is heavy is imported when the command runs."""

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
    OutputOption,
    QuietOption,
)
from prunekit.cli.streams import require_printed
from prunekit.console import write_json


def inspect(
    policy: Annotated[
        Path, typer.Argument(help="A policy: model.pt, zip of Stable-Baselines3, ONNX or TorchScript file.")
    ],
    normalizer: NormalizerOption = None,
    no_normalizer: NoNormalizerOption = False,
    output: OutputOption = None,
    inputs: InputsOption = None,
    json_file: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Say what is in a policy file: inputs, outputs, layers, sizes, and how it came to be."""
    from prunekit.bench.inspection import inspect_model, render
    from prunekit.files import require_file
    from prunekit.formats.onnx_weights import weights_beside
    from prunekit.outputs import require_apart
    from prunekit.readers.policy_file import PolicyOptions

    options = PolicyOptions(normalizer=normalizer, without_normalizer=no_normalizer, output=output, inputs=inputs)
    require_file(policy)
    require_apart([policy, normalizer, *weights_beside(policy)], [], json_file)
    facts = inspect_model(policy, options)
    write_json(json_file, facts)
    Console(quiet=quiet).print(render(facts))
    if json_file is None:
        require_printed()
