"""Whether a deterministic policy earns far less than its training did, which explores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev

from prunekit.errors import InputError
from prunekit.stats.claim import counted

_MIN_EPISODES = 3


def falls_short(
    played: Sequence[float], trained: Sequence[float], floor: float, *, share: float = 0.5, margin: float = 2.0
) -> bool:
    """Return whether the deterministic policy gains less than ``share`` of what training did.

    ``played`` [n] are its returns and ``trained`` [m] the last ones of training; gains are over ``floor``, the random
    policy's return. The difference has to show beyond chance: with ``margin`` standard errors of both means. Fewer than
    3 returns of either show nothing. Raises InputError unless ``share`` lies in (0, 1).
    """
    if not 0.0 < share < 1.0:
        raise InputError(f"share must lie between 0 and 1, got {share:g}")
    if min(len(played), len(trained)) < _MIN_EPISODES:
        return False
    gain = fmean(trained) - margin * _error(trained) - floor
    return gain > 0.0 and fmean(played) + margin * _error(played) - floor < share * gain


def shortfall(played: Sequence[float], trained: Sequence[float], floor: float) -> str | None:
    """Return a sentence where the deterministic policy ``falls_short`` of its training; else None.

    >>> shortfall([0.0, 1.0, -1.0], [250.0] * 100, -200.0)[:59]
    'the deterministic policy, which is deployed, earned 0.0 in '
    """
    if not falls_short(played, trained, floor):
        return None
    return (
        f"the deterministic policy, which is deployed, earned {fmean(played):,.1f} in "
        f"{counted(len(played), 'episode')}, far less than the {fmean(trained):,.1f} of the last {len(trained)} "
        "training episodes, which explore; train again with another `seed`"
    )


def _error(values: Sequence[float]) -> float:
    return stdev(values) / math.sqrt(len(values))
