"""Tables of the result of ``bench``: one row per quantity, one column per model; the first model is the reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from os.path import commonpath
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

from prunekit.benching.figures import DeviceResult, FirmwareFigures
from prunekit.benching.models import BenchModel
from prunekit.benching.result import BenchResult
from prunekit.console import removed, widths
from prunekit.devices.chips import unit_of
from prunekit.report.table import Cell, Column, Table, stacked, words
from prunekit.report.terminal import to_rich
from prunekit.stats.certificate import Certificate
from prunekit.stats.claim import counted

OVERHEAD = "In ONNX Runtime a policy below about 64x64 is all call overhead, not arithmetic."
_OVERHEAD_WIDTH = 64
_LONGEST_NAME = 32
_REFERENCE = Cell(text="reference")
_NOT_RUN = Cell(text="not run")


def render(result: BenchResult) -> list[RenderableType]:
    """Return the table of ``result`` for a terminal, and the lines of text below it."""
    devices = [_prefixed(device_table(result, device), device) for device in result.devices[0]]
    under = disturbance_table(result)
    others = [] if under is None else [under]
    kept = [] if result.environment is None else [retention_table(result)]
    whole = stacked([sizes_table(result), *devices, *kept, *others])
    found = [Text(entry.sentence) for entry in result.certificates if entry is not None and entry.certified]
    lines: list[RenderableType] = [
        to_rich(replace(whole, title=title_of(result))),
        Text(random_of(result), style="dim"),
    ]
    return [*lines, *found, *([Text(OVERHEAD, style="dim")] if is_overhead(result) else [])]


def title_of(result: BenchResult) -> str:
    """Return the environment, and the versions on which its returns depend."""
    if result.environment is None:
        return "latency and memory"
    versions = result.host["versions"]
    simulator = ", ".join(f"{name} {versions[name]}" for name in ("gymnasium", "mujoco") if name in versions)
    return f"{result.environment[0]}  ({simulator})"


def random_of(result: BenchResult) -> str:
    """Return the random policy's return as text, or why there are no returns."""
    if result.environment is None:
        return f"No returns were measured: {result.alone}."
    return f"The random policy returns {sum(result.random) / len(result.random):,.1f}."


def is_overhead(result: BenchResult) -> bool:
    """Return whether the latencies in ONNX Runtime are mostly call overhead."""
    small = any(model.hidden and max(model.hidden) <= _OVERHEAD_WIDTH for model in result.models)
    return small and "cpu" in result.devices[0]


def sizes_table(result: BenchResult) -> Table:
    """Return hidden units, parameters, arithmetic and file size; details give the ratio to the reference."""
    models = result.models
    units, parameters = [model.units for model in models], [model.parameters for model in models]
    return _table(
        models,
        "Sizes",
        [
            ("hidden units", [Cell(text=widths(model.hidden), value=float(model.units)) for model in models]),
            ("units removed", _removed(units)),
            ("parameters", [Cell(text=f"{count:,}", value=float(count)) for count in parameters]),
            ("parameters removed", _removed(parameters)),
            ("multiply-accumulates", _with_ratios([model.macs for model in models], lambda value: f"{value:,.0f}")),
            ("file", _with_ratios([model.size_bytes for model in models], _bytes)),
        ],
    )


def device_table(result: BenchResult, device: str) -> Table:
    """Return the figures of each model on ``device``: its cost or firmware, and its returns."""
    results = [entry[device] for entry in result.devices]
    firmware = [entry.figures.firmware for entry in results]
    cost = _firmware_rows(firmware, device) if any(firmware) else _host_rows(results)
    if result.environment is None:
        return _table(result.models, device, cost)
    means = [Cell(text=f"{entry.mean:,.1f}", value=entry.mean) if entry.returns else _NOT_RUN for entry in results]
    rows = [
        *cost,
        ("episodes", [Cell(text=f"{len(entry.returns)}", value=float(len(entry.returns))) for entry in results]),
        ("return, mean", means),
        ("return, 95% interval", [_interval(entry) for entry in results]),
    ]
    return _table(result.models, device, rows)


