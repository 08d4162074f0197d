"""How many episodes a certificate takes, beside other bounds at the same level, on recorded returns.

    python benchmarks/certificate_samples.py    # benchmarks/results/certificate_samples.json

The returns are those of the certified compressions in ``compress.json``, clipped to the ranges of their certificates,
or those in ``claims.json`` where these have none: of small policy, teacher and random policy with the same seeds. As
the other bounds need more than were played, episodes are drawn from these with replacement, 20 times over, after 20
that fix nothing but what the bets begin with. Hoeffding, empirical Bernstein (Maurer and Pontil 2009) and
Clopper-Pearson are for a number of episodes that is fixed before; here they are given the first number at which they
hold, which flatters them. What that costs says the last part: how often a claim that is not true is certified by
looking on the way to the 300th episode, where 5% is promised.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from draws import KEEP, at_the_threshold, falling_now_and_then, random_policy, steady
from numpy.typing import NDArray
from record import read_result, write_result

from prunekit.stats import Paired, RetentionBettor, ReturnRange, ShareBound, range_of
from prunekit.stats.bootstrap import Array

ALPHA = 0.05
LIMIT = 0.05
REPETITIONS, WRONG_REPETITIONS = 20, 500
LEAST, BEFORE, MOST = 20, 20, 200_000
LOOKS = 300
RESAMPLES = 1_000
# Of the bootstrap, which is looked at only so often on the way: every tenth episode.
_EVERY = 10
First = Callable[[Paired, Paired, ReturnRange, np.random.Generator], int | None]
"""From (episodes, those before, range) to how many episodes show the claim; None where they do not."""


def betting(episodes: Paired, before: Paired, clip_range: ReturnRange, _: np.random.Generator) -> int | None:
    """prunekit's test."""
    bettor = RetentionBettor(KEEP, clip_range.width, before.clipped(clip_range))
    for count, difference in enumerate(episodes.clipped(clip_range).differences(KEEP).tolist(), 1):
        bettor.play(difference)
        if count >= LEAST and bettor.refutes(ALPHA):
            return count
    return None


def hoeffding(episodes: Paired, _: Paired, clip_range: ReturnRange, __: np.random.Generator) -> int | None:
    """Hoeffding 1963: a difference lies within a width of 0 on both sides."""
    means, counts, _variances = _running(episodes, clip_range)
    return _first(means - 2.0 * clip_range.width * np.sqrt(math.log(1.0 / ALPHA) / (2.0 * counts)) > 0.0)


def empirical_bernstein(episodes: Paired, _: Paired, clip_range: ReturnRange, __: np.random.Generator) -> int | None:
    """Maurer and Pontil 2009, theorem 4."""
    means, counts, variances = _running(episodes, clip_range)
    level, before = math.log(2.0 / ALPHA), np.maximum(counts - 1.0, 1.0)
    slack = np.sqrt(2.0 * variances * level / counts) + 7.0 * 2.0 * clip_range.width * level / (3.0 * before)
    return _first(means - slack > 0.0)


def bootstrap(episodes: Paired, _: Paired, clip_range: ReturnRange, generator: np.random.Generator) -> int | None:
    """The 5th percentile of means of resamples, looked at every tenth episode."""
    differences = episodes.clipped(clip_range).differences(KEEP)
    for count in range(LEAST, len(differences) + 1, _EVERY):
        chosen = generator.integers(0, count, (RESAMPLES, count))
        if np.percentile(differences[chosen].mean(axis=1), 100.0 * ALPHA) > 0.0:
            return count
    return None


MEANS: dict[str, First] = {
    "betting": betting, "Hoeffding": hoeffding, "empirical Bernstein": empirical_bernstein, "bootstrap": bootstrap
}  # fmt: skip
_SHOWN_WITHIN = {"betting": 5_000, "Hoeffding": MOST, "empirical Bernstein": MOST, "bootstrap": 2_000}


def _running(episodes: Paired, clip_range: ReturnRange) -> tuple[Array, Array, Array]:
    """Return (means, counts, sample variances) of the differences so far, [n] each."""
    differences = episodes.clipped(clip_range).differences(KEEP)
    counts = np.arange(1.0, len(differences) + 1.0)
    means, squares = np.cumsum(differences) / counts, np.cumsum(differences**2) / counts
    return means, counts, np.maximum(squares - means**2, 0.0) * counts / np.maximum(counts - 1.0, 1.0)


def _first(shown: NDArray[np.bool_]) -> int | None:
    """Return the first count from the least on at which it is shown."""
    found = np.flatnonzero(shown[LEAST - 1 :])
    return int(found[0]) + LEAST if len(found) else None


def share_by_betting(failed: NDArray[np.bool_], limit: float = LIMIT) -> int | None:
    """Return after how many episodes it is shown that at most ``limit`` of them fail."""
    seen = ShareBound(ALPHA)
    for count, event in enumerate(failed.tolist(), 1):
        seen.play(event)
        if not event and seen.upper <= limit:
            return count
    return None


def clopper_pearson(failed: NDArray[np.bool_], limit: float = LIMIT) -> int | None:
    """Return the first count at which so few failures have a probability of ``ALPHA`` at most, were it the limit."""
    happened = 0
    for count, event in enumerate(failed.tolist(), 1):
        happened += event
        if not event and _chance(happened, count, limit) <= ALPHA:
            return count
    return None


