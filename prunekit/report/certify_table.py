"""The certificate of two policies as a table: estimates and bounds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prunekit.benching.certify import Certified
from prunekit.disturbances.ladder import Rung, largest
from prunekit.disturbances.record import Disturbance
from prunekit.report.table import Column, Table, words
from prunekit.stats.bootstrap import Array
from prunekit.stats.claim import counted
from prunekit.stats.frequency import Frequency
from prunekit.stats.means import mean_lower_bound
from prunekit.stats.tails import Tail

_NONE = "not known"
_FRAIL = 0.5


def certify_table(result: Certified) -> Table:
    """Return a table with one row per quantity, and columns for the small policy, the teacher and the random policy."""
    found = result.certificate
    episodes, clip_range = found.episodes, found.claim.clip_range
    count = len(episodes)
    columns = ("", *names_of(result), "random policy")
    seen = (episodes.small, episodes.teacher, episodes.random)
    retention, lower, upper = found.retention, found.lower_bound, found.upper_bound
    rows = [
        ("episodes", f"{count:,}", f"{count:,}", f"{count:,}"),
        ("mean return", *(_mean(returns) for returns in seen)),
        (f"mean return, clipped to {clip_range}", *(_mean(clip_range.clip(returns)) for returns in seen)),
        (
            "  lower bound of the clipped mean",
            *(_number(mean_lower_bound(r, clip_range, found.alpha), clip_range.low) for r in seen[:2]),
            "",
        ),
        ("retention, clipped", _NONE if retention is None else f"{retention:.3f}", "", ""),
        ("  lower bound of the retention", "none" if lower is None else f"{lower:.3f}", "", ""),
        ("  upper bound of the retention", "no bound" if upper is None else f"{upper:.3f}", "", ""),
        (f"failed, below {found.claim.fails_below:.10g}", *map(_failed, (found.failed, found.teacher_failed)), ""),
        ("  upper bound of their share", *(f"{entry.upper:.1%}" for entry in (found.failed, found.teacher_failed)), ""),
        (f"worst {found.worst.share:.0%}, mean", *map(_estimate, (found.worst, found.teacher_worst)), ""),
        (
            "  lower bound of this mean",
            *(_number(e.lower_bound, clip_range.low) for e in (found.worst, found.teacher_worst)),
            "",
        ),
    ]
    return Table(
        title=f"keep {found.claim.keep:g}: {result.form}",
        columns=tuple(Column(name=name, align="right" if index else "left") for index, name in enumerate(columns)),
        rows=tuple(tuple(words(text) for text in row) for row in rows),
        notes=(f"Bounds hold with {1.0 - found.alpha:.0%} confidence each, however many episodes were played.",),
    )


def certify_text(result: Certified) -> Sequence[str]:
    """Return the lines of a Markdown file: title, table, notes on the files and sentence."""
    from prunekit.report.markdown import to_markdown

    title = " against ".join(names_of(result)).join(("# ", ""))
    notes = (f"Note: {note}." for note in result.facts.get("notes", ()))
    return (title, to_markdown(certify_table(result)), *notes, result.sentence)


def ladder_table(rungs: Sequence[Rung[Certified]]) -> Table:
    """Return one row per level of disturbance that was tested, in order.

    ``teacher keeps`` is the share of the teacher's gain over the random policy at the first level that it keeps itself.
    """
    rows = []
    for rung, share in zip(rungs, teacher_shares(rungs), strict=True):
        found = rung.found.certificate
        lower = found.lower_bound
        said = "certified" if found.certified else "refuted" if found.refuted else "not shown"
        means = (_mean(returns) for returns in (found.episodes.small, found.episodes.teacher))
        bound = "none" if lower is None else f"{lower:.3f}"
        own = _NONE if share is None else f"{share:.3f}"
        rows.append((rung.disturbance.words, *means, own, bound, f"{said}, {counted(len(found.episodes), 'episode')}"))
    head = ("disturbance", "policy", "teacher", "teacher keeps", "retention, at least", "claim")
    return Table(
        title="the largest disturbance",
        columns=tuple(Column(name=name, align="right" if index else "left") for index, name in enumerate(head)),
        rows=tuple(tuple(words(text) for text in row) for row in rows),
        notes=("Levels are tested in this order, up to the first that is not shown. All claims shown hold together.",),
    )


def ladder_sentence(rungs: Sequence[Rung[Certified]], beyond: Disturbance | None = None) -> str:
    """Return a sentence about the largest disturbance at which the claim was shown.

    ``beyond`` is the level after the last one, if the teacher earns no more than the random policy there.
    """
    best = largest(rungs)
    keep = rungs[0].found.certificate.claim.keep
    if best is None:
        return f"That the policy keeps {keep:g} was not shown under any of the disturbances."
    end = "" if rungs[-1].found.certified else f"; not shown under {rungs[-1].disturbance.words}"
    if beyond is not None:
        end = f"; under {beyond.words} the teacher earns no more than the random policy"
    confidence = f"{1.0 - best.found.certificate.alpha:.0%}"
    under = "none" if best.disturbance.is_none else best.disturbance.words
    confident = f"{confidence} confidence for all levels together"
    shown = [(rung, share) for rung, share in zip(rungs, teacher_shares(rungs), strict=True) if rung.found.certified]
    frail = next((_frail(rung.disturbance.words, share) for rung, share in shown if _is_frail(share)), "")
    return f"The policy keeps {keep:g} up to this disturbance: {under}{end} ({confident}).{frail}"


def teacher_shares(rungs: Sequence[Rung[Certified]]) -> list[float | None]:
    """Return the share of the teacher's gain at the first level that it keeps at each level; None if there is none."""
    first = rungs[0].found.certificate.episodes
    return [_share_of_gain(rung.found.certificate.episodes.teacher, first.teacher, first.random) for rung in rungs]


