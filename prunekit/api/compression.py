"""``prunekit.compress``: the smallest network that is certified to keep what a policy earns."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast, final

import numpy as np
from numpy.typing import NDArray

from prunekit.api.asking import load_named
from prunekit.api.disturbing import disturbance_of
from prunekit.api.numbers import require_numbers
from prunekit.api.places import Environment, place_of, workers_for
from prunekit.api.policy import PathLike, Policy
from prunekit.cards.card import README
from prunekit.compression.read import read_teacher
from prunekit.compression.result import Compressed
from prunekit.compression.run import FILES, write
from prunekit.compression.run import compress as search_and_certify
from prunekit.compression.settings import CompressSettings, SearchSettings
from prunekit.compression.task import Task
from prunekit.compression.teacher import Teacher, teacher_of_graph
from prunekit.compression.trial import CompressDisplay
from prunekit.disturbances.randomization import Randomization
from prunekit.environment_functions import EnvironmentMaker, function_name, importable_name
from prunekit.environments import Spaces
from prunekit.errors import InputError
from prunekit.generators import undisturbed
from prunekit.made_environment import MadeEnvironment
from prunekit.outputs import require_folder, require_not_foreign
from prunekit.policy.graphs import graph_of
from prunekit.policy.heads import KindHead
from prunekit.simulators.batch import Seeding
from prunekit.simulators.spec import EnvironmentSpec
from prunekit.stats.certificate import Certificate
from prunekit.stats.clipping import range_given

Answers = Callable[[NDArray[np.float32]], Any]
"""Observations float32 [n, obs] to the actions, action values or logits [n, k] of the environment's kind."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Compression:
    """The result of ``compress``: the ``policy``, its ``certificate``, and ``notes`` in plain words.

    The policy is the smallest one that was certified. If none was, it is the largest one that was tested.
    """

    policy: Policy
    certificate: Certificate
    notes: tuple[str, ...]
    _found: Compressed = field(repr=False)

    def __repr__(self) -> str:
        """Return the summary."""
        return f"Compression({self.policy}, {self.summary})"

    @property
    def certified(self) -> bool:
        """Whether the policy is certified to keep the return that was asked for."""
        return self.certificate.certified

    @property
    def summary(self) -> str:
        """One line: the size of the policy, the return that it keeps, and the seconds that it took."""
        return self._found.summary

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``certificate.json`` as plain data."""
        return self._found.to_json()

    def write(self, folder: PathLike) -> list[Path]:
        """Write ``policy.onnx``, ``policy.pt``, ``certificate.json`` and a model card to a folder; return the paths.

        Raises InputError, writing nothing, if one of these files exists and was not written by prunekit. A
        ``README.md`` that is not a card of prunekit is kept.
        """
        place = Path(folder)
        require_folder(place)
        require_not_foreign(place / name for name in FILES if name != README)
        return write(self._found, place)


def compress(
    policy: PathLike | Policy | Answers,
    env: Environment | None = None,
    *,
    keep: float = 0.95,
    minutes: float = 5.0,
    steps: int | None = None,
    episodes: int = 1_000,
    clip_range: tuple[float, float] | None = None,
    max_failures: float | None = None,
    noise: float = 0.0,
    action_noise: float = 0.0,
    delay: int = 0,
    drop: float = 0.0,
    randomize: PathLike | Randomization | None = None,
    tuning: bool = True,
    fast: bool = False,
    seed: int = 0,
    workers: int | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    displays: Sequence[CompressDisplay] = (),
) -> Compression:
    """Return the smallest network found that is certified to keep ``keep`` of the return of ``policy``.

    ``policy`` is a file, a ``Policy``, or a function from observations float32 [n, obs] to answers [n] or [n, k].
    ``env`` is an id, a function that makes an environment, a vector environment, a batched simulator or an
    ``EnvironmentSpec``, made with ``env_kwargs``; by default the one that the policy names.

    The search and the certificate take at most ``minutes``. With ``steps``, they take at most so many environment steps
    instead, and the result is the same on every machine. A certificate plays at most ``episodes`` fresh episodes. The
    claim clips returns to ``clip_range`` (low, high), and requires that at most the share ``max_failures`` of the
    episodes earns less than low. ``tuning`` allows fine-tuning on rewards if imitation falls short. ``workers`` is the
    number of processes: by default one per core, if they can import the policy and the environment. Learning,
    selection and certificate are all under ``noise`` on observations, ``action_noise``, ``delay``, ``drop`` and
    parameters drawn as the file ``randomize`` says (``docs/robustness.md``). With ``fast``, students learn and are
    selected in EnvPool's version of the environment, but the certificate plays in the environment itself
    (``docs/envpool.md``). All randomness of the search follows from ``seed``. ``displays`` are told of the progress
    (``compression/trial.py``).

    Raises InputError for arguments that do not fit and for a file that needs an argument of ``load``, and
    FailedEpisodeError if the environment fails.

    >>> teacher = load("agent.zip", normalizer=False)  # doctest: +SKIP
    >>> result = compress(teacher, env="Hopper-v5", keep=0.95)  # doctest: +SKIP
    >>> result.policy.export_onnx("small.onnx")  # doctest: +SKIP
    """
    with undisturbed(), load_named():
        require_numbers(
            real={"keep": keep, "minutes": minutes},
            whole={"episodes": episodes, "seed": seed},
            real_or_none={"max_failures": max_failures},
            whole_or_none={"steps": steps, "workers": workers},
        )
        spec = place_of(policy, env, env_kwargs)
        teacher_of, portable = _teacher_of(policy)
        single, seeding, notes = single_of(spec)
        if fast and spec.source is None:
            raise InputError(
                f"`fast` does not work with environment '{spec.name}', which steps in a batch; leave it out"
            )
        portable = portable and spec.portable
        if spec.source is not None and not portable:
            notes.append(
                "everything ran in one process, because others cannot import the environment or the policy by name"
            )
        settings = CompressSettings(
            search=SearchSettings(keep=keep, tuning=tuning and spec.source is not None, seed=seed),
            episodes=episodes,
            seconds=60.0 * minutes,
            steps=steps,
            clip_range=None if clip_range is None else range_given(clip_range),
            max_failures=max_failures,
            disturbance=disturbance_of(noise, action_noise, delay, drop, randomize),
        )
        # What makes the environment goes through: nothing but ``make_environment`` looks at it.
        found = search_and_certify(
            Task(env_id=cast(str, single), teacher_of=teacher_of, kwargs=spec.kwargs, fast=fast),
            settings,
            displays,
            workers=workers_for(workers, portable),
        )
        if spec.source != spec.name:
            found = replace(found, environment={**found.environment, "id": spec.name, "seeds": seeding.value})
        return _compression(found, notes)


def single_of(spec: EnvironmentSpec) -> tuple[str | EnvironmentMaker, Seeding, list[str]]:
    """Return a function or id that makes one environment, what a seed determines in it, and notes."""
    if spec.source is not None:
        return spec.source, Seeding.EPISODES, []
    first = MadeEnvironment(batch := spec.first(), spec.name)
    notes = [
        f"environment '{spec.name}' only steps in a batch: episodes were played in its first environment, one at a "
        "time, and nothing was tuned on rewards; a function that makes a single one is faster"
    ]
    if batch.seeding is Seeding.NONE:
        notes.append(
            f"episodes of environment '{spec.name}' cannot be seeded: every policy played episodes of its own; the "
            "certificate holds for them, but needed more than with seeds"
        )
    return lambda: first, batch.seeding, notes


def _teacher_of(policy: PathLike | Policy | Answers) -> tuple[Callable[[Spaces], Teacher], bool]:
    """Return a function that makes the teacher for an environment's spaces, and whether it can be sent to other
    processes.
    """
    if isinstance(policy, Policy):
        small = policy if policy.masks is None else policy.shrink()
        if small.graph.states:
            raise InputError(f"{policy} keeps a state, but compress needs a teacher without one")
        return partial(_loaded, small), True
    if isinstance(policy, str | os.PathLike):
        return partial(read_teacher, Path(policy)), True
    if not callable(policy):
        raise InputError(f"a policy must be a file, a prunekit.Policy or a function, not {type(policy).__name__}")
    return partial(_asked, policy), importable_name(policy) is not None


def _loaded(policy: Policy, spaces: Spaces) -> Teacher:
    return replace(teacher_of_graph(policy.graph, str(policy), spaces), notes=policy.notes)


def _asked(respond: Answers, spaces: Spaces) -> Teacher:
    return Teacher(name=function_name(respond), spaces=spaces, respond=respond)


def _compression(found: Compressed, notes: Sequence[str]) -> Compression:
    actor = found.chosen.actor
    policy = Policy(
        graph=graph_of(actor),
        metadata=found.provenance,
        actions=actor.head.kind if isinstance(actor.head, KindHead) else None,
    )
    said = [*found.teacher.notes, *found.failures, *([found.busy] if found.busy else [])]
    return Compression(policy=policy, certificate=found.certificate, notes=(*notes, *said), _found=found)
