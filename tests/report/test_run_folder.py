"""``metrics.csv`` of a run, as a page reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from prunekit.errors import ArtifactError
from prunekit.report.run_folder import METRICS, progress_of
from prunekit.report.training_figures import layer_names, smoothed, training_figures
from prunekit.training.status import MetricsFile, Status


def write_run(folder: Path, records: int) -> None:
    metrics = MetricsFile(folder / METRICS)
    for index in range(records):
        metrics.update(
            Status(
                steps=100 * (index + 1),
                total_steps=100 * records,
                seconds=float(index),
                steps_per_second=50.0,
                mean_return=None if index == 0 else float(index),
                phase="pruning",
                living={"0": (64 - index % 64, 64), "2": (32, 32), "critic.0": (9, 9)},
                sparsity=0.5,
                penalty=0.1,
            )
        )


def test_what_a_run_writes_is_read(tmp_path: Path) -> None:
    write_run(tmp_path, 10)
    found = progress_of(tmp_path)
    assert found is not None
    assert found.steps == tuple(range(100, 1001, 100))
    assert found.returns == (None, *map(float, range(1, 10)))
    assert found.living == {"0": tuple(range(64, 54, -1)), "2": (32,) * 10, "critic.0": (9,) * 10}
    assert found.seconds == 9.0


def test_a_long_run_keeps_its_first_and_its_last_record(tmp_path: Path) -> None:
    write_run(tmp_path, 2000)
    found = progress_of(tmp_path)
    assert found is not None
    assert (len(found.steps), found.steps[0], found.steps[-1]) == (600, 100, 200_000)
    assert list(found.steps) == sorted(set(found.steps))


def test_a_row_that_is_cut_off_is_left_out(tmp_path: Path) -> None:
    write_run(tmp_path, 3)
    with (tmp_path / METRICS).open("a") as file:
        file.write("400,3.0,5")
    found = progress_of(tmp_path)
    assert found is not None
    assert found.steps[-1] == 300


def test_where_there_is_none_there_is_nothing(tmp_path: Path) -> None:
    assert progress_of(tmp_path) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"a,b\n1,2\n", b"steps,seconds,mean_return\n", b"steps,seconds,mean_return\nx,1,1\n",
     b"steps,seconds,mean_return\n1,nan,1\n", b"steps,seconds,mean_return\n1,1,inf\n", b"\xff\xfe\x00",
     b"steps,seconds,mean_return,living_0\n1,1,1,1.5\n"],
)  # fmt: skip
def test_anything_else_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    (tmp_path / METRICS).write_bytes(content)
    with pytest.raises(ArtifactError, match=METRICS):
        progress_of(tmp_path)


def test_figures_name_layers_and_smooth_returns(tmp_path: Path) -> None:
    write_run(tmp_path, 30)
    found = progress_of(tmp_path)
    assert found is not None
    units, returns = training_figures(found)
    assert [mark.name for mark in units.legend] == ["hidden layer 1", "hidden layer 2", "critic hidden layer 1"]
    assert (units.title, returns.title) == ("Living units per layer", "Return in training")
    assert training_figures(found, "run: ")[0].title == "run: living units per layer"
    assert layer_names(["0", "critic.1", "2"]) == ["hidden layer 1", "critic hidden layer 1", "hidden layer 2"]
    assert smoothed([1.0, 3.0, 5.0, 7.0], 2) == (1.0, 2.0, 4.0, 6.0)
