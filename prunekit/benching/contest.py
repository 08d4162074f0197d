"""Two policies, opened in their environment, and the test of one against the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from prunekit.benching.certify import Certified, CertifySettings, Play, certified
from prunekit.benching.host import host_facts
from prunekit.benching.models import BenchModel
from prunekit.benching.players import Player, episodes_of, graph_in, integer_player, player_of
from prunekit.disturbances.deviation import DEVIATION_SEEDS, Deviation
from prunekit.disturbances.record import Disturbance
from prunekit.environments import Spaces
from prunekit.export.quantize import Bits
from prunekit.export.recording import recorded_observations
from prunekit.policy.sizes import sizes_of
from prunekit.simulators.disturbed import episodes_under
from prunekit.simulators.episodes import Episodes
from prunekit.simulators.spec import EnvironmentSpec

# Episodes from which the ranges of integers are taken, as many as an export to C records.
_RECORDED = 5

ModelsOf = Callable[[Spaces], tuple[BenchModel, BenchModel]]
"""From what is known of the environment to (small policy, teacher)."""


@final
@dataclass(frozen=True, kw_only=True)
class Contest:
    """The players and their environment. ``facts`` describe the policies, the environment and this machine.

    ``disturbance`` applies to ``episodes``; ``deviation`` [obs] is that of undisturbed observations, if noise needs it,
    and ``undisturbed`` are the teacher's returns in the episodes in which it was measured.
    """

    episodes: Episodes
    small: Player
    teacher: Player
    facts: Mapping[str, Any] = field(default_factory=dict)
    disturbance: Disturbance = field(default_factory=Disturbance)
    deviation: tuple[float, ...] | None = None
    undisturbed: tuple[float, ...] = ()

    def play(self) -> Play:
        """Return the function that plays an episode of each policy."""
        return episodes_of(self.episodes, self.teacher, self.small)

    def certified(
        self, play: Play, settings: CertifySettings, progress: Callable[[str, int], None] = lambda *_: None
    ) -> Certified:
        """Return what the episodes of ``play`` show; raises as ``certified`` does."""
        names = (self.small.name, self.teacher.name)
        under = self.disturbance.condition
        found = certified(play, names, settings, form=self.small.form, under=under, progress=progress)
        told: dict[str, Any] = {"disturbance": self.disturbance.to_json(), "observation_deviation": self.deviation}
        if self.undisturbed:
            told["undisturbed_teacher"] = list(self.undisturbed)
        notes = dict.fromkeys(
            f"{player.name}: {note}" for player in (self.small, self.teacher) for note in player.notes
        )
        return replace(found, facts={**self.facts, **told, "notes": list(notes)})


@contextmanager
def disturbed(
    contest: Contest, disturbance: Disturbance, deviation: tuple[float, ...] | None = None
) -> Iterator[Contest]:
    """Yield ``contest`` under ``disturbance``, the same for all policies; ``deviation`` is that of the observations, if
    known.

    Otherwise it is measured in 20 undisturbed episodes of the teacher, with seeds that no certificate plays. Raises as
    ``episodes_under`` does.
    """
    undisturbed: tuple[float, ...] = ()
    if disturbance.observation_noise and deviation is None:
        seen = Deviation(contest.episodes.spaces.observation)
        return_of = contest.episodes.returns(lambda _: seen.watching(contest.teacher.begin()))
        undisturbed = tuple(float(return_of(seed)) for seed in DEVIATION_SEEDS)
        deviation = tuple(seen.value.tolist())
    sizes = None if deviation is None else np.asarray(deviation)
    with episodes_under(contest.episodes, disturbance, sizes) as episodes:
        yield replace(contest, episodes=episodes, disturbance=disturbance, deviation=deviation, undisturbed=undisturbed)


def opened(spec: EnvironmentSpec, models_of: ModelsOf, bits: Bits | None = None, *, as_read: bool = False) -> Contest:
    """Open both policies in the environment of ``spec``; close ``episodes`` of the result.

    With ``bits`` the small policy plays in integers, with activations of that many bits. With ``as_read`` ONNX files
    play as the graphs that were read, not in their own form. Raises InputError, naming the policy, if one does not fit
    the environment.
    """
    episodes = spec.episodes()
    try:
        spaces = episodes.spaces
        small, teacher = models_of(spaces)
        player = player_of(small, spaces, as_read=as_read) if bits is None else in_integers(small, spec, spaces, bits)
        facts = {
            "sizes": {"small": _sizes(small), "teacher": _sizes(teacher)},
            "env": {"id": episodes.name, "kwargs": dict(spec.kwargs), "seeds": episodes.seeding.value},
            "host": host_facts(episodes.registered),
        }
        return Contest(
            episodes=episodes, small=player, teacher=player_of(teacher, spaces, as_read=as_read), facts=facts
        )
    except BaseException:
        episodes.close()
        raise


def in_integers(
    model: BenchModel, spec: EnvironmentSpec, spaces: Spaces, bits: Bits, observations: NDArray[Any] | None = None
) -> Player:
    """Return the policy in integers, with activations of ``bits``.

    Ranges come from its own ``observations`` [n, ...], by default from five episodes in the environment. Raises
    InputError, naming the policy, if it has no integer form.
    """
    graph = graph_in(model, spaces, "has no integer form")
    if observations is None:
        observations = recorded_observations(graph, spec.single, spec.kwargs, _RECORDED)
    return replace(integer_player(graph, str(model.path), spaces, observations, bits), notes=model.notes)


def _sizes(model: BenchModel) -> dict[str, Any]:
    if model.graph is None:
        return {"hidden": list(model.hidden), "parameters": model.parameters}
    counted = sizes_of(model.graph)
    return {"hidden": list(counted.hidden), "parameters": counted.parameters}
