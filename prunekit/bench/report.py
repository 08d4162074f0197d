"""The result of ``bench`` as a table: quantities down, models across, the first being the reference."""

from __future__ import annotations

from collections.abc import Callable
from os.path import commonpath
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from prunekit.bench.figures import DeviceResult, FirmwareFigures
from prunekit.bench.models import BenchModel
from prunekit.bench.result import BenchResult
from prunekit.console import printable
from prunekit.stats.certificate import Certificate
from prunekit.stats.claim import counted

_OVERHEAD_WIDTH = 64


def render(result: BenchResult) -> RenderableType:
    """Return the table of ``result``; below a figure in brackets, how many times smaller than the reference it is."""
    env_id, _ = result.environment
    versions = result.host["versions"]
    simulator = ", ".join(f"{name} {versions[name]}" for name in ("gymnasium", "mujoco") if name in versions)
    table = Table(title=Text(printable(f"{env_id}  ({simulator})")), title_justify="left")
    table.add_column("", no_wrap=True)
    for name in _short_names([model.path for model in result.models]):
        table.add_column(Text(printable(name)), justify="right", overflow="fold")
    _add_sizes(table, result.models)
    for device in result.devices[0]:
        _add_device(table, device, [entry[device] for entry in result.devices])
    table.add_section()
    kept = [_retention_cell(result, index) for index in range(len(result.models))]
    table.add_row("retention of return", *(Text(printable(cell)) for cell in kept))
    if any(result.certificates):
        shown = [_certificate_cell(found, index) for index, found in enumerate(result.certificates)]
        table.add_row(f"at least {result.settings.keep:g} of it", *shown)
    lines: list[RenderableType] = [table]
    lines.append(Text(f"The random policy returns {sum(result.random) / len(result.random):.1f}.", style="dim"))
    lines += [Text(found.sentence) for found in result.certificates if found is not None and found.certified]
    small = any(model.hidden and max(model.hidden) <= _OVERHEAD_WIDTH for model in result.models)
    if small and "cpu" in result.devices[0]:
        lines.append(
            Text("In ONNX Runtime a policy below about 64x64 is all call overhead, not arithmetic.", style="dim")
        )
    return Group(*lines)


def _add_sizes(table: Table, models: tuple[BenchModel, ...]) -> None:
    units, weights = [model.units for model in models], [model.parameters for model in models]
    table.add_row("hidden units", *("x".join(map(str, model.hidden)) or "none" for model in models))
    table.add_row("units removed", *_removed(units))
    table.add_row("weights", *(f"{count:,}" for count in weights))
    table.add_row("weights removed", *_removed(weights))
    table.add_row("multiply-accumulates", *_with_ratios([model.macs for model in models], lambda v: f"{v:,.0f}"))
    table.add_row("file", *_with_ratios([model.size_bytes for model in models], _bytes))


def _add_device(table: Table, device: str, results: list[DeviceResult]) -> None:
    table.add_section()
    firmware = [result.figures.firmware for result in results]
    if any(firmware):
        _add_firmware(table, device, firmware)
    else:
        _add_host(table, device, results)
    table.add_row(f"{device}: episodes", *(f"{len(r.returns)}" for r in results))
    table.add_row(f"{device}: return, mean", *(_if_run(r, f"{r.mean:,.1f}") for r in results))
    intervals = [r.ci95 or (0.0, 0.0) for r in results]
    shown = [f"{low:,.1f} to {high:,.1f}" for low, high in intervals]
    table.add_row(
        f"{device}: return, 95% interval", *(_if_run(r, text) for r, text in zip(results, shown, strict=True))
    )