def retention_table(result: BenchResult) -> Table:
    """Return the retention of each model, and its certificate."""
    kept = [_retention_cell(result, index) for index in range(len(result.models))]
    rows = [("retention of return", kept)]
    if any(result.certificates):
        shown = [_certificate_cell(found, index) for index, found in enumerate(result.certificates)]
        rows.append((f"at least {result.settings.keep:g} of it", shown))
    return _table(result.models, "Retention", rows)


def disturbance_table(result: BenchResult) -> Table | None:
    """Return the return of each model under each disturbance and the share of its own gain that is left; None without
    disturbances.
    """
    if not result.settings.disturbances:
        return None
    floor, device = sum(result.random) / len(result.random), next(iter(result.devices[0]))
    rows = []
    for name in result.settings.disturbances:
        cells = []
        for measured, found in zip(result.devices, result.disturbed, strict=True):
            returns = found.get(name, ())
            if not returns:
                cells.append(_NOT_RUN)
                continue
            mean, own = sum(returns) / len(returns), measured[device].mean
            left = f"{(mean - floor) / (own - floor):,.0%} of its own" if own > floor else ""
            cells.append(Cell(text=f"{mean:,.1f}", value=mean, detail=left))
        rows.append((f"return, {name}", cells))
    return _table(result.models, "Under noise and delay", rows) if rows else None


def short_names(paths: Sequence[Path]) -> list[str]:
    """Return short, distinct names of ``paths``: without their common folders if that is short enough, otherwise with
    only the folders that each needs, and without the end that all have in common.

    >>> short_names([Path("runs/a/model.pt"), Path("runs/b/model.pt")])
    ['a/model.pt', 'b/model.pt']
    >>> short_names([Path(f"zoo/{algorithm}/LunarLander-v2_1/LunarLander-v2.zip") for algorithm in ("ppo", "a2c")])
    ['ppo', 'a2c']
    """
    names = [str(path) for path in paths]
    if len(paths) > 1:
        shared = Path(commonpath([path.absolute().parent for path in paths]))
        names = [str(path.absolute().relative_to(shared)) for path in paths]
    if max(map(len, names)) <= _LONGEST_NAME:
        return names
    parts = [Path(name).parts for name in names]

    def own(name: tuple[str, ...]) -> str:
        counts = (count for count in range(1, len(name)) if sum(part[-count:] == name[-count:] for part in parts) == 1)
        return str(Path(*name[-next(counts, len(name)) :]))

    names = [own(name) for name in parts]
    return names if max(map(len, names)) <= _LONGEST_NAME else _without_common_end(names)


def _without_common_end(names: Sequence[str]) -> list[str]:
    """Return ``names`` without the file and folders in which all of them end, unless nothing would be left of one."""
    parts = [Path(name).parts for name in names]
    while len({part[-1:] for part in parts}) == 1 and min(map(len, parts)) > 1:
        parts = [part[:-1] for part in parts]
    return [str(Path(*part)) for part in parts]


def _table(models: Sequence[BenchModel], title: str, rows: Sequence[tuple[str, Sequence[Cell]]]) -> Table:
    names = short_names([model.path for model in models])
    columns = (Column(name="", align="left"), *(Column(name=name) for name in names))
    return Table(title=title, columns=columns, rows=tuple((words(label), *cells) for label, cells in rows))


def _prefixed(table: Table, prefix: str) -> Table:
    return replace(table, rows=tuple((words(f"{prefix}: {row[0].text}"), *row[1:]) for row in table.rows))


def _host_rows(results: Sequence[DeviceResult]) -> list[tuple[str, list[Cell]]]:
    figures = [result.figures for result in results]
    rows = []
    for label, entries in (
        ("back to back", [figure.latency_us for figure in figures]),
        ("at 50 Hz", [figure.paced_latency_us for figure in figures]),
    ):
        p50 = [None if entry is None else entry.p50 for entry in entries]
        rows.append((f"{label}, p50", _with_ratios(p50, _microseconds)))
        rows.append(
            (f"{label}, p99", [_cell(None if entry is None else entry.p99, _microseconds) for entry in entries])
        )
    if any(figure.memory_bytes is not None or figure.code is None for figure in figures):
        further = [figure.marginal_memory_bytes for figure in figures]
        rows.append(("memory, one model", [_cell(figure.memory_bytes, _bytes) for figure in figures]))
        rows.append(("memory, each further", _with_ratios(further, _bytes)))
    return rows


