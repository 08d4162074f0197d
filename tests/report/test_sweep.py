"""A sweep's results: read strictly, summed up over seeds, and complete or not, shown."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic
from folders_made import sweep_folder

from prunekit.errors import ArtifactError
from prunekit.report.html import to_html
from prunekit.report.page import Figure, Note
from prunekit.report.sweep_page import sweep_page
from prunekit.report.sweep_results import SweepResults, read_sweep
from prunekit.report.sweep_stats import retained, summaries
from prunekit.report.sweep_tables import (
    absent_table,
    all_summaries,
    disturbance_table,
    fallen_table,
    glance_table,
    main_table,
    short_table,
)
from prunekit.report.table import Table
from prunekit.stats.bootstrap import interquartile_mean
from prunekit.sweep.collect import markdown

HOPPER = ("Hopper-v5", "ppo", 400_000)


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return synthetic.sweep()


@pytest.fixture(scope="module")
def results(data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> SweepResults:
    return read_sweep(sweep_folder(tmp_path_factory.mktemp("sweep"), data))


def read(data: dict[str, Any], folder: Path) -> SweepResults:
    return read_sweep(sweep_folder(folder, data))


def column(table: Table, name: str) -> dict[str, str]:
    index = [entry.name for entry in table.columns].index(name)
    return {row[0].text: row[index].plain for row in table.rows}


def means(data: dict[str, Any], method: str, environment: str = "Hopper-v5") -> np.ndarray:
    cells = [c for c in data["cells"] if (c["environment"], c["method"]) == (environment, method)]
    return np.asarray([np.mean(cell["returns"]) for cell in cells])


def test_what_was_written_is_read(data: dict[str, Any], results: SweepResults) -> None:
    assert len(results.cells) == len(data["cells"]) == 104
    assert results.methods == list(synthetic.METHODS)
    first, given = results.cells[0], data["cells"][0]
    assert (first.method, first.seed, first.hidden, first.parameters) == ("unpruned", 10, (256, 256), 69_635)
    assert first.returns == tuple(given["returns"])
    assert first.disturbed["delay 1"] == tuple(given["disturbed"]["delay 1"])
    assert first.curve is not None
    assert first.curve.returns[0] is None
    assert results.failed == (("Hopper-v5-ppo-400000-linear-seed99", "the return is nan"),)
    assert results.missing == ("CartPole-v1-ppo-400000-linear-seed14",)


def test_figures_are_interquartile_means_over_seeds_of_means_over_episodes(
    data: dict[str, Any], results: SweepResults
) -> None:
    table = main_table(results, HOPPER, all_summaries(results)[HOPPER])
    masked, unpruned = (interquartile_mean(means(data, name)) for name in ("masked 0.93", "unpruned"))
    random = float(np.mean(data["random"]["Hopper-v5"]))
    assert column(table, "return")["masked 0.93"] == f"{masked:,.0f}"
    assert column(table, "retention")["masked 0.93"] == f"{(masked - random) / (unpruned - random):.3f}"
    assert column(table, "retention")["unpruned"] == "1.000"
    assert column(table, "seeds")["linear"] == "5"
    assert column(table, "hidden units")["unpruned"] == "256x256"
    assert column(table, "hidden units")["linear"] == "linear"
    assert column(table, "parameters")["unpruned"] == "69,635"
    seconds = [c["seconds"] for c in data["cells"] if c["environment"] == "Hopper-v5" and c["method"] == "linear"]
    assert column(table, "training")["linear"] == f"{np.median(seconds) / 60:.1f}"
    assert [row[0].detail for row in table.rows][:2] == ["control", ""]


def test_the_interval_holds_the_estimate_and_spans_no_more_than_the_seeds(results: SweepResults) -> None:
    for found in all_summaries(results).values():
        for entry in found:
            own = [np.mean(cell.returns) for cell in entry.cells]
            assert entry.returns.low is not None
            assert entry.returns.high is not None
            assert min(own) <= entry.returns.low < entry.returns.value < entry.returns.high <= max(own)


def test_a_single_seed_has_no_interval(tmp_path: Path) -> None:
    results = read(synthetic.sweep(("Hopper-v5",), seeds=2), tmp_path)
    (found,) = all_summaries(results).values()
    table = main_table(results, HOPPER, found)
    assert column(table, "95% interval")["linear"] == "-"
    assert " to " in column(table, "95% interval")["unpruned"]


def test_widths_that_differ_between_seeds_are_ranges(results: SweepResults) -> None:
    cells = [cell for cell in results.cells if cell.environment == "Hopper-v5" and cell.method == "masked 0.93"]
    (found,) = summaries(cells, ["masked 0.93"], [])
    first, second = zip(*(cell.hidden for cell in cells), strict=True)
    assert found.hidden == f"{min(first)}-{max(first)}x{min(second)}-{max(second)}"


def test_disturbances_are_told_with_what_is_left(data: dict[str, Any], results: SweepResults) -> None:
    table = disturbance_table(results, HOPPER, all_summaries(results)[HOPPER])
    assert table is not None
    plain, random = interquartile_mean(means(data, "masked 0.93")), float(np.mean(data["random"]["Hopper-v5"]))
    left = (0.7 * plain - random) / (plain - random)
    assert column(table, "noise 0.1")["masked 0.93"] == f"{0.7 * plain:,.0f} ({left:.0%})"
    assert column(table, "undisturbed")["masked 0.93"] == f"{plain:,.0f}"


def test_without_disturbances_there_is_no_table_of_them(tmp_path: Path) -> None:
    data = synthetic.sweep(("Hopper-v5",), seeds=2)
    for cell in data["cells"]:
        del cell["disturbed"]
    results = read(data, tmp_path)
    assert disturbance_table(results, HOPPER, all_summaries(results)[HOPPER]) is None


def test_a_disturbance_that_some_seeds_lack_is_not_averaged_over_the_others(tmp_path: Path) -> None:
    data = synthetic.sweep(("Hopper-v5",), seeds=3)
    masked = next(cell for cell in data["cells"] if cell["method"] == "masked 0.93")
    del masked["disturbed"]["delay 1"]
    results = read(data, tmp_path)
    table = disturbance_table(results, HOPPER, all_summaries(results)[HOPPER])
    assert table is not None
    assert column(table, "delay 1")["masked 0.93"] == "-"
    assert column(table, "delay 1")["unpruned"] != "-"


def test_what_is_missing_or_failed_is_counted_and_named(results: SweepResults) -> None:
    page = sweep_page(results)
    assert "Incomplete: of 106 cells 1 missing and 1 failed." in page.subtitle
    table = absent_table(results)
    assert table is not None
    assert [row[1].text for row in table.rows] == ["the return is nan", "not there yet"]
    assert page.sections[-1].title == "What is not there"


def test_a_complete_sweep_says_nothing_of_the_kind(tmp_path: Path) -> None:
    data = synthetic.sweep(("Hopper-v5",), seeds=2)
    page = sweep_page(read({**data, "missing": [], "failed": []}, tmp_path))
    assert "Incomplete" not in page.subtitle
    assert [section.title for section in page.sections] == ["Hopper-v5, PPO, 400,000 steps"]


def test_a_sweep_without_results_is_a_page_too(tmp_path: Path) -> None:
    page = sweep_page(read({**synthetic.sweep(), "cells": []}, tmp_path))
    assert page.sections[0].blocks == (Note(text="No cell has a result yet.", warning=True),)
    assert to_html(page)


def test_where_unpruned_or_random_are_missing_retention_is_not_told(tmp_path: Path) -> None:
    data = synthetic.sweep(("Hopper-v5",), seeds=2)
    without = {**data, "cells": [cell for cell in data["cells"] if cell["method"] != "unpruned"]}
    results = read(without, tmp_path)
    assert set(column(main_table(results, HOPPER, all_summaries(results)[HOPPER]), "retention").values()) == {"-"}
    results = read({**data, "random": {}}, tmp_path)
    assert set(column(main_table(results, HOPPER, all_summaries(results)[HOPPER]), "retention").values()) == {"-"}
    assert retained(5.0, 3.0, 2.0) is None


def test_environments_and_steps_are_kept_apart(tmp_path: Path) -> None:
    data = synthetic.sweep(("Hopper-v5",), seeds=2)
    longer = [{**copy.deepcopy(cell), "steps": 10**6, "name": f"{cell['name']}-long"} for cell in data["cells"]]
    results = read({**data, "cells": [*data["cells"], *longer]}, tmp_path)
    assert list(all_summaries(results)) == [HOPPER, ("Hopper-v5", "ppo", 10**6)]
    glance = glance_table(results, all_summaries(results))
    heads = ["method", "Hopper-v5, PPO, 400,000 steps", "Hopper-v5, PPO, 1,000,000 steps"]
    assert [entry.name for entry in glance.columns] == heads


def test_the_page_has_frontiers_and_curves_and_marks_that_are_the_same_everywhere(results: SweepResults) -> None:
    page = sweep_page(results)
    figures = [block for section in page.sections for block in section.blocks if isinstance(block, Figure)]
    assert [figure.title for figure in figures[:3]] == [
        "Parameters against return",
        "Living units per layer",
        "Return in training",
    ]
    assert len(figures) == 9
    keys = {(mark.name.removesuffix(" (control)"), mark.key) for figure in figures for mark in figure.legend}
    keys |= {(row[0].text, row[0].key) for table in page.tables[:-1] for row in table.rows}
    assert len(keys) == len({key for _, key in keys}) == 7


def test_a_legend_has_the_methods_that_are_drawn(tmp_path: Path) -> None:
    data = synthetic.sweep(("Hopper-v5",), seeds=2)
    for cell in data["cells"]:
        if cell["method"] == "unpruned":
            cell["curve"]["living"] = {}
    blocks = sweep_page(read(data, tmp_path)).sections[0].blocks
    units, returns = [block for block in blocks if isinstance(block, Figure)][1:]
    assert "unpruned" not in {mark.name for mark in units.legend}
    assert "masked 0.93" in {mark.name for mark in units.legend}
    assert "unpruned" in {mark.name for mark in returns.legend}


CHANGES: list[tuple[str, Any]] = [
    ("format", "other"),
    ("version", 2),
    ("title", 7),
    ("cells", {}),
    ("cells.0.returns", []),
    ("cells.0.returns.0", float("nan")),
    ("cells.0.returns.0", True),
    ("cells.0.parameters", -1),
    ("cells.0.hidden", [1.5]),
    ("cells.0.seed", "x"),
    ("cells.0.environment", "\x1b"),
    ("cells.0.curve.living", []),
    ("cells.0.curve.return.3", "x"),
    ("cells.0.disturbed.delay 1", 5),
    ("methods", []),
    ("random.Hopper-v5", []),
    ("failed", [{"name": "x"}]),
]


@pytest.mark.parametrize(("place", "value"), CHANGES, ids=[f"{place}={value}" for place, value in CHANGES])
def test_results_that_are_not_sound_are_refused_by_name(place: str, value: Any, tmp_path: Path) -> None:
    data = synthetic.sweep(("Hopper-v5",), seeds=2)
    *way, last = place.split(".")
    inner: Any = data
    for key in way:
        inner = inner[int(key)] if isinstance(inner, list) else inner[key]
    inner[int(last) if isinstance(inner, list) else last] = value
    with pytest.raises(ArtifactError, match=r"results\.json") as error:
        read(data, tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"format": Infinity}'])
def test_what_is_no_result_at_all_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"results\.json"):
        read_sweep(tmp_path)


def test_what_nobody_reads_may_be_there(tmp_path: Path) -> None:
    data = json.loads(json.dumps(synthetic.sweep(("Hopper-v5",), seeds=2)))
    data["more"] = 1
    data["cells"][0]["more"] = {"x": [1]}
    assert len(read(data, tmp_path).cells) == len(data["cells"])


def test_a_training_that_fell_is_named_with_what_it_had_earned(tmp_path: Path) -> None:
    data = synthetic.sweep(("Hopper-v5",), seeds=2)
    assert fallen_table(read(data, tmp_path)) is None
    cell = data["cells"][2]
    count = len(cell["curve"]["return"])
    cell["curve"]["return"][count // 2 :] = [20.0] * (count - count // 2)
    results = read(data, tmp_path)
    table = fallen_table(results)
    assert table is not None
    assert [row[0].text for row in table.rows] == [cell["name"]]
    assert float(column(table, "best return in training")[cell["name"]].replace(",", "")) > 2000
    assert column(table, "last return in training")[cell["name"]] == "20"
    assert "Trainings that fell" in [section.title for section in sweep_page(results).sections]
    assert f"| {cell['name']} |" in markdown(data).partition("## Trainings that fell")[2]
    del data["random"]["Hopper-v5"]
    assert fallen_table(read(data, tmp_path)) is None


def test_a_policy_that_falls_short_of_its_training_is_named(tmp_path: Path) -> None:
    data = synthetic.sweep(("Hopper-v5",), seeds=2)
    assert short_table(read(data, tmp_path)) is None
    cell = data["cells"][2]
    cell["returns"] = [30.0 + episode for episode in range(len(cell["returns"]))]
    results = read(data, tmp_path)
    table = short_table(results)
    assert table is not None
    assert [row[0].text for row in table.rows] == [cell["name"]]
    assert float(column(table, "last return in training")[cell["name"]].replace(",", "")) > 1000
    assert table.title in [section.title for section in sweep_page(results).sections]
    assert f"| {cell['name']} |" in markdown(data).partition(f"## {table.title}")[2]
    cell["curve"]["return"] = [None for _ in cell["curve"]["return"]]
    assert short_table(read(data, tmp_path)) is None
