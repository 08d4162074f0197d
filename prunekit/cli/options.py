"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from prunekit.disturbances.record import Disturbance
    from prunekit.readers.policy_file import PolicyOptions

_FILE = "If the policy file does not say"
_DISTURBANCE = "Disturbances, the same for every policy"
_WEIGHTS = "If the checkpoint or state dict does not say"


def _writable(path: Path | None) -> Path | None:
    if path is not None:
        from prunekit.files import require_writable

        require_writable(path)
    return path


JsonOption = Annotated[
    Path | None, typer.Option("--json", callback=_writable, help="Write the result to this file as JSON.")
]


def _report(path: Path | None) -> Path | None:
    if path is not None:
        from prunekit.lazy import require

        for package in ("matplotlib", "jinja2", "PIL"):
            require(package, "--report")
    return _writable(path)


ReportOption = Annotated[
    Path | None, typer.Option("--report", callback=_report, help="Write the result to this file as an HTML page.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")]
NormalizerOption = Annotated[
    Path | None,
    typer.Option(help="SB3 zip: its VecNormalize file, if none is found next to the zip.", rich_help_panel=_FILE),
]
NoNormalizerOption = Annotated[
    bool,
    typer.Option(
        "--no-normalizer", help="SB3 zip: the policy was trained without VecNormalize.", rich_help_panel=_FILE
    ),
]
OutputOption = Annotated[
    str | None, typer.Option(help="ONNX: name of the output that is the action, or its logits.", rich_help_panel=_FILE)
]
InputsOption = Annotated[
    int | None,
    typer.Option(help="TorchScript: number of values in an observation.", rich_help_panel=_FILE),
]
LayersOption = Annotated[
    str | None,
    typer.Option(help="A,B,C: names of the policy's layers, in order of use.", rich_help_panel=_WEIGHTS),
]
ActivationOption = Annotated[
    str | None,
    typer.Option(help="Activation between the layers: elu, relu, tanh, ...", rich_help_panel=_WEIGHTS),
]
HeadOption = Annotated[
    str | None,
    typer.Option(
        help="How outputs become an action: none, tanh, tanh:LOW,HIGH, clip:LOW,HIGH, argmax, or mean (first half).",
        rich_help_panel=_WEIGHTS,
    ),
]
PathOption = Annotated[
    str | None,
    typer.Option(
        "--path", help="Part of the file that holds the layers, as in model_state_dict.", rich_help_panel=_WEIGHTS
    ),
]
RangeOption = Annotated[
    str | None,
    typer.Option("--range", help="LOW,HIGH to which the claim clips returns; by default taken from other episodes."),
]
FailuresOption = Annotated[
    float | None,
    typer.Option(
        "--max-failures", help="Maximum share of episodes that fail (earn less than LOW); no limit by default."
    ),
]
NoiseOption = Annotated[
    str | None,
    typer.Option(
        help="obs=0.02,action=0.01: noise, relative to the deviations of observations and half the action range.",
        rich_help_panel=_DISTURBANCE,
    ),
]
DelayOption = Annotated[
    int, typer.Option(help="Number of steps by which observations are late.", rich_help_panel=_DISTURBANCE)
]
DropOption = Annotated[float, typer.Option(help="Share of observations that are lost.", rich_help_panel=_DISTURBANCE)]
RandomizeOption = Annotated[
    Path | None,
    typer.Option(
        help="TOML file with the ranges from which each episode draws environment parameters.",
        rich_help_panel=_DISTURBANCE,
    ),
]
LadderOption = Annotated[
    str | None,
    typer.Option(
        help="obs=0.01,0.02,0.05: test these levels in order while the claim holds (obs, action, delay or drop).",
        rich_help_panel=_DISTURBANCE,
    ),
]


def _folder(path: Path | None) -> Path | None:
    if path is not None:
        from prunekit.outputs import require_folder

        require_folder(path)
    return path


OutOption = Annotated[Path | None, typer.Option("--out", callback=_folder, help="Folder to write to.")]


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
    """Return the ``PolicyOptions`` of the command's options; raises InputError for options that exclude each other."""
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


def disturbance_named(noise: str | None, delay: int, drop: float, randomize: Path | None) -> Disturbance:
    """Return the disturbance of the options; raises InputError, naming the option, for invalid values."""
    from prunekit.disturbances.randomization import read_randomization
    from prunekit.disturbances.record import Disturbance
    from prunekit.errors import InputError

    sizes: dict[str, Any] = {} if noise is None else _noise(noise)
    given: dict[str, dict[str, Any]] = {"--noise": sizes, "--delay": {"delay_steps": delay}, "--drop": {"drop": drop}}
    for option, values in given.items():
        try:
            Disturbance(**values)
        except InputError as error:
            raise InputError(f"{option}: {error}") from error
    randomization = None if randomize is None else read_randomization(randomize)
    return Disturbance(delay_steps=delay, drop=drop, randomization=randomization, **sizes)


def ladder_named(text: str | None, base: Disturbance) -> list[Disturbance]:
    """Return the levels in ``text``, added to ``base``; raises InputError, naming the option, if there are none."""
    from prunekit.disturbances.ladder import levels_named
    from prunekit.errors import InputError

    try:
        return [] if text is None else levels_named(text, base)
    except InputError as error:
        raise InputError(f"--ladder: {error}") from error


def _noise(text: str) -> dict[str, float]:
    """Return the sizes of noise in ``text``: ``obs=0.02,action=0.01``, one of these, or a number for obs."""
    from prunekit.errors import InputError

    names = {"obs": "observation_noise", "action": "action_noise"}
    found: dict[str, float] = {}
    for entry in text.split(","):
        name, equals, size = entry.rpartition("=")
        name = name.strip() if equals else "obs"
        try:
            if name not in names or names[name] in found:
                raise ValueError
            found[names[name]] = float(size)
        except ValueError:
            raise InputError(
                f"--noise '{text[:60]}' is not a noise level; write it as in --noise obs=0.02,action=0.01"
            ) from None
    return found
