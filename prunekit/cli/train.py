"""``prunekit train``: parse, call, print. What is heavy is imported when the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from prunekit.cli.ending import ended_by, fail, number_of
from prunekit.cli.options import JsonOption, OutOption, QuietOption
from prunekit.cli.signals import Terminated
from prunekit.cli.words import in_flags
from prunekit.console import say, tell, write_json
from prunekit.errors import CheckError


def train(
    env: Annotated[str | None, typer.Option(help="Gymnasium environment; CartPole-v1 by default.")] = None,
    algo: Annotated[str | None, typer.Option(help="dqn, ppo, sac or td3; the environment's preset by default.")] = None,
    steps: Annotated[int | None, typer.Option(help="Environment steps; the preset's number by default.")] = None,
    sparsity: Annotated[float | None, typer.Option(help="Share of hidden units to remove; 0.93 by default.")] = None,
    budget: Annotated[
        float | None, typer.Option(help="Share of all importance that may be removed, instead of --sparsity.")
    ] = None,
    penalty: Annotated[
        float | None, typer.Option(help="Strength of the group-sparse penalty; none by default.")
    ] = None,
    max_divergence: Annotated[
        float | None,
        typer.Option(
            help="How far removals at a check may move the policy, before reconstruction, as in 0.03; none by default."
        ),
    ] = None,
    reconstruction: Annotated[
        int | None,
        typer.Option(
            help="Steps that fit the network to its former outputs after a removal, as in 5; none by default."
        ),
    ] = None,
    unpruned: Annotated[bool, typer.Option("--dense", help="Train without pruning, as a control.")] = False,
    hidden: Annotated[
        str | None, typer.Option(help="Widths of the actor's hidden layers, as in 18,18, or linear.")
    ] = None,
    lr_schedule: Annotated[
        str | None,
        typer.Option(help="constant, linear, or hold (falls once the masks are frozen)."),
    ] = None,
    live_shrink: Annotated[
        bool | None,
        typer.Option(
            "--live-shrink/--no-live-shrink", help="Remove dead units physically during training, or keep them at zero."
        ),
    ] = None,
    prune_critics: Annotated[
        bool, typer.Option("--prune-critics", help="Prune the critic too, by the same plan.")
    ] = False,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(help="Environment steps between checkpoints; a twentieth of the run, or an episode, by default."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all randomness; 0 by default.")] = None,
    out: OutOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the interrupted run in --out from its last checkpoint.")
    ] = False,
    json_file: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Train a policy, and remove its unimportant units during training."""
    folder = out
    try:
        from prunekit.outputs import require_apart
        from prunekit.training.command import TrainOptions, prepare
        from prunekit.training.progress import TerminalDisplay
        from prunekit.training.run import FILES, FOLDERS
        from prunekit.training.run import train as run

        options = TrainOptions(
            env=env,
            algo=algo,
            steps=steps,
            sparsity=sparsity,
            budget=budget,
            penalty=penalty,
            max_divergence=max_divergence,
            reconstruction=reconstruction,
            unpruned=unpruned,
            hidden=hidden,
            lr_schedule=lr_schedule,
            live_shrink=live_shrink,
            prune_critics=prune_critics,
            checkpoint_every=checkpoint_every,
            seed=seed,
            out=out,
        )
        request, folder = prepare(options, resume)
        require_apart([], [folder / name for name in FILES], json_file, [folder / name for name in FOLDERS])
        console = Console(quiet=quiet)
        title = f"{request.env_id}  {request.algorithm}  seed {request.seed}  into {folder}"
        with TerminalDisplay(console, title) as display:
            result = run(request, folder, [display], resume=resume)
    except (KeyboardInterrupt, Terminated) as error:  # after the live display is gone, which would wipe the line
        word, code = ended_by(number_of(error))
        fail(f"{word}{_hint(folder)}", code)
    notes = [in_flags(note) for note in result.notes]
    made = result.artifact.provenance
    deterministic = {"deterministic_mean": result.played.mean, "deterministic_episodes": len(result.played.returns)}
    returns = {**made["returns"], **deterministic}
    write_json(json_file, {"model": str(folder / "model.pt"), **made, "returns": returns, "notes": notes})
    say(console, folder / "model.pt", result.summary)
    for note in notes:
        tell(console, f"note: {note}")
    if not result.complete:
        raise CheckError(f"{folder / 'model.pt'}: training ended before the masks were final; give it more --steps")


def _hint(folder: Path | None) -> str:
    """Return how to continue the run in ``folder``, if there is an unfinished one."""
    if folder is None or not (folder / "config.json").is_file() or (folder / "model.pt").exists():
        return ""
    return f"; prunekit train --resume --out {folder} continues from the last checkpoint"
