"""Sweep files that are right, and one line for each that is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_sweeps import SMALL, sweep_file

from prunekit.errors import InputError
from prunekit.pruning.importance import group_norm
from prunekit.pruning.schedules import Budget, Sparsity
from prunekit.sweep.cells import cells_of
from prunekit.sweep.file import read_sweep


def test_a_file_is_read_as_it_stands(tmp_path: Path) -> None:
    text = SMALL.replace(
        "[methods.linear]",
        '[methods.budget]\nbudget = 0.3\nguard = false\nplan.importance = "group_norm"\n[methods.linear]',
    )
    sweep = read_sweep(sweep_file(tmp_path, text))
    masked, budget = sweep.methods["masked 0.9"], sweep.methods["budget"]
    assert masked.plan is not None
    assert masked.plan.threshold == Sparsity(0.9)
    assert masked.plan.states == 64
    assert budget.plan is not None
    assert budget.plan.threshold == Budget(0.3)
    assert budget.plan.importance is group_norm
    assert budget.guard_share is None
    assert masked.guard_share == 0.9
    assert sweep.methods["linear"].hidden == ()
    assert sweep.disturbances["delay 1"].delay_steps == 1


def test_cells_are_every_combination_and_know_what_they_need(tmp_path: Path) -> None:
    cells = cells_of(read_sweep(sweep_file(tmp_path, SMALL.replace("seeds = [0]", "seeds = [0, 7]"))))
    assert len(cells) == 8
    scratch = cells["CartPole-v1-ppo-4096-from-scratch-seed7"]
    assert scratch.needs == "CartPole-v1-ppo-4096-masked-0.9-seed7"
    assert cells[scratch.needs].needs is None
    assert cells[scratch.needs].request is not None
    assert cells[scratch.needs].request.preset.hidden == (32, 32)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("title", "titel", r"titel is not known; did you mean title\?|title is missing"),
        ("sparsity = 0.9", "sparsty = 0.9", r"methods.masked 0.9.sparsty is not known; did you mean sparsity\?"),
        ("sparsity = 0.9", 'sparsity = "0.9"', "methods.masked 0.9.sparsity must be a number from 0 to 1"),
        ("sparsity = 0.9", "sparsity = 1.9", "methods.masked 0.9.sparsity must be a number from 0 to 1"),
        ("sparsity = 0.9", "sparsity = 0.9\nbudget = 0.2", "exactly one of .*, and has sparsity and budget"),
        ("unpruned = true", "", "exactly one of .*, and has none"),
        ("unpruned = true", "unpruned = false", "can only be true"),
        ("hidden = []", "hidden = []\nkeep = 0.9", "keep goes with compress alone"),
        ("states = 64", "stats = 64", r"plan.stats is not known; did you mean states\?"),
        (
            'widths_of = "masked 0.9"',
            'widths_of = "maskd 0.9"',
            r"widths_of must be one of .*did you mean masked 0.9\?",
        ),
        ('methods = ["unpruned",', 'methods = ["unprund",', r"grid\[0\].methods must be .*did you mean unpruned\?"),
        ('algorithms = ["ppo"]', 'algorithms = ["pppo"]', r"algorithms\[0\] must be one of .*did you mean ppo\?"),
        ("seeds = [0]", "seeds = []", r"grid\[0\].seeds must be a list of 1 to"),
        ("seeds = [0]", "seeds = [0, 0]", r"grid\[0\].seeds names something twice"),
        ("seeds = [0]", "seeds = [-1]", r"seeds\[0\] must be a whole number"),
        ('"delay 1"]\ndelay', '"delay 1"]\ndely', r"dely_steps is not known; did you mean delay_steps\?"),
        ("batch_size = 64", "batch_sise = 64", r"batch_sise is not known; did you mean batch_size\?"),
        ("title", "title = = ", "is no TOML"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in SMALL
    path = sweep_file(tmp_path, SMALL.replace(old, new, 1))
    with pytest.raises(InputError, match=told) as caught:
        cells_of(read_sweep(path))
    assert "\n" not in str(caught.value)


def test_a_method_that_builds_on_one_outside_the_grid_is_refused(tmp_path: Path) -> None:
    path = sweep_file(tmp_path, SMALL.replace('"unpruned", "masked 0.9", "from', '"unpruned", "from'))
    with pytest.raises(InputError, match=r"from-scratch-seed0 builds on 'masked 0.9', which no grid has"):
        cells_of(read_sweep(path))