def _firmware_rows(found: Sequence[FirmwareFigures | None], device: str) -> list[tuple[str, list[Cell]]]:
    entries = [entry for entry in found if entry is not None]
    unit = next((entry.cost.unit for entry in entries if entry.cost is not None), unit_of(device))
    costs = [None if entry.cost is None else entry.cost.p50 for entry in entries]
    return [
        ("fits", [words(_fits(entry)) for entry in entries]),
        ("flash", _with_ratios([entry.flash_bytes for entry in entries], _exact_bytes)),
        ("static RAM", [_cell(entry.static_ram_bytes, _exact_bytes) for entry in entries]),
        ("stack", _with_ratios([entry.stack_bytes for entry in entries], _exact_bytes)),
        (f"{unit}, p50", _with_ratios(costs, lambda value: f"{value:,.0f}")),
        ("bits as on the host", [words(_same(entry)) for entry in entries]),
    ]


def _fits(figures: FirmwareFigures) -> str:
    names = {"flash": "flash", "ram": "RAM"}
    over = [f"{more:,} bytes of {names[where]}" for where, more in figures.overflow.items() if more]
    minimum = "at least " if figures.at_least else ""
    return f"no: {minimum}{' and '.join(over)} too many" if over else "yes"


def _same(figures: FirmwareFigures) -> str:
    if not figures.compared:
        return "not run"
    return f"{figures.compared - figures.different:,} of {figures.compared:,} actions"


def _interval(result: DeviceResult) -> Cell:
    if result.ci95 is None:
        return Cell(text="not known") if result.returns else _NOT_RUN
    low, high = result.ci95
    return Cell(text=f"{low:,.1f} to {high:,.1f}", value=low)


def _retention_cell(result: BenchResult, index: int) -> Cell:
    kept = result.retentions[index]
    if index == 0:
        return Cell(text="reference", value=kept.estimate)
    if kept.estimate is None:
        return Cell(text=f"undefined: {kept.reason}")
    detail = "" if kept.ci95 is None else f"{kept.ci95[0]:.3f} to {kept.ci95[1]:.3f}"
    return Cell(text=f"{kept.estimate:.3f}", value=kept.estimate, detail=detail)


def _certificate_cell(found: Certificate | None, index: int) -> Cell:
    if index == 0:
        return _REFERENCE
    if found is None:
        return _NOT_RUN
    if found.certified:
        return words(f"certified, {counted(len(found.episodes), 'episode')}")
    bound = found.lower_bound
    return words("not shown" if bound is None else f"not shown: at least {bound:.3f}")


def _with_ratios(values: Sequence[float | None], show: Callable[[float], str]) -> list[Cell]:
    first = values[0]
    cells = [_cell(first, show)]
    for value in values[1:]:
        ratio = f"{first / value:,.1f}" if first and value and first > value else "1.0"
        cells.append(replace(_cell(value, show), detail="" if ratio == "1.0" else f"{ratio}x less"))
    return cells


def _cell(value: float | None, show: Callable[[float], str]) -> Cell:
    return Cell(text="not measured") if value is None else Cell(text=show(value), value=float(value))


def _removed(counts: Sequence[int]) -> list[Cell]:
    first, *others = counts
    shares = [1.0 - count / first if first else None for count in others]
    return [_REFERENCE, *(Cell(text="-") if one is None else Cell(text=removed(one), value=one) for one in shares)]


def _microseconds(value: float) -> str:
    return f"{value:.3f} us" if 0.0 < value < 1.0 else f"{value:,.1f} us"


def _bytes(value: float) -> str:
    return f"{value / 1024:,.1f} KiB"


def _exact_bytes(value: float) -> str:
    return f"{value:,.0f} B"
