"""The driving benchmark and the disturbed compressions: their tables say which search and which budget it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import driving
import gymnasium as gym
import numpy as np
import pytest
from compressing.runs import ROOT, search_in
from driving_imitation import Course, imitated
from driving_planner import Plan, driven
from driving_tables import boards_table, driving_table
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
        entry.update(search=result["search"], budget=BUDGET)
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


def test_what_does_not_fit_a_board_says_which_memory_it_lacks(result: dict[str, Any]) -> None:
    firmware = next(
        found["firmware"]
        for run in result["runs"]
        for model in (run["board"] or {"models": []})["models"]
        for found in model["devices"].values()
        if found["firmware"] is not None and not found["firmware"]["fits"]
    )
    firmware.update(overflow_bytes={"flash": 0, "ram": 1414}, at_least=True)
    assert "too large, by at least 1,414 B of RAM |" in boards_table(result)
    firmware.update(overflow_bytes={"flash": 5, "ram": 1414}, at_least=False)
    assert "too large, by 5 B of flash and 1,414 B of RAM |" in boards_table(result)


def test_the_driver_who_plans_does_the_same_in_a_mirror_and_in_the_space_opposite() -> None:
    generator = np.random.default_rng(3)
    plan = Plan(value=generator.normal(size=(63, 43, 72)))
    x, y, angle = generator.uniform(-20, 20, 50), generator.uniform(-10, 8, 50), generator.uniform(-3, 3, 50)

    def seen(x: Any, y: Any, angle: Any, up: float) -> Any:
        own = [x / 100, y / 100, np.cos(angle), np.sin(angle), np.cos(angle), np.sin(angle)]  # 5 m/s
        goal = [x * 0.0, x * 0.0 + 0.14 * up, x * 0.0, x * 0.0, x * 0.0, x * 0.0 + up]
        return np.stack([*own, *goal, *own], axis=1)

    first = driven(plan, seen(x, y, angle, 1.0))
    assert len(set(first[:, 1].tolist())) > 10
    np.testing.assert_allclose(first[:, 0], 1.0)  # it is slower than it wants to be
    np.testing.assert_allclose(driven(plan, seen(-x, y, np.pi - angle, 1.0))[:, 1], -first[:, 1], atol=1e-6)
    np.testing.assert_allclose(driven(plan, seen(-x, -y, angle + np.pi, -1.0)), first, atol=1e-6)


def test_a_teacher_learns_what_a_driver_does_where_the_teacher_itself_drives() -> None:
    asked: list[bool] = []

    def drives(acts: Any) -> Any:
        rows = np.random.default_rng(len(asked)).uniform(-1, 1, (512, 3)).astype(np.float32)
        asked.append(acts is not None)
        assert acts is None or np.abs(acts(100 * rows)).max() <= 1.0
        return rows, np.clip(rows[:, :1] - rows[:, 1:2], -1, 1).astype(np.float32)

    environment = gym.make("Pendulum-v1")
    course = Course(hidden=16, rounds=4, epochs=5, last_epochs=40, scale=np.ones(3, np.float32))
    model, told = imitated(environment, drives, course, seed=1)
    assert asked == [False, True, True, True]
    assert told["steps"] == 4 * 512
    assert told["error"] < 0.01
    action, _ = model.predict(np.array([0.6, 0.2, 0.0], np.float32), deterministic=True)
    assert abs(float(action[0]) - 0.4) < 0.15
