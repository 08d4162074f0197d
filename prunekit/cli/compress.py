"""``prunekit compress``: parse, call, print. What is heavy is imported when the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from prunekit.cli.ending import ended_by, fail, number_of
from prunekit.cli.options import (
    ActivationOption,
    DelayOption,
    DropOption,
    FailuresOption,
    HeadOption,
    JsonOption,
    LayersOption,
    NoiseOption,
    NoNormalizerOption,
    NormalizerOption,
    OutOption,
    OutputOption,
    PathOption,
    QuietOption,
    RandomizeOption,
    RangeOption,
    disturbance_named,
    policy_options,
)
from prunekit.cli.signals import Terminated
from prunekit.cli.words import in_flags
from prunekit.console import say, tell, write_json
from prunekit.errors import CheckError


def compress(
    teacher: Annotated[
        Path,
        typer.Argument(help="Policy file: prunekit model.pt, Stable-Baselines3 zip, ONNX, TorchScript or checkpoint."),
    ],
    env: Annotated[str | None, typer.Option(help="Environment; by default the one that the file names.")] = None,
    keep: Annotated[
        float, typer.Option(help="Share of the policy's return to keep, certified with 95% confidence.")
    ] = 0.95,
    normalizer: NormalizerOption = None,
    no_normalizer: NoNormalizerOption = False,
    output: OutputOption = None,
    layers: LayersOption = None,
    activation: ActivationOption = None,
    head: HeadOption = None,
    path: PathOption = None,
    tuning: Annotated[
        bool, typer.Option(help="Fine-tune on the environment's rewards if imitation falls short.")
    ] = True,
    minutes: Annotated[float, typer.Option(help="Time limit in minutes, for search and certificate together.")] = 5.0,
    steps: Annotated[
        int | None,
        typer.Option(help="Limit in environment steps, instead of --minutes: the same result on every machine."),
    ] = None,
    fast: Annotated[
        bool,
        typer.Option("--fast", help="Learn and select in EnvPool's version of the environment; certify in yours."),
    ] = False,
    engine: Annotated[
        str | None, typer.Option(help="Where workers run: processes (one per core; the default), serial or ray.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="With --engine ray: address of the cluster; this machine by default.")
    ] = None,
    episodes: Annotated[int, typer.Option(help="Maximum number of fresh episodes per certified network.")] = 1000,
    clip_range: RangeOption = None,
    max_failures: FailuresOption = None,
    noise: NoiseOption = None,
    delay: DelayOption = 0,
    drop: DropOption = 0.0,
    randomize: RandomizeOption = None,
    seed: Annotated[int, typer.Option(help="Seed of all randomness in the search.")] = 0,
    out: OutOption = None,
    json_file: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Find the smallest network that keeps the return of a policy, and certify it."""
    from prunekit.compression.command import CompressOptions, certificates_of, compress_file
    from prunekit.compression.progress import TerminalDisplay

    options = policy_options(normalizer, no_normalizer, output, None, layers, activation, head, path)
    given = CompressOptions(
        teacher=teacher,
        env=env,
        keep=keep,
        policy=options,
        tuning=tuning,
        minutes=minutes,
        episodes=episodes,
        seed=seed,
        out=out,
        json_file=json_file,
        clip_range=clip_range,
        max_failures=max_failures,
        steps=steps,
        engine=engine,
        address=address,
        fast=fast,
        disturbance=disturbance_named(noise, delay, drop, randomize),
        randomize=randomize,
    )
    console = Console(quiet=quiet)
    before = certificates_of(given)
    try:
        with TerminalDisplay(console, f"{teacher}  keep {keep:g}", keep) as display:
            outcome = compress_file(given, display)
    except (KeyboardInterrupt, Terminated) as error:  # after the live display is gone, which would wipe the line
        word, code = ended_by(number_of(error))
        lost = "nothing was written, as a result is written at the end; --minutes limits the time"
        fail(f"{word}; {lost}" if certificates_of(given) == before else word, code)
    write_json(json_file, outcome.result.to_json())
    say(console, outcome.paths[0], outcome.result.summary)
    if outcome.result.certified:
        tell(console, f"  {outcome.result.certificate.sentence}")
    for text in (*map(str, outcome.paths[1:]), *(f"note: {in_flags(note)}" for note in outcome.notes)):
        tell(console, f"  {text}")
    if not outcome.result.certified:
        raise CheckError(f"{teacher}: {outcome.result.failure}")
