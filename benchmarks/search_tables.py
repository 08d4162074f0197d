"""Tables of what ``compress`` reaches: on the development set and held out, busy, beside former code, without parts."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from compressing.collecting import INTERLEAVED, smallest_not_shown
from record import stamp, table
from search_notes import by_environment, is_earlier, joined, not_run, others, searches

from prunekit.console import size_name
from prunekit.stats.claim import counted

Entry = Mapping[str, Any]

# Networks whose parameters are this many times as many as the former ones are called larger.
_LARGER = 1.1


def compress_table(result: Entry) -> str:
    """Return one row per seed of the development set: what came out, and what it was certified on."""
    return _runs_table(result, result["runs"], result.get("development", ()), "PPO, 256x256")


def held_out_table(result: Entry) -> str:
    """Return the same of the environments that nothing was chosen on."""
    runs = result.get("held_out", [])
    if not runs:
        return "Not measured yet."
    teachers = ", ".join(dict.fromkeys(_teacher(run) for run in runs))
    return _runs_table(result, runs, result["held_out_environments"], f"{teachers}; dlr/ is DLR-RM/rl-trained-agents")


def _runs_table(result: Entry, runs: Sequence[Entry], environments: Sequence[str], teachers: str) -> str:
    head = [
        "environment, seed", "hidden", "parameters", "units removed", "parameters removed",
        "teacher's return", "compact's return", "retention", f"certified at {result['keep']:g}, episodes",
        "smallest found, not shown", "learned by", f"time on {result['cores']} cores",
    ]  # fmt: skip
    missing = [name for name in result["missing"] if name.split("-seed")[0] in environments]
    mixed = len({is_earlier(result, run) for run in runs}) > 1
    rows = [_row(run, mixed and is_earlier(result, run)) for run in runs]
    told = f"{searches(result, runs)}{others(runs)}{not_run(missing)}"
    return f"{table(head, rows)}\n\nTeachers: {teachers}.{told} {stamp(result)}."


def _row(run: Entry, marked: bool) -> list[str]:
    size, hidden = run["teacher"]["size"], tuple(run["hidden"])
    tested = next(entry for entry in run["tested"] if entry["size"] == size_name(hidden))
    returns = {name: statistics.mean(values) for name, values in tested["returns"].items()}
    small = smallest_not_shown(dict(run))
    return [
        f"{run['env']}, {run['seed']}{' (earlier search)' * marked}",
        size_name(hidden),
        f"{run['parameters']:,}",
        f"{1.0 - sum(hidden) / sum(size['hidden']):.1%}",
        f"{1.0 - run['parameters'] / size['parameters']:.2%}",
        _number(returns["dense"]),
        _number(returns["small"]),
        kept(tested),
        f"{'yes' if run['certified'] else 'no'}, {tested['episodes']}",
        "none" if small is None else f"{size_name(tuple(small['hidden']))} ({small['parameters']:,})",
        "imitation, rewards" if run["tuned"] else "imitation",
        f"{run['seconds'] / 60:.1f} of {run['minutes']:g} min{_share(run)}",
    ]


def _teacher(run: Entry) -> str:
    name, size = run["teacher"]["name"], size_name(tuple(run["teacher"]["size"]["hidden"]))
    return f"{run['env']} {size} by {name if name.startswith('dlr/') else 'PPO here'}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"


def kept(tested: Entry) -> str:
    """Return a retention, or that there is none."""
    return "not known" if tested["retention"] is None else f"{tested['retention']:.3f}"


def _share(run: Entry) -> str:
    share = run.get("core_share")
    return "" if share is None else f", {share:.0%} of a core each"


def short_rows(result: Entry, runs: Sequence[Entry]) -> str:
    """Return a table with one row per environment: sizes, retention and times of all seeds."""
    rows = []
    for environment, found in by_environment(runs).items():
        seconds = [run["seconds"] / 60.0 for run in found]
        tested = [next(one for one in run["tested"] if one["size"] == size_name(tuple(run["hidden"]))) for run in found]
        rows.append(
            [
                f"{environment} ({size_name(tuple(found[0]['teacher']['size']['hidden']))})",
                f"{found[0]['teacher']['size']['parameters']:,}",
                ", ".join(f"{run['parameters']:,}" for run in found),
                ", ".join(size_name(tuple(run["hidden"])) for run in found),
                ", ".join(kept(one) for one in tested),
                f"{sum(run['certified'] for run in found)} of {len(found)}",
                f"{' to '.join(dict.fromkeys(f'{one:.1f}' for one in (min(seconds), max(seconds))))} min",
            ]
        )
    head = [
        "environment (teacher)", "parameters before", "after (each seed)", "hidden units", "retention",
        f"certified at {result['keep']:g}", f"time on {result['cores']} cores",
    ]  # fmt: skip
    return table(head, rows)


def busy_table(result: Entry) -> str:
    """Return one row per environment: what came out beside busy processes, and the share of a core that there was."""
    rows = [
        [
            environment,
            ", ".join(f"{size_name(tuple(run['hidden']))} ({run['parameters']:,})" for run in found),
            ", ".join(kept(run) for run in found),
            f"{sum(run['certified'] for run in found)} of {len(found)}",
            ", ".join(f"{run['core_share']:.0%}" for run in found),
            ", ".join(f"{run['seconds'] / 60:.1f}" for run in found),
        ]
        for environment, found in by_environment(result["runs"]).items()
    ]
    head = ["environment", "hidden (parameters)", "retention", f"certified at {result['keep']:g}",
            "share of a core per worker", "minutes"]  # fmt: skip
    beside = result["runs"][0]["busy_processes"]
    text = f"While {beside} other processes each ran at full load, on {result['cores']} cores"
    return (
        f"{table(head, rows)}\n\n{text}.{searches(result, result['runs'])}{not_run(result['missing'])} {stamp(result)}."
    )


def published_compressions_table(result: Entry) -> str:
    """Return one row per published file: what it was certified with, or why it was not compressed."""
    rows = []
    for run in result["runs"]:
        name = f"{run['file'].split('/')[1]}, {run['env']}"
        if "refused" in run:
            rows.append([name, *[""] * 6, run["refused"]])
            continue
        bound = run["lower_bound"]
        rows.append(
            [
                name,
                _number(run["teacher"]["return"]),
                f"{run['teacher']['size']['parameters']:,}",
                f"{run['parameters']:,} ({_sizes(run)})",
                kept(run),
                "none" if bound is None else f"{bound:.3f}",
                f"{run['seconds'] / 60:.1f}",
                f"{'yes' if run['certified'] else 'no'}, {run['episodes']}",
            ]
        )
    head = ["algorithm, environment", "teacher's return", "parameters", "after (hidden)", "retention", "bound",
            "minutes", f"certified at {result['keep']:g}, episodes"]  # fmt: skip
    tried = [run for run in result["runs"] if "refused" not in run]
    missing = f" Not run yet: {counted(len(result['missing']), 'file')}." * bool(result["missing"])
    text = (
        f"{sum(run['certified'] for run in tried)} of {len(tried)} certified, seed {tried[0]['seed']}" if tried else ""
    )
    return f"{table(head, rows)}\n\n{text}.{searches(result, tried)}{others(tried)}{missing} {stamp(result)}."


def speed_table(result: Entry) -> str:
    """Return one row per environment: former and present sizes, and the medians of what the present takes of both."""
    rows = []
    for environment, pairs in by_environment(result["pairs"]).items():
        rows.append([environment, *(_two(pairs, told) for told in (_sizes, _certified, _wall)), *_ratios(pairs)])
    rows.append(["all, median", "", "", "", *(f"**{text}**" for text in _ratios(result["pairs"]))])
    head = ["environment", "hidden, former; present", "certified", "minutes", "ratio of wall time",
            "ratio of processor time", "ratio of parameters"]  # fmt: skip
    apart = sum(pair["minutes_apart"] > INTERLEAVED for pair in result["pairs"])
    text = (
        f"Former code: commit {result['former']['commit']}. Ratios: medians of present / former; "
        "those of parameters only of pairs in which both runs were certified"
    )
    alone = (
        f" The two runs of {apart} of the {len(result['pairs'])} pairs were not made one after the other, and perhaps "
        "not on the same machine."
    ) * bool(apart)
    told = _comparison(result["pairs"])
    told += searches(result, [pair["present"] for pair in result["pairs"]])
    told += others(pair[which] for pair in result["pairs"] for which in ("former", "present"))
    return f"{table(head, rows)}\n\n{text}.{alone}{told}{not_run(result['missing'])} {stamp(result)}."


def _comparison(pairs: Sequence[Entry]) -> str:
    """Return in a sentence where the present search takes more parameters; empty where it does nowhere."""
    ratios = {name: _ratios(found) for name, found in by_environment(pairs).items()}
    larger = [name for name, (*_, size) in ratios.items() if size != "none" and float(size) > _LARGER]
    if not larger:
        return ""
    faster = "is faster everywhere, but " if all(float(wall) < 1.0 for wall, *_ in ratios.values()) else ""
    return f" The present search {faster}finds larger networks on {joined(larger)}."


def _two(pairs: Sequence[Entry], told: Callable[[Entry], str]) -> str:
    return "; ".join(", ".join(told(pair[which]) for pair in pairs) for which in ("former", "present"))


def _sizes(run: Entry) -> str:
    return size_name(tuple(run["hidden"]))


def _certified(run: Entry) -> str:
    return "yes" if run["certified"] else "no"


def _wall(run: Entry) -> str:
    return f"{run['machine']['wall_seconds'] / 60:.1f}"


def _ratios(pairs: Sequence[Entry]) -> list[str]:
    """Return median ratios of wall time, processor time and parameters; of the latter where both are certified."""
    times = [
        f"{statistics.median(pair['present']['machine'][kind] / pair['former']['machine'][kind] for pair in pairs):.2f}"
        for kind in ("wall_seconds", "cpu_seconds")
    ]
    both = [pair for pair in pairs if pair["former"]["certified"] and pair["present"]["certified"]]
    sizes = [pair["present"]["parameters"] / pair["former"]["parameters"] for pair in both]
    return [*times, f"{statistics.median(sizes):.2f}" if sizes else "none"]


def parts_table(result: Entry) -> str:
    """Return one row per part that was left out: certified runs, sizes and times per environment."""
    variants = list(dict.fromkeys(run["without"] for run in result["runs"]))
    environments = list(by_environment(result["runs"]))
    rows = []
    for variant in variants:
        own = [run for run in result["runs"] if run["without"] == variant]
        cells = [_cell([run for run in own if run["env"] == environment]) for environment in environments]
        certified = f"{sum(run['certified'] for run in own)} of {len(own)}"
        seconds = statistics.median(run["seconds"] for run in own)
        rows.append([f"without {variant}" if variant else "all of it", certified, *cells, f"{seconds / 60:.1f} min"])
    head = ["search", f"certified at {result['keep']:g}", *environments, "median time"]
    text = "Parameters of the certified network of each seed; -: none was certified"
    told, missing = searches(result, result["runs"]), len(result["missing"])
    return f"{table(head, rows)}\n\n{text}.{told}{f' Not run yet: {missing} runs.' * bool(missing)} {stamp(result)}."


def _cell(runs: Sequence[Entry]) -> str:
    return ", ".join(f"{run['parameters']:,}" if run["certified"] else "-" for run in runs) or "not run"