def _add_host(table: Table, device: str, results: list[DeviceResult]) -> None:
    figures = [result.figures for result in results]
    for label, entries in (
        ("back to back", [figure.latency_us for figure in figures]),
        ("at 50 Hz", [figure.paced_latency_us for figure in figures]),
    ):
        p50 = [None if entry is None else entry.p50 for entry in entries]
        table.add_row(f"{device}: {label}, p50", *_with_ratios(p50, _microseconds))
        table.add_row(f"{device}: {label}, p99", *(_cell(None if e is None else e.p99, _microseconds) for e in entries))
    if any(figure.memory_bytes is not None or figure.code is None for figure in figures):
        table.add_row(f"{device}: memory, one model", *(_cell(figure.memory_bytes, _bytes) for figure in figures))
        table.add_row(
            f"{device}: memory, each further",
            *_with_ratios([figure.marginal_memory_bytes for figure in figures], _bytes),
        )


def _add_firmware(table: Table, device: str, found: list[FirmwareFigures | None]) -> None:
    entries = [entry for entry in found if entry is not None]
    table.add_row(f"{device}: fits", *map(_fits, entries))
    table.add_row(f"{device}: flash", *_with_ratios([entry.flash_bytes for entry in entries], _exact_bytes))
    table.add_row(f"{device}: static RAM", *(_cell(entry.static_ram_bytes, _exact_bytes) for entry in entries))
    table.add_row(f"{device}: stack", *_with_ratios([entry.stack_bytes for entry in entries], _exact_bytes))
    unit = next((entry.cost.unit for entry in entries if entry.cost is not None), "instructions")
    costs = [None if entry.cost is None else entry.cost.p50 for entry in entries]
    table.add_row(f"{device}: {unit}, p50", *_with_ratios(costs, lambda value: f"{value:,.0f}"))
    table.add_row(f"{device}: bits as on the host", *map(_same, entries))


def _fits(figures: FirmwareFigures) -> str:
    names = {"flash": "flash", "ram": "RAM"}
    over = [f"{more:,} bytes of {names[where]}" for where, more in figures.overflow.items() if more]
    least = "at least " if figures.at_least else ""
    return f"no: {least}{' and '.join(over)} too many" if over else "yes"


def _same(figures: FirmwareFigures) -> str:
    if not figures.compared:
        return "not run"
    return f"{figures.compared - figures.different:,} of {figures.compared:,} actions"


def _if_run(result: DeviceResult, text: str) -> str:
    return text if result.returns else "not run"


def _retention_cell(result: BenchResult, index: int) -> str:
    kept = result.retentions[index]
    if index == 0:
        return "reference"
    if kept.estimate is None or kept.ci95 is None:
        return f"undefined: {kept.reason}"
    low, high = kept.ci95
    return f"{kept.estimate:.3f} ({low:.3f} to {high:.3f})"


def _certificate_cell(found: Certificate | None, index: int) -> str:
    if index == 0:
        return "reference"
    if found is None:
        return "not run"
    if found.certified:
        return f"certified, {counted(len(found.episodes), 'episode')}"
    bound = found.lower_bound
    return "not shown" if bound is None else f"not shown: at least {bound:.3f}"


def _with_ratios(values: list[int | None] | list[float | None] | list[int], show: Callable[[float], str]) -> list[str]:
    first = values[0]
    cells = [_cell(first, show)]
    for value in values[1:]:
        ratio = f" ({first / value:.1f}x less)" if first and value and first > value else ""
        cells.append(_cell(value, show) + ratio)
    return cells


def _cell(value: float | None, show: Callable[[float], str]) -> str:
    return "not measured" if value is None else show(value)


def _removed(counts: list[int]) -> list[str]:
    first, *others = counts
    return ["reference", *(f"{1.0 - count / first:.1%}" if first else "-" for count in others)]


def _microseconds(value: float) -> str:
    return f"{value:.3f} us" if 0.0 < value < 1.0 else f"{value:.1f} us"


def _bytes(value: float) -> str:
    return f"{value / 1024:,.1f} KiB"


def _exact_bytes(value: float) -> str:
    return f"{value:,.0f} B"


def _short_names(paths: list[Path]) -> list[str]:
    if len(paths) < 2:
        return [str(path) for path in paths]
    shared = Path(commonpath([path.absolute().parent for path in paths]))
    return [str(path.absolute().relative_to(shared)) for path in paths]
