"""What is done by now, as committed results: of compressions, beside busy processes, of former code, without parts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from record import read_result, write_result

from compressing.measuring import said_last
from compressing.runs import KEEP, Asked, Search, entry_of, failed_first, is_of
from compressing.teachers import DEVELOPMENT, HELD_OUT
from prunekit.console import size_name

_ORDER = [*DEVELOPMENT, *HELD_OUT]
INTERLEAVED = 5.0
"""Minutes between two runs up to which they were made one after the other."""
_COMMAND = "python benchmarks/compress.py"
Entry = dict[str, Any]


def found_or_committed(asked: Asked, committed: Iterable[Entry]) -> Entry | None:
    """Return what a compression came to, here or in the committed result: that of the search asked for, if possible."""
    own = _timed(asked)
    other = next((one for one in committed if (one["env"], one["seed"]) == (asked.env_id, asked.seed)), None)
    return next((one for one in (own, other) if is_of(one, asked)), own or other)


def committed_runs(name: str) -> list[Entry]:
    """Return the runs of the committed result of this name; none where there is no such result."""
    result = read_result(name) or {}
    return [run for part in ("runs", "held_out") for run in result.get(part, [])]


def open_of(asked: Sequence[Asked], committed: Sequence[Entry]) -> list[Asked]:
    """Return those whose result, here or committed, is not of the search asked for."""
    return [one for one in asked if not is_of(found_or_committed(one, committed), one)]


def collect_runs(asked: Sequence[Asked], search: Search) -> Path:
    """Write what every compression came to, with all its episodes, the development set apart from the others."""
    committed = committed_runs("compress")
    found = {one.name: (one, found_or_committed(one, committed)) for one in asked}
    entries = sorted(
        (entry for _, entry in found.values() if entry is not None),
        key=lambda entry: (_ORDER.index(entry["env"]), entry["seed"]),
    )
    return write_result(
        "compress",
        _commands("train", "compress", "collect"),
        {
            **_head(search),
            "development": list(DEVELOPMENT),
            "held_out_environments": list(HELD_OUT),
            "missing": [name + why_not(one) for name, (one, entry) in found.items() if entry is None],
            "runs": [entry for entry in entries if entry["env"] in DEVELOPMENT],
            "held_out": [entry for entry in entries if entry["env"] in HELD_OUT],
            "made_again": _superseded("compress", asked, search),
        },
    )


def _superseded(name: str, asked: Sequence[Asked], search: Search) -> list[Entry]:
    """Return what was made again: what the committed results ``name`` say of it, and what else was put aside."""
    known: list[Entry] = (read_result(name) or {}).get("made_again", [])
    return [*known, *(one for one in made_again(asked, search) if one not in known)]


def made_again(asked: Sequence[Asked], search: Search) -> list[Entry]:
    """Return, in short, runs of the same search that were put aside, as what it does after a failed test changed."""
    found = []
    for one in asked:
        for place in sorted((one.folder.parent / "earlier").glob(f"{one.folder.name}-{search.digest}-*")):
            entry = entry_of(replace(one, folder=place))
            if entry is not None:
                names = ("size", "verdict", "retention", "lower_bound", "episodes")
                tested = [{name: test[name] for name in names} for test in entry["tested"]]
                file = {"file": one.called} if one.called else {}
                found.append({**file, **in_short(entry), "tested": tested})
    return found


def collect_busy(asked: Sequence[Asked], search: Search) -> Path | None:
    """Write what compressions came to beside busy processes; None where there are none."""
    return _collect_short("compress_busy", "busy", {"": asked}, search)


def collect_ablations(asked: Mapping[str, Sequence[Asked]], search: Search) -> Path | None:
    """Write what compressions came to without a part of the search, by its name; None where there are none."""
    return _collect_short("compress_ablations", "ablations", asked, search)


def _collect_short(name: str, stage: str, asked: Mapping[str, Sequence[Asked]], search: Search) -> Path | None:
    committed = committed_runs(name)
    runs, missing = [], []
    for variant, many in asked.items():
        own = [run for run in committed if run.get("without", "") == variant]
        for one in many:
            entry = found_or_committed(one, own)
            if entry is None:
                missing.append(" ".join(filter(None, (one.name, variant))) + why_not(one))
            else:
                runs.append({"without": variant, **in_short(entry)})
    runs.sort(key=lambda run: (list(asked).index(run["without"]), _ORDER.index(run["env"]), run["seed"]))
    if not runs or (len(asked) > 1 and not any(run["without"] for run in runs)):
        return None
    entries = {**_head(search), "missing": missing, "runs": runs}
    return write_result(name, _commands(stage, "collect"), entries)


def collect_published(asked: Sequence[Asked], search: Search) -> Path | None:
    """Write what compressions of further published policies came to, or why not; None where nothing was tried.

    A file whose compression ended without a certificate counts as tried, and why is kept.
    """
    committed = {run["file"]: run for run in committed_runs("compress_published")}
    runs, missing = [], []
    for one in asked:
        entry, before = _timed(one), committed.get(one.called)
        if entry is not None and (is_of(entry, one) or before is None):
            size = entry["teacher"]["size"]
            earned = fmean(_chosen(entry)["returns"]["dense"])
            runs.append({"file": one.called, "teacher": {"size": size, "return": earned}, **in_short(entry)})
        elif before is not None:
            runs.append(before)
        elif (reason := why_not(one)) != "":
            runs.append({"file": one.called, "env": one.env_id, "seed": one.seed, "refused": reason.strip(" ()")})
        else:
            missing.append(one.called)
    if not runs:
        return None
    entries = {"missing": missing, "runs": runs, "made_again": _superseded("compress_published", asked, search)}
    return write_result("compress_published", _commands("published", "collect"), {**_head(search), **entries})


def _chosen(entry: Entry) -> Entry:
    """Return the test of the network that came out."""
    return next(one for one in entry["tested"] if one["size"] == size_name(tuple(entry["hidden"])))


def collect_speed(pairs: Sequence[tuple[Asked, Asked]], search: Search) -> Path | None:
    """Write former and present compressions side by side; None where there is no pair."""
    committed = (read_result("compress_speed") or {"pairs": []})["pairs"]
    done: list[Entry] = []
    missing: list[str] = []
    for former, present in pairs:
        both = {
            name: found_or_committed(one, [pair[name] for pair in committed])
            for name, one in (("former", former), ("present", present))
        }
        if any(one is None or one["machine"] is None for one in both.values()):
            missing.append(present.name)
            continue
        halves = {name: in_short(one) for name, one in both.items() if one is not None}
        apart = minutes_apart(halves["former"], halves["present"])
        done.append({"env": present.env_id, "seed": present.seed, "minutes_apart": apart, **halves})
    done.sort(key=lambda pair: (_ORDER.index(pair["env"]), pair["seed"]))
    entries = {**_head(search), "former": asdict(pairs[0][0].search), "missing": missing, "pairs": done}
    return write_result("compress_speed", _commands("former", "collect"), entries) if done else None


def minutes_apart(former: Entry | None, present: Entry | None) -> float | None:
    """Return the minutes between the end of the first of two runs and the beginning of the other, if both are there."""
    if former is None or present is None or former["machine"] is None or present["machine"] is None:
        return None
    first, second = sorted((former, present), key=lambda entry: str(entry["begun"]))
    between = datetime.fromisoformat(second["begun"]) - datetime.fromisoformat(first["begun"])
    return round((between.total_seconds() - float(first["machine"]["wall_seconds"])) / 60.0, 1)


def in_short(entry: Entry) -> Entry:
    """Return an entry without its episodes."""
    if "tested" not in entry:
        return {name: value for name, value in entry.items() if name != "without"}
    names = (
        "env", "seed", "minutes", "search", "begun", "busy_processes", "certified", "hidden", "parameters", "tuned",
        "seconds", "core_share", "environment_steps", "machine",
    )  # fmt: skip
    shown = {name: _chosen(entry)[name] for name in ("retention", "lower_bound", "episodes")}
    told = {"failed_first": failed_first(entry), "smallest_not_shown": smallest_not_shown(entry)}
    return {**{name: entry.get(name) for name in names}, **shown, **told}


def smallest_not_shown(entry: Entry) -> Entry | None:
    """Return the smallest network that was good in the selection and smaller than what was certified, if any.

    Where nothing was certified it is the smallest that was good.
    """
    limit = entry["parameters"] if entry["certified"] else float("inf")
    good = [one for one in entry["frontier"] if one["good"] and one["parameters"] < limit]
    if not good:
        return None
    found = min(good, key=lambda one: (one["parameters"], -one["retention"]))
    return {name: found[name] for name in ("hidden", "parameters", "retention", "episodes")}


def why_not(asked: Asked) -> str:
    """Return why there is no result where something went wrong, in brackets; empty where nothing did."""
    ended = (asked.folder / "measured.json").exists() and entry_of(asked) is None
    return f" ({said_last(asked.folder / 'log')})".replace(str(asked.teacher), asked.env_id) if ended else ""


def _timed(asked: Asked) -> Entry | None:
    """Return what lies in a folder, unless it was asked for in other minutes."""
    entry = entry_of(asked)
    return entry if entry is not None and entry["minutes"] == asked.minutes else None


def _head(search: Search) -> Entry:
    return {"keep": KEEP, "cores": os.cpu_count(), "search": asdict(search)}


def _commands(*stages: str) -> str:
    return "; ".join(f"{_COMMAND} {stage}" for stage in stages)
