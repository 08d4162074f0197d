"""``prunekit.train``: a policy is trained while its unimportant units are removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from prunekit.api.loading import load
from prunekit.api.numbers import require_numbers
from prunekit.api.places import Environment
from prunekit.api.policy import PathLike, Policy
from prunekit.generators import undisturbed
from prunekit.simulators.spec import environment_spec
from prunekit.training.command import DEFAULT_ENVIRONMENT, LINEAR, TrainOptions, prepare
from prunekit.training.run import TrainingResult
from prunekit.training.run import train as run
from prunekit.training.status import Display


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Training:
    """The result of ``train``: the ``policy``, whose ``shrink`` removes dead units, and the ``folder`` of the run."""

    policy: Policy
    folder: Path
    _result: TrainingResult = field(repr=False)

    @property
    def complete(self) -> bool:
        """Whether the masks were final before training ended."""
        return self._result.complete

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know of how the run went, in plain words: that the return fell and did not recover, for example."""
        return self._result.notes

    @property
    def deterministic_returns(self) -> tuple[float, ...]:
        """The deterministic policy's returns in the episodes that it plays at the end, 10 at most."""
        return self._result.played.returns

    @property
    def summary(self) -> str:
        """One line: hidden units that live, the returns at the end, and how long it took."""
        return self._result.summary


def train(
    env: Environment | None = None,
    *,
    algo: str | None = None,
    steps: int | None = None,
    sparsity: float | None = None,
    budget: float | None = None,
    penalty: float | None = None,
    max_divergence: float | None = None,
    reconstruction: int | None = None,
    dense: bool = False,
    hidden: Sequence[int] | None = None,
    lr_schedule: str | None = None,
    live_shrink: bool | None = None,
    prune_critics: bool = False,
    checkpoint_every: int | None = None,
    seed: int | None = None,
    out: PathLike | None = None,
    resume: bool = False,
    env_kwargs: Mapping[str, Any] | None = None,
    displays: Sequence[Display] = (),
) -> Training:
    """Train a policy in ``env`` and write the run to the folder ``out``, by default one under ``runs/``.

    ``env`` is an id or a function that makes an environment from ``env_kwargs``; CartPole-v1 by default. ``algo`` is
    ``"dqn"``, ``"ppo"``, ``"sac"`` or ``"td3"``, and ``steps`` is the number of environment steps. ``hidden`` are the
    actor's widths, () for a linear policy. ``lr_schedule`` is ``"constant"``, ``"linear"``, or ``"hold"``, which falls
    once the masks are frozen. Arguments that are None come from the preset of environment and algorithm
    (``docs/training.md``).

    Training removes the share ``sparsity`` of hidden units, 0.93 by default. With ``budget``, it instead removes units
    that together hold at most this share of all importance. With ``dense``, it removes none. ``penalty`` is the
    strength of the group-sparse penalty, 0 (none) by default. ``max_divergence`` bounds how far the removals of one
    check move the policy. With ``reconstruction``, what is left of a small network after a removal is fitted to the
    outputs before it, in so many steps. Dead units are removed physically during training, unless ``live_shrink`` is
    False, which holds them at zero. ``prune_critics`` prunes the critics too, by the same plan.

    A checkpoint is written every ``checkpoint_every`` environment steps, by default twenty times, or less often in a
    short run, so that whole episodes fit between two. ``resume`` continues the interrupted run in ``out`` from the last
    one. All randomness follows from ``seed``, 0 by default. ``displays`` are told of the progress
    (``training/status.py``).

    Raises InputError for arguments that do not fit, and CheckError if a weight or a return is not finite.

    >>> trained = train("CartPole-v1", sparsity=0.9, out="runs/cart")  # doctest: +SKIP
    >>> trained.policy.shrink().save("small.pt")  # doctest: +SKIP
    """
    with undisturbed():
        require_numbers(
            real_or_none={
                "sparsity": sparsity,
                "budget": budget,
                "penalty": penalty,
                "max_divergence": max_divergence,
            },
            whole_or_none={
                "steps": steps,
                "reconstruction": reconstruction,
                "checkpoint_every": checkpoint_every,
                "seed": seed,
            },
        )
        words = TrainOptions(
            env=None
            if env is None and env_kwargs is None
            else environment_spec(env or DEFAULT_ENVIRONMENT, env_kwargs),
            algo=algo,
            steps=steps,
            sparsity=sparsity,
            budget=budget,
            penalty=penalty,
            max_divergence=max_divergence,
            reconstruction=reconstruction,
            unpruned=dense,
            hidden=None if hidden is None else ",".join(map(str, hidden)) or LINEAR,
            lr_schedule=lr_schedule,
            live_shrink=live_shrink,
            prune_critics=prune_critics,
            checkpoint_every=checkpoint_every,
            seed=seed,
            out=None if out is None else Path(out),
        )
        request, folder = prepare(words, resume)
        result = run(request, folder, displays, resume=resume)
        return Training(policy=load(folder / "model.pt"), folder=folder, _result=result)
