"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from prunekit.readers.policy_file import PolicyOptions

_FILE = "What a policy file does not say"
_WEIGHTS = "What a checkpoint or state dict does not say"


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
    Path | None,
    typer.Option(help="Zip: its file of VecNormalize.save, where it is not in a usual place.", rich_help_panel=_FILE),
]
NoNormalizerOption = Annotated[
    bool,
    typer.Option("--no-normalizer", help="Zip: the policy was trained without VecNormalize.", rich_help_panel=_FILE),
]
OutputOption = Annotated[
    str | None, typer.Option(help="ONNX: the output that is the policy's answer.", rich_help_panel=_FILE)
]
InputsOption = Annotated[
    int | None,
    typer.Option(help="TorchScript: values of an observation, where the file does not say.", rich_help_panel=_FILE),
]
LayersOption = Annotated[
    str | None,
    typer.Option(help="A,B,C: the names of the policy's layers, in the order of use.", rich_help_panel=_WEIGHTS),
]
ActivationOption = Annotated[
    str | None,
    typer.Option(help="What stands between the layers: elu, relu, tanh, ...", rich_help_panel=_WEIGHTS),
]
HeadOption = Annotated[
    str | None,
    typer.Option(
        help="What makes the action: none, tanh, tanh:LOW,HIGH, clip:LOW,HIGH, argmax, or mean (of mean and spread).",
        rich_help_panel=_WEIGHTS,
    ),
]
PathOption = Annotated[
    str | None,
    typer.Option(
        "--path", help="The part of the file that the layers are in: model_state_dict.", rich_help_panel=_WEIGHTS
    ),
]
RangeOption = Annotated[
    str | None,
    typer.Option("--range", help="LOW,HIGH that returns are clipped to in the claim; by default from other episodes."),
]
FailuresOption = Annotated[
    float | None,
    typer.Option("--max-failures", help="Share of episodes that may fail (earn less than LOW); any share by default."),
]
OutOption = Annotated[Path | None, typer.Option("--out", help="Folder to write into.")]


def policy_options(
    normalizer: Path | None,
    no_normalizer: bool,
    output: str | None,
    inputs: int | None,
    layers: str | None,
    activation: str | None,
    head: str | None,
    path: str | None,
) -> PolicyOptions:
    """Return what the options say of a policy file; raises InputError for those that do not go together."""
    from prunekit.readers.policy_file import PolicyOptions
    from prunekit.readers.weights.words import parse_layers

    return PolicyOptions(
        normalizer=normalizer,
        without_normalizer=no_normalizer,
        output=output,
        inputs=inputs,
        layers=parse_layers(layers),
        activation=activation,
        head=head,
        nesting=path,
    )
