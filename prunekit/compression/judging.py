"""How good a network is: it plays the selection's episodes until they tell, by the bets of the certificate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

from prunekit.adapters.envpool import EnvPoolRunner
from prunekit.compression.candidates import CLEARLY, MIN_PLAYED, Baseline, episodes_wanted
from prunekit.compression.settings import SearchSettings
from prunekit.policy.program import Float32
from prunekit.rollouts import BatchPolicy, EpisodeRunner
from prunekit.stats.betting import Paired
from prunekit.stats.clipping import ReturnRange

# Fewer than all episodes are enough, but at least this many, if a certificate should take at most this many.
_MIN_GOOD, _MAX_WANTED = 20, 200


@final
@dataclass(frozen=True, kw_only=True)
class FreshEpisodes:
    """Episodes that selected nothing: their ``seeds``, and the ``teacher`` that plays them too."""

    seeds: range
    teacher: BatchPolicy


@final
@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What a network earned in the episodes that it played, its retention in them, and whether that is good enough."""

    played: Paired
    retention: float
    good: bool


def judged_again(
    found: Judgement,
    policy: BatchPolicy,
    runner: EpisodeRunner | EnvPoolRunner,
    settings: SearchSettings,
    baseline: Baseline,
    fresh: FreshEpisodes,
) -> Judgement:
    """Return the judgement of a network that was ``found`` good, with its ``fresh`` episodes added.

    A branch judges many networks on the same episodes, so the first good one is often a lucky one. To stay good, a
    network needs a retention of ``settings.enough`` over all its episodes, and of ``settings.keep`` over the fresh ones
    alone. In those it is compared with the teacher on the same seeds.
    """
    small, large = (
        np.array([episode.total for episode in runner.play_all(plays, fresh.seeds)])
        for plays in (policy, fresh.teacher)
    )
    luck = float(large.mean() - baseline.teacher.mean())
    again = Paired(small=small - luck, teacher=large - luck, random=np.full(len(small), baseline.random.mean()))
    kept = 1.0 + (small - large) / baseline.gain
    count, more = len(found.played), len(small)
    retention = (count * found.retention + float(kept.sum())) / (count + more)
    return Judgement(
        played=found.played.with_others(again),
        retention=retention,
        good=retention >= settings.enough and float(kept.mean()) >= settings.keep,
    )


def judged(
    policy: BatchPolicy,
    runner: EpisodeRunner | EnvPoolRunner,
    settings: SearchSettings,
    baseline: Baseline,
    clip_range: ReturnRange,
    *,
    best: float = -math.inf,
    seen: Callable[[Float32], object] = len,
    over: Callable[[], bool] = lambda: False,
) -> Judgement:
    """Have ``policy`` play the selection's episodes, and pass the observations of each to ``seen``.

    It stops early, but after at least one episode: if it can hardly be good, if it is clearly worse than ``best``, the
    best retention of its size so far, if it is so good that a certificate would take few episodes, or once ``over()``.
    """
    wanted = max(settings.enough, best)
    half = settings.selection_episodes // 2
    enough_played = min(_MIN_GOOD, settings.selection_episodes)
    returns: list[float] = []
    played, retention = baseline.paired(returns), -math.inf
    for episode in runner.play_all(policy, settings.selection_seeds):
        returns.append(episode.total)
        seen(episode.observations)
        count, played = len(returns), baseline.paired(returns)
        kept = baseline.kept(played)
        retention = float(kept.mean())
        error = float(kept.std(ddof=1)) / math.sqrt(count) if count > 1 else math.inf
        surely = (
            count >= enough_played
            and retention - error >= settings.enough
            and episodes_wanted(played, settings.keep, clip_range) <= _MAX_WANTED
        )
        if surely or count == settings.selection_episodes:
            return Judgement(played=played, retention=retention, good=retention >= settings.enough)
        hopeless = retention + CLEARLY * error < settings.keep
        poor = retention + error < wanted and 4 * count >= half
        behind = retention < wanted and count >= half
        if over() or ((hopeless or poor or behind) and count >= MIN_PLAYED):
            break
    return Judgement(played=played, retention=retention, good=False)
