"""The training curve that a result keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from prunekit.sweep.work import curve_of


def metrics(path: Path, rows: int) -> Path:
    """Write rows in which every third has a return, that of its number."""
    lines = ["steps,seconds,mean_return,living_0"]
    lines += [f"{10 * row},{row}.04,{row if row % 3 == 0 else ''},{rows - row}" for row in range(1, rows + 1)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("rows", [1, 2, 39, 40, 41, 200])
def test_a_curve_has_few_points_and_ends_where_the_run_did(rows: int, tmp_path: Path) -> None:
    curve = curve_of(metrics(tmp_path / "metrics.csv", rows))
    assert len(curve["steps"]) == min(rows, 40)
    assert curve["steps"] == sorted(set(curve["steps"]))
    assert curve["steps"][-1] == 10 * rows
    assert curve["living"]["0"][-1] == 0
    assert curve["seconds"][-1] == float(rows)
    assert {len(column) for column in (curve["return"], curve["living"]["0"], curve["seconds"])} == {
        len(curve["steps"])
    }


def test_a_point_s_return_is_the_mean_since_the_one_before(tmp_path: Path) -> None:
    curve = curve_of(metrics(tmp_path / "metrics.csv", 200))
    assert curve["return"][:3] == [3.0, 7.5, 13.5]  # rows 1 to 5, 6 to 10, 11 to 15
    few = curve_of(metrics(tmp_path / "metrics.csv", 4))
    assert few["return"] == [None, None, 3.0, None]