def _chance(happened: int, count: int, share: float) -> float:
    logs = [
        math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
        + k * math.log(share) + (count - k) * math.log1p(-share)
        for k in range(happened + 1)
    ]  # fmt: skip
    return math.fsum(map(math.exp, logs))


SHARES = {"betting": share_by_betting, "Clopper-Pearson": clopper_pearson}


def recorded() -> list[tuple[str, Paired, ReturnRange]]:
    """Return (name, episodes, range) of every certified compression on record."""
    compressions, claims = read_result("compress"), read_result("claims")
    assert compressions is not None
    assert claims is not None
    ranges = {(row["env"], row["seed"]): row["now"]["range"] for row in claims["rows"]}
    found = []
    for entry in compressions["runs"]:
        tested = next((one for one in reversed(entry["tested"]) if one["verdict"] == "certified"), None)
        if tested is not None:
            low, high = tested["range"] if "range" in tested else ranges[entry["env"], entry["seed"]]
            returns = Paired(
                small=np.asarray(tested["returns"]["small"]),
                teacher=np.asarray(tested["returns"]["dense"]),
                random=np.asarray(tested["returns"]["random"]),
            )
            found.append((f"{entry['env']}, {entry['seed']}", returns, ReturnRange(low=low, high=high)))
    return found


def drawn(episodes: Paired, count: int, generator: np.random.Generator) -> Paired:
    """Return so many of the episodes, with replacement."""
    chosen = generator.integers(0, len(episodes), count)
    return Paired(small=episodes.small[chosen], teacher=episodes.teacher[chosen], random=episodes.random[chosen])


def row_of(name: str, episodes: Paired, clip_range: ReturnRange) -> dict[str, Any]:
    """Return the median numbers of episodes of one compression."""
    half = (episodes.teacher.mean() + episodes.random.mean()) / 2.0
    means: dict[str, list[int | None]] = {kind: [] for kind in MEANS}
    shares: dict[str, list[int | None]] = {kind: [] for kind in SHARES}
    for repetition in range(REPETITIONS):
        generator = np.random.default_rng(repetition)
        known = drawn(episodes, BEFORE, generator)
        before = Paired(small=known.teacher, teacher=known.teacher, random=known.random)
        many = drawn(episodes, MOST, generator)
        for kind, first in MEANS.items():
            within = _SHOWN_WITHIN[kind]
            given = Paired(small=many.small[:within], teacher=many.teacher[:within], random=many.random[:within])
            means[kind].append(first(given, before, clip_range, generator))
        for kind, shown in SHARES.items():
            shares[kind].append(shown((many.small < half)[:5_000]))
    kept = episodes.clipped(clip_range).retention
    return {
        "compression": name,
        "recorded": len(episodes),
        "retention": kept,
        "failed": int((episodes.small < half).sum()),
        "means": {kind: _median(counts) for kind, counts in means.items()},
        "shares": {kind: _median(counts) for kind, counts in shares.items()},
    }


def _median(counts: list[int | None]) -> float | None:
    """Return the median, None where that of as many as half of them is not known."""
    found = float(np.median([math.inf if count is None else count for count in counts]))
    return None if math.isinf(found) or math.isnan(found) else found


def wrong() -> dict[str, int]:
    """Return how often each certifies what is not true, of a policy that falls now and then, at the threshold."""
    counted = dict.fromkeys([*MEANS, *(f"{kind}, failures" for kind in SHARES)], 0)
    for seed in range(WRONG_REPETITIONS):
        generator = np.random.default_rng([seed, 9])
        dense, random = steady(generator, BEFORE + LOOKS), random_policy(generator, BEFORE + LOOKS)
        clip_range = range_of(dense[:BEFORE], random[:BEFORE])
        threshold = at_the_threshold(steady, falling_now_and_then, clip_range)
        small = falling_now_and_then(generator, threshold, BEFORE + LOOKS)
        before = Paired(small=dense[:BEFORE], teacher=dense[:BEFORE], random=random[:BEFORE])
        episodes = Paired(small=small[BEFORE:], teacher=dense[BEFORE:], random=random[BEFORE:])
        for kind, first in MEANS.items():
            counted[kind] += first(episodes, before, clip_range, generator) is not None
        failed = generator.random(LOOKS) < LIMIT
        for kind, shown in SHARES.items():
            counted[f"{kind}, failures"] += shown(failed) is not None
    return counted


def main() -> None:
    """Count, and write the committed result."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    rows = []
    for name, episodes, clip_range in recorded():
        rows.append(row_of(name, episodes, clip_range))
        print(rows[-1], flush=True)
    entries = {
        "keep": KEEP, "confidence": 1.0 - ALPHA, "limit": LIMIT, "repetitions": REPETITIONS, "rows": rows,
        "wrong_repetitions": WRONG_REPETITIONS, "wrong": wrong(),
    }  # fmt: skip
    print(write_result("certificate_samples", "python benchmarks/certificate_samples.py", entries), entries["wrong"])


if __name__ == "__main__":
    main()
