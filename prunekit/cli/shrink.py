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
