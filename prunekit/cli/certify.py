"""``prunekit certify``: parse, call, print. What is heavy is imported when the command runs."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from prunekit.cli.options import (
    ActivationOption,
    DelayOption,
    DropOption,
    FailuresOption,
    HeadOption,
    InputsOption,
    JsonOption,
    LadderOption,
    LayersOption,
    NoiseOption,
    NoNormalizerOption,
    NormalizerOption,
    OutputOption,
    PathOption,
    QuietOption,
    RandomizeOption,
    RangeOption,
    disturbance_named,
    ladder_named,
    policy_options,
)
from prunekit.cli.streams import require_printed
from prunekit.cli.words import all_in_flags, in_flags
from prunekit.console import printable, tell, write_json
from prunekit.errors import CheckError, InputError


def certify(
    small: Annotated[
        Path,
        typer.Argument(
            help="Policy file to test: prunekit model.pt, Stable-Baselines3 zip, ONNX, TorchScript or checkpoint."
        ),
    ],
    against: Annotated[Path, typer.Option(help="Policy file whose return it has to keep, of any of these kinds.")],
    env: Annotated[str | None, typer.Option(help="Environment; by default the one that the files name.")] = None,
    keep: Annotated[float, typer.Option(help="Share of the return to keep, with 95% confidence.")] = 0.95,
    max_failures: FailuresOption = None,
    fail_below: Annotated[
        float | None, typer.Option(help="Return below which an episode has failed; LOW of the range by default.")
    ] = None,
    clip_range: RangeOption = None,
    episodes: Annotated[int, typer.Option(help="Maximum number of episodes per policy.")] = 1000,
    minutes: Annotated[float, typer.Option(help="Time limit in minutes.")] = 5.0,
    int8: Annotated[bool, typer.Option("--int8", help="Test the policy with int8 weights.")] = False,
    activations: Annotated[
        int | None, typer.Option(help="With --int8: bits of the activations, 16 (default) or 8.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed from which the seeds of all episodes follow.")] = 0,
    workers: Annotated[int, typer.Option(help="Number of processes that play.")] = 1,
    noise: NoiseOption = None,
    delay: DelayOption = 0,
    drop: DropOption = 0.0,
    randomize: RandomizeOption = None,
    ladder: LadderOption = None,
    normalizer: NormalizerOption = None,
    no_normalizer: NoNormalizerOption = False,
    output: OutputOption = None,
    inputs: InputsOption = None,
    layers: LayersOption = None,
    activation: ActivationOption = None,
    head: HeadOption = None,
    path: PathOption = None,
    out: Annotated[Path | None, typer.Option(help="Write the table and the claim to this file, as Markdown.")] = None,
    json_file: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Certify, by fresh episodes, that one policy keeps the return of another, or refute it."""
    from prunekit.benching.certify import CertifySettings
    from prunekit.benching.certify_command import MAX_WORKERS, Match, certify_levels
    from prunekit.export.command import bits_named
    from prunekit.files import write_atomically
    from prunekit.outputs import require_apart
    from prunekit.readers.normalizers import files_beside
    from prunekit.readers.registry import require_policy
    from prunekit.report.certify_table import (
        certify_table,
        certify_text,
        frailty,
        ladder_json,
        ladder_sentence,
        ladder_table,
    )
    from prunekit.report.markdown import to_markdown
    from prunekit.report.terminal import to_rich
    from prunekit.stats.claim import counted
    from prunekit.stats.clipping import parse_range

    if not 1 <= workers <= MAX_WORKERS:
        raise InputError(f"--workers must be from 1 to {MAX_WORKERS}, got {workers}")
    settings = CertifySettings(
        keep=keep,
        clip_range=None if clip_range is None else parse_range(clip_range),
        max_failures=max_failures,
        failure_return=fail_below,
        episodes=episodes,
        seconds=60.0 * minutes,
        seed=seed,
    )
    bits = bits_named(int8, activations)
    options = policy_options(normalizer, no_normalizer, output, inputs, layers, activation, head, path)
    for policy in (small, against):
        require_policy(policy)
    disturbance = disturbance_named(noise, delay, drop, randomize)
    levels = [disturbance, *ladder_named(ladder, disturbance)]
    read = [small, against, normalizer, randomize, *chain.from_iterable(map(files_beside, (small, against)))]
    require_apart(read, [] if out is None else [out], json_file)
    console = Console(quiet=quiet)
    match = Match(small=small, teacher=against, env=env, options=options, bits=bits)
    with console.status("reading the policies") as status:

        def progress(what: str, count: int) -> None:
            status.update(Text(printable(f"{what}: {counted(count, 'episode')}")))

        rungs = certify_levels(match, settings, levels, workers=workers, progress=progress)
    result = rungs[0].found
    beyond = levels[len(rungs)] if rungs[-1].found.certified and len(rungs) < len(levels) else None
    climbed = {} if ladder is None else {"ladder": ladder_json(rungs)}
    write_json(json_file, all_in_flags({**result.to_json(), **climbed}))
    extra = [] if ladder is None else [to_markdown(ladder_table(rungs)), ladder_sentence(rungs, beyond)]
    if out is not None:
        write_atomically(out, (in_flags("\n\n".join([*certify_text(result), *extra])) + "\n").encode())
    if small.samefile(against):
        tell(console, f"note: {small} was tested against itself: both are the same file")
    for note in result.facts["notes"]:
        tell(console, f"note: {in_flags(note)}")
    console.print(to_rich(certify_table(result)))
    if ladder is not None:
        console.print(to_rich(ladder_table(rungs)))
    if not result.certified:
        raise CheckError(f"{small}: {result.sentence}")
    tell(console, result.sentence)
    if note := frailty(result):
        tell(console, f"note: {note}")
    if ladder is not None:
        tell(console, ladder_sentence(rungs, beyond))
    if json_file is None and out is None:
        require_printed()
