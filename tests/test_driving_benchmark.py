"""The driving benchmark and the disturbed compressions: their tables say which search and which budget it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import driving
import pytest
from compressing.runs import ROOT, search_in
from driving_tables import driving_table
from driving_tasks import TASKS, drives
from record import read_result
from robustness_tables import disturbed_compression_table

BUDGET = TASKS["highway-fast-v0"].budget


@pytest.fixture
def result() -> dict[str, Any]:
    found = read_result("driving")
    assert found is not None
    return found


def test_the_table_names_budget_and_search_and_marks_what_an_earlier_one_made(result: dict[str, Any]) -> None:
    made = [run["compressed"] for run in result["runs"] if run["compressed"]]
    for entry in made:
        entry["search"] = result["search"]
    assert f"a budget of {BUDGET:,} steps each, imitation" in driving_table(result)
    assert f"All runs are from one version of the search (commit {result['search']['commit']})" in driving_table(result)
    assert "earlier search" not in driving_table(result)
    result["runs"][-1]["compressed"] = {**made[0], "budget": 7}
    assert f"a budget of {BUDGET:,} steps each (racetrack-v0 7), imitation" in driving_table(result)
    result["runs"][-1]["compressed"] = None
    made[0]["search"] = {"digest": "another", "commit": "aaa1111"}
    assert driving_table(result).count("compact (earlier search)") == 1
    assert "From an earlier version of the search (aaa1111): " in driving_table(result)


def test_disturbed_compressions_without_a_search_are_of_an_earlier_one() -> None:
    found = read_result("disturbed_compression")
    assert found is not None
    entries = [entry for seeds in found["environments"].values() for ways in seeds.values() for entry in ways.values()]
    found["search"] = {"digest": "present", "commit": "bbb2222"}
    for entry in entries:
        entry.pop("search", None)
    assert "All runs are from an earlier version of the search (commit not recorded)" in disturbed_compression_table(
        found
    )
    for entry in entries:
        entry["search"] = found["search"]
    assert "All runs are from one version of the search (commit bbb2222)" in disturbed_compression_table(found)


def test_controls_are_played_once_for_all_teachers() -> None:
    assert drives("highway-fast-v0", 0, "random") == drives("highway-fast-v0", 1, "random")
    assert not set(drives("highway-fast-v0", 0, "teacher")) & set(drives("highway-fast-v0", 1, "teacher"))


@pytest.mark.parametrize(
    ("digest", "budget", "again"), [("own", BUDGET, False), ("old", BUDGET, True), ("own", 7, True)]
)
def test_a_compression_of_another_search_or_budget_is_put_aside_and_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digest: str, budget: int, again: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    place = driving.compact("highway-fast-v0", 0)
    place.mkdir(parents=True)
    own = search_in(ROOT).digest
    known = {"search": {"digest": own if digest == "own" else digest}, "budget": budget}
    (place / "asked.json").write_text(json.dumps(known))
    (place / "certificate.json").write_text("{}")
    monkeypatch.setattr(driving, "compress_one", lambda name, seed: {"made": [name, seed]})
    driving.compress_again("highway-fast-v0", 0)
    now = json.loads((place / "asked.json").read_text())
    assert now == ({"made": ["highway-fast-v0", 0]} if again else known)
    assert len(list(tmp_path.rglob("earlier/*/certificate.json"))) == int(again)
