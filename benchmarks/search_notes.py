"""Sentences below the tables of compressions: which search, what other programs did, and which runs are missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from compressing.runs import is_by

Entry = Mapping[str, Any]

# Other programs that used less than this share of a core are not worth a figure.
_NO_CORE = 0.05
# At most so many runs that are missing are named.
_MAX_NAMED = 12


def is_earlier(result: Entry, run: Entry) -> bool:
    """Return whether a run is of another search than that of the day when the result was collected."""
    return not is_by(run, result.get("search"))


def searches(result: Entry, runs: Sequence[Entry]) -> str:
    """Return in a sentence which of ``runs`` are of an earlier search than the present one."""
    earlier = [run for run in runs if is_earlier(result, run)]
    if not earlier:
        return f" All runs are from one version of the search ({_same(_commits(runs))})."
    if len(earlier) == len(runs):
        return f" All runs are from an earlier version of the search ({', '.join(_commits(runs))})."
    names = _by_environment((run["env"], str(run["seed"])) for run in earlier)
    return f" From an earlier version of the search ({', '.join(_commits(earlier))}): {names}."


def _same(commits: Sequence[str]) -> str:
    if len(commits) == 1:
        return f"commit {commits[0]}"
    return f"commits {joined(commits)}, whose differences do not affect these runs"


def joined(names: Sequence[str]) -> str:
    """Return names as a list in a sentence: A, B and C."""
    return " and ".join([*([", ".join(names[:-1])] if names[1:] else []), *names[-1:]])


def _by_environment(runs: Iterable[tuple[str, str]]) -> str:
    seeds: dict[str, list[str]] = {}
    for environment, seed in runs:
        seeds.setdefault(environment, []).append(seed)
    return "; ".join(
        f"{environment} seed{'s' * (len(found) > 1)} {', '.join(found)}" for environment, found in seeds.items()
    )


def _commits(runs: Iterable[Entry]) -> list[str]:
    found = ((run.get("search") or {}).get("commit") or "commit not recorded" for run in runs)
    return list(dict.fromkeys(found))


def others(runs: Iterable[Entry]) -> str:
    """Return in a sentence how much other programs worked beside ``runs``; empty where that was not recorded."""
    found = [(run.get("machine") or {}).get("others_cores") for run in runs]
    known = [value for value in found if value is not None]
    if not known:
        return ""
    if max(known) < _NO_CORE:
        return " No other program used a core at the same time."
    return f" Other programs kept at most {max(known):.1f} cores busy at the same time."


def not_run(missing: Sequence[str]) -> str:
    """Return what is missing in a sentence, ``ENV-seed0`` and so on by environment; empty where nothing is.

    Many runs are counted, not named.
    """
    if len(missing) > _MAX_NAMED:
        return f" Not run yet: {len(missing)} runs."
    parts = (name.partition("-seed") for name in missing)
    return f" Not run yet: {_by_environment((environment, seed) for environment, _, seed in parts)}." * bool(missing)


def by_environment(runs: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Return runs by their environment."""
    found: dict[str, list[Entry]] = {}
    for run in runs:
        found.setdefault(run["env"], []).append(run)
    return found
