"""``prunekit shrink``: parse, call, print. What is heavy is imported when the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from prunekit.cli.options import JsonOption, OutOption, QuietOption
from prunekit.console import say, widths, write_json


def shrink(
    model: Annotated[Path, typer.Argument(help="A model.pt written by prunekit train.")],
    out: OutOption = None,
    json_file: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Remove the dead units physically; write a compact .pt and .onnx, and say how far they differ."""
    from prunekit.export.onnx import checked_onnx
    from prunekit.files import require_file, write_together
    from prunekit.outputs import require_apart
    from prunekit.policy.artifact import load, to_bytes
    from prunekit.policy.compaction import compact

    require_file(model)
    target = (out or model.parent) / f"{model.stem}.compact.pt"
    onnx = target.with_suffix(".onnx")
    require_apart([model], [onnx, target], json_file)
    result = compact(load(model))
    content, report = checked_onnx(result.artifact.actor, onnx, result.artifact.provenance)
    write_together({onnx: content, target: to_bytes(result.artifact)})
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
