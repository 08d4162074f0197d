"""``prunekit inspect``: parse, call, print. What is heavy is imported when the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from prunekit.cli.options import JsonOption, QuietOption
from prunekit.console import write_json


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
