"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def _writable(path: Path | None) -> Path | None:
    if path is not None:
        from prunekit.files import require_writable

        require_writable(path)
    return path


JsonOption = Annotated[
    Path | None, typer.Option("--json", callback=_writable, help="Write the result to this file, for machines.")
]
ReportOption = Annotated[
    Path | None, typer.Option("--report", callback=_writable, help="Write a page in HTML to this file, for people.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
NormalizerOption = Annotated[
    Path | None, typer.Option(help="Zip: its file of VecNormalize.save, where it is not in a usual place.")
]
NoNormalizerOption = Annotated[
    bool, typer.Option("--no-normalizer", help="Zip: the policy was trained without VecNormalize.")
]
OutputOption = Annotated[str | None, typer.Option(help="ONNX: the output that is the policy's answer.")]
InputsOption = Annotated[
    int | None, typer.Option(help="TorchScript: values of an observation, where the file does not say.")
]
RangeOption = Annotated[
    str | None,
    typer.Option("--range", help="LOW,HIGH that returns are clipped to in the claim; by default from other episodes."),
]
FailuresOption = Annotated[
    float | None,
    typer.Option("--max-failures", help="Share of episodes that may earn less than LOW; any share by default."),
]
OutOption = Annotated[Path | None, typer.Option("--out", help="Folder to write into.")]
