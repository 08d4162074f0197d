"""``prunekit inspect``: parse, call, print. What is heavy is imported when the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from prunekit.cli.options import JsonOption, QuietOption
from prunekit.cli.streams import require_printed
from prunekit.console import write_json


def inspect(
    model: Annotated[Path, typer.Argument(help="A .pt or .onnx file.")],
    json_file: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Say what is in a model file: layers, sizes, and how it came to be."""
    from prunekit.bench.inspection import inspect_model, render
    from prunekit.files import require_file
    from prunekit.formats.onnx_weights import weights_beside
    from prunekit.outputs import require_apart

    require_file(model)
    require_apart([model, *weights_beside(model)], [], json_file)
    facts = inspect_model(model)
    write_json(json_file, facts)
    Console(quiet=quiet).print(render(facts))
    if json_file is None:
        require_printed()