def frailty(result: Certified) -> str:
    """Return a note if the teacher itself loses most of its undisturbed gain, where its undisturbed returns are known.

    They are if observation noise was measured for the test (``Contest.undisturbed``). The note is empty otherwise.
    """
    undisturbed = np.asarray(result.facts.get("undisturbed_teacher", ()), np.float64)
    episodes = result.certificate.episodes
    share = _share_of_gain(episodes.teacher, undisturbed, episodes.random)
    return _frail(result.certificate.claim.under, share).strip() if _is_frail(share) else ""


def ladder_json(rungs: Sequence[Rung[Certified]]) -> dict[str, Any]:
    """Return plain data: every tested level with its certificate, and the largest that was shown."""
    best = largest(rungs)
    return {
        "levels": [
            {
                "disturbance": rung.disturbance.to_json(),
                "teacher_share": share,
                "certificate": rung.found.certificate.to_json(),
            }
            for rung, share in zip(rungs, teacher_shares(rungs), strict=True)
        ],
        "largest": None if best is None else best.disturbance.to_json(),
    }


def names_of(result: Certified) -> tuple[str, str]:
    """Return the names of the two policies: their file names, or their whole paths if these are the same."""
    small, teacher = Path(result.small).name, Path(result.teacher).name
    return (small, teacher) if small != teacher else (result.small, result.teacher)


def _share_of_gain(returns: Array, undisturbed: Array, random: Array) -> float | None:
    if not len(returns) or not len(undisturbed) or not len(random):
        return None
    floor, own = float(np.mean(random)), float(np.mean(undisturbed))
    return (float(np.mean(returns)) - floor) / (own - floor) if own > floor else None


def _is_frail(share: float | None) -> bool:
    return share is not None and share < _FRAIL


def _frail(under: str, share: float | None) -> str:
    return (
        f" Under {under} the teacher itself keeps only {share:.3f} of its gain, so a comparison with it does not show "
        "that the policy is robust there."
    )


def _mean(returns: Array) -> str:
    return f"{float(np.mean(returns)):,.2f}" if len(returns) else _NONE


def _number(bound: float, trivial: float) -> str:
    return "no bound" if bound <= trivial else f"{bound:,.2f}"


def _failed(entry: Frequency) -> str:
    return f"{entry.happened:,} of {entry.played:,}"


def _estimate(tail: Tail) -> str:
    return _NONE if tail.estimate is None else f"{tail.estimate:,.2f}"
