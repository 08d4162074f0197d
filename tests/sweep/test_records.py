"""What files say that cells came to: nothing is believed that is not sound and of this very cell."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_sweeps import made_up, results_file, sweep_file

from prunekit.errors import ArtifactError, InputError
from prunekit.report import reading
from prunekit.sweep.cells import Cell, cells_of
from prunekit.sweep.file import read_sweep
from prunekit.sweep.records import failure_in, known_results, random_returns_in, result_in, write_failure

UNPRUNED, MASKED, SCRATCH, LINEAR = (
    f"CartPole-v1-ppo-4096-{name}-seed0" for name in ("unpruned", "masked-0.9", "from-scratch", "linear")
)


@pytest.fixture
def cells(tmp_path: Path) -> dict[str, Cell]:
    return cells_of(read_sweep(sweep_file(tmp_path)))


def test_a_sound_result_is_taken_as_it_is(cells: dict[str, Cell], tmp_path: Path) -> None:
    for cell in cells.values():
        (tmp_path / "result.json").write_text(json.dumps(made_up(cell)))
        assert result_in(tmp_path / "result.json", cell) == made_up(cell)


def nested(entry: dict[str, Any]) -> None:
    entry["asked"]["steps"] = value = []
    for _ in range(400):
        value.append([])
        value = value[0]


DAMAGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "returns as text": lambda entry: entry.update(returns=["1.0"] * 3),
    "too few returns": lambda entry: entry["returns"].pop(),
    "returns that are not numbers": lambda entry: entry.update(returns=[1.0, float("nan"), 2.0]),
    "no returns": lambda entry: entry.pop("returns"),
    "too few disturbed returns": lambda entry: entry["disturbed"]["delay 1"].pop(),
    "another disturbance": lambda entry: entry["disturbed"].update(delay=[1.0] * 3),
    "no disturbance": lambda entry: entry.update(disturbed=None),
    "negative widths": lambda entry: entry.update(hidden=[-4, 3]),
    "empty layers": lambda entry: entry.update(hidden=[0, 3]),
    "enormous widths": lambda entry: entry.update(hidden=[10**9]),
    "widths as text": lambda entry: entry.update(hidden="44"),
    "another name": lambda entry: entry.update(name="../../elsewhere"),
    "another seed": lambda entry: entry.update(seed=1),
    "a seed that is true": lambda entry: entry.update(seed=True),
    "another environment": lambda entry: entry.update(environment="os:CartPole-v1"),
    "something else asked": lambda entry: entry["asked"].update(steps=4097),
    "nothing asked": lambda entry: entry.pop("asked"),
    "a list asked": lambda entry: entry.update(asked=[]),
    "much asked": nested,
    "a curve of text": lambda entry: entry.update(curve="up"),
    "parameters of a fraction": lambda entry: entry.update(parameters=1.5),
    "seconds of text": lambda entry: entry.update(seconds="1"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_result_is_none(damage: str, cells: dict[str, Cell], tmp_path: Path) -> None:
    entry = made_up(cells[MASKED])
    DAMAGES[damage](entry)
    (tmp_path / "result.json").write_text(json.dumps(entry))
    assert result_in(tmp_path / "result.json", cells[MASKED]) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000, b"1" * 5000])
def test_a_file_that_is_no_result_is_none(content: bytes, cells: dict[str, Cell], tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    path.write_bytes(content)
    assert result_in(path, cells[MASKED]) is None
    assert random_returns_in(path, 3) is None
    assert failure_in(path) == "it failed, but some.json cannot be read"
    assert result_in(tmp_path, cells[MASKED]) is None
    assert result_in(tmp_path / "nowhere", cells[MASKED]) is None


def test_a_file_beyond_all_bounds_is_not_read(cells: dict[str, Cell], tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(made_up(cells[MASKED])))
    with pytest.raises(ArtifactError, match="more than 100 bytes"):
        reading.read_json(path, reading.at_least({}), max_bytes=100)


def test_random_returns_are_as_many_as_episodes(tmp_path: Path) -> None:
    path = tmp_path / "random.json"
    path.write_text('{"returns": [1, 2.5, 3]}')
    assert random_returns_in(path, 3) == [1, 2.5, 3]
    assert random_returns_in(path, 4) is None
    path.write_text('{"returns": [1, "2", 3]}')
    assert random_returns_in(path, 3) is None


def test_a_failure_is_kept_with_its_traceback(tmp_path: Path) -> None:
    path = tmp_path / "cell" / "failure.json"
    assert failure_in(path) is None
    write_failure(path, "out of luck", "Traceback ...")
    assert failure_in(path) == "out of luck"
    assert json.loads(path.read_text())["traceback"] == "Traceback ..."


def test_known_results_count_where_all_that_they_build_on_does(cells: dict[str, Cell], tmp_path: Path) -> None:
    entries = {name: made_up(cell) for name, cell in cells.items()}
    whole = results_file(tmp_path / "whole.json", list(entries.values()))
    assert known_results([whole], cells) == entries
    lacking = results_file(tmp_path / "lacking.json", [entries[LINEAR], entries[SCRATCH]])
    assert known_results([lacking], cells) == {LINEAR: entries[LINEAR]}
    other = made_up(cells[MASKED])
    other["asked"]["training"]["plan"]["threshold"] = {"sparsity": 0.5}
    stale = results_file(tmp_path / "stale.json", [entries[SCRATCH], other])
    assert known_results([stale], cells) == {}
    wider = results_file(tmp_path / "wider.json", [entries[MASKED], {**entries[SCRATCH], "hidden": [9, 9]}])
    assert known_results([wider], cells) == {MASKED: entries[MASKED]}
    later = results_file(tmp_path / "later.json", [{**entries[LINEAR], "seconds": 7.0}])
    assert known_results([whole, later], cells)[LINEAR]["seconds"] == 7.0


def test_of_known_results_only_what_a_sweep_writes_is_taken(
    cells: dict[str, Cell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trap.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = {**made_up(cells[LINEAR]), "more": float("inf"), "versions": {"\x1b[2J": "x" * 10_000}}
    entry["curve"]["more"] = [float("nan")]
    strange = {**made_up(cells[LINEAR]), "name": "../../../etc", "environment": "trap:Trap-v0"}
    (found,) = known_results([results_file(tmp_path / "known.json", [entry, strange])], cells).values()
    expected = made_up(cells[LINEAR])
    assert found == {**expected, "versions": {"\x1b[2J": "x" * 200}}
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("cell", "changes", "told"),
    [
        ({"returns": [1, "2", 3]}, {}, r"cells\[0\].returns\[1\] must be a finite number"),
        ({"hidden": [-1]}, {}, r"cells\[0\].hidden\[0\] must be an integer"),
        ({"name": "\x1b]0;x\x07"}, {}, r"cells\[0\].name must be a text"),
        ({}, {"cells": [3]}, r"cells\[0\] must be an object"),
        ({}, {"cells": {}}, "cells must be a list"),
        ({}, {"version": 2}, "version must be 1"),
        ({}, {"format": "other"}, "format must be prunekit.sweep"),
    ],
)
def test_a_file_of_known_results_is_refused_that_no_sweep_writes(
    cell: dict[str, Any], changes: dict[str, Any], told: str, cells: dict[str, Cell], tmp_path: Path
) -> None:
    path = results_file(tmp_path / "known.json", [{**made_up(cells[LINEAR]), **cell}], **changes)
    with pytest.raises(InputError, match=rf"known\.json: {told}") as caught:
        known_results([path], cells)
    assert str(caught.value).isprintable()


def test_known_results_that_are_not_there_are_named(cells: dict[str, Cell], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such file"):
        known_results([tmp_path / "nowhere"], cells)
    with pytest.raises(InputError, match="is a folder"):
        known_results([tmp_path], cells)
