"""How good a network is: it plays the selection's episodes until they say enough, by the bets of the certificate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from prunekit.adapters.envpool import EnvPoolRunner
from prunekit.compression.candidates import CLEARLY, MIN_PLAYED, Baseline, episodes_wanted
from prunekit.compression.settings import SearchSettings
from prunekit.policy.program import Float32
from prunekit.rollouts import BatchPolicy, EpisodeRunner
from prunekit.stats.betting import Paired
from prunekit.stats.clipping import ReturnRange

# So many episodes are enough where a certificate should take no more than so many.
_MIN_GOOD, _MAX_WANTED = 20, 200


@final
@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What a network earned on the first of the selection's episodes, what it keeps, and whether that is enough."""

    played: Paired
    retention: float
    good: bool


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
    """Have ``policy`` play the selection's episodes; say what was ``seen`` in each.

    It plays no more where it can hardly be good, where it is clearly worse than ``best``, which it was before, where a
    certificate would be had in few episodes, or when it is ``over``, after one episode at least.
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
