"""Charts and tables of costs per device, for the page of ``bench``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from prunekit.benching.figures import DeviceResult
from prunekit.benching.result import BenchResult
from prunekit.report.bench_tables import OVERHEAD, device_table, is_overhead
from prunekit.report.page import Block, Mark, Section, TableBlock
from prunekit.report.plots import Bar, rows_of_figures
from prunekit.report.table import Table, transposed

_CAPTION = {
    "cpu": "ONNX Runtime, one thread, batch 1.",
    "cpu-c": "The policy's C, compiled for this computer, one thread.",
}
_LATENCY = (
    "One observation at a time. A mark is the median, the line ends at the 99th percentile. At 50 Hz caches and clocks "
    "are cold, as in a control loop."
)
_WORK = "Instructions (AVR: cycles) of one action on an emulated core, the median over observations."
_MEMORY = (
    "What a policy takes. Each further: the memory that each additional copy adds, which is that of the policy without "
    "its runtime. Flash and stack are those of the firmware, its harness included."
)
Rows = list[tuple[str, list[Bar]]]


def cost_section(result: BenchResult, legend: Sequence[Mark]) -> Section:
    """Return charts of latency, work and memory, and a table per device."""
    blocks: list[Block] = []
    latency = _latency_rows(result, legend)
    if latency:
        caption = (
            "One observation at a time. A mark is the median, the line ends at the 99th percentile. At 50 Hz caches "
        )
        caption += "and clocks are cold, as in a control loop."
        note = f" {OVERHEAD}" if is_overhead(result) else ""
        blocks.append(
            rows_of_figures("Latency", latency, x_label="microseconds", caption=_LATENCY + note, legend=legend)
        )
    instructions = _cost_rows(result, legend)
    if instructions:
        blocks.append(
            rows_of_figures("Work of one action", instructions, x_label="count", caption=_WORK, legend=legend)
        )
    memory = _memory_rows(result, legend)
    blocks.append(rows_of_figures("Memory", memory, x_label="KiB", caption=_MEMORY, legend=legend))
    for device in result.devices[0]:
        table = device_table(result, device)
        blocks.append(model_block(replace(table, notes=(_CAPTION[device],) if device in _CAPTION else ()), legend))
    lead = "Absolute figures hold for this machine only; ratios between policies are more general."
    return Section(title="Latency and memory", lead=lead, blocks=tuple(blocks))


def _of(result: BenchResult, device: str) -> list[DeviceResult]:
    return [measured[device] for measured in result.devices]


def _latency_rows(result: BenchResult, legend: Sequence[Mark]) -> Rows:
    rows: Rows = []
    for device in result.devices[0]:
        figures = [entry.figures for entry in _of(result, device)]
        for label, found in (
            ("back to back", [entry.latency_us for entry in figures]),
            ("at 50 Hz", [entry.paced_latency_us for entry in figures]),
        ):
            bars = [
                Bar(key=mark.key, value=entry.p50, upper=entry.p99)
                for mark, entry in zip(legend, found, strict=True)
                if entry is not None
            ]
            if bars:
                rows.append((f"{device}, {label}", bars))
    return rows


def _cost_rows(result: BenchResult, legend: Sequence[Mark]) -> Rows:
    rows: Rows = []
    for device in result.devices[0]:
        found = [entry.figures.firmware for entry in _of(result, device)]
        bars = [
            Bar(key=mark.key, value=float(entry.cost.p50))
            for mark, entry in zip(legend, found, strict=True)
            if entry is not None and entry.cost is not None
        ]
        if bars:
            rows.append((device, bars))
    return rows


def _memory_rows(result: BenchResult, legend: Sequence[Mark]) -> Rows:
    named: list[tuple[str, list[int | None]]] = [
        ("file", [model.size_bytes for model in result.models]),
        ("weights in float32", [model.weight_bytes for model in result.models]),
    ]
    for device in result.devices[0]:
        figures = [entry.figures for entry in _of(result, device)]
        firmware = [entry.firmware for entry in figures]
        named += [
            (f"{device}, each further", [entry.marginal_memory_bytes for entry in figures]),
            (f"{device}, flash", [None if entry is None else entry.flash_bytes for entry in firmware]),
            (f"{device}, stack", [None if entry is None else entry.stack_bytes for entry in firmware]),
        ]
    rows: Rows = []
    for label, values in named:
        bars = [
            Bar(key=mark.key, value=value / 1024)
            for mark, value in zip(legend, values, strict=True)
            if value is not None
        ]
        if bars:
            rows.append((label, bars))
    return rows


def model_block(table: Table, legend: Sequence[Mark]) -> TableBlock:
    """Return ``table`` with one model per row, each next to its mark."""
    turned = transposed(table)
    rows = tuple((replace(row[0], key=mark.key), *row[1:]) for row, mark in zip(turned.rows, legend, strict=True))
    columns = (replace(turned.columns[0], name="policy"), *turned.columns[1:])
    return TableBlock(table=replace(turned, rows=rows, columns=columns))
