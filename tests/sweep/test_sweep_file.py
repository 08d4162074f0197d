"""Sweep files that are right, and one line for each that is not."""

from __future__ import annotations

import re
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
        '[methods.budget]\nbudget = 0.3\nguard = false\nplan.importance = "group_norm"\n'
        "plan.max_divergence = 0.03\nplan.reconstruction = 5\n[methods.linear]",
    )
    sweep = read_sweep(sweep_file(tmp_path, text))
    masked, budget = sweep.methods["masked 0.9"], sweep.methods["budget"]
    assert masked.plan is not None
    assert masked.plan.threshold == Sparsity(0.9)
    assert masked.plan.states == 64
    assert budget.plan is not None
    assert budget.plan.threshold == Budget(0.3)
    assert budget.plan.importance is group_norm
    assert (budget.plan.max_divergence, masked.plan.max_divergence) == (0.03, None)
    assert (budget.plan.reconstruction, masked.plan.reconstruction) == (5, 0)
    assert budget.guard_share is None
    assert masked.guard_share == 0.9
    assert sweep.methods["linear"].hidden == ()
    assert sweep.disturbances["delay 1"].delay_steps == 1


def test_units_are_removed_from_the_widths_that_a_method_names(tmp_path: Path) -> None:
    text = SMALL.replace("sparsity = 0.9", "sparsity = 0.9\nhidden = [48]", 1)
    cells = cells_of(read_sweep(sweep_file(tmp_path, text)))
    request = cells["CartPole-v1-ppo-4096-masked-0.9-seed0"].request
    assert request is not None
    assert (request.widths, request.preset.hidden) == ((48,), (32, 32))
    assert request.plan is not None


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
        ("title", "titel", r"titel is not known; did you mean title\?"),
        ("seeds = [0]", "seedz = [0]", r"grid\[0\].seedz is not known; did you mean seeds\? The keys are"),
        ("sparsity = 0.9", "sparsty = 0.9", r"methods.masked 0.9.sparsty is not known; did you mean sparsity\?"),
        ("sparsity = 0.9", 'sparsity = "0.9"', "methods.masked 0.9.sparsity must be a number from 0 to 1"),
        ("sparsity = 0.9", "sparsity = 1.9", "methods.masked 0.9.sparsity must be a number from 0 to 1"),
        ("sparsity = 0.9", "sparsity = 0.9\nbudget = 0.2", "exactly one of .*, and has sparsity and budget"),
        ("unpruned = true", "", "exactly one of .*, and has none"),
        ("unpruned = true", "unpruned = true\nhidden = [8]", "exactly one of .*, and has unpruned and hidden"),
        ("sparsity = 0.9", "sparsity = 0.9\nhidden = [0]", r"masked 0.9.hidden\[0\] must be an integer from 1"),
        ("widths_of =", "hidden = [8]\nwidths_of =", "exactly one of .*, and has hidden and widths_of"),
        ("unpruned = true", "unpruned = false", "can only be true"),
        ("hidden = []", "hidden = []\nkeep = 0.9", "keep needs compress"),
        ("states = 64", "max_divergence = 0", "plan.max_divergence must be a number above 0"),
        ("states = 64", "max_divergence = inf", "plan.max_divergence must be a number from 0 to"),
        ("states = 64", "reconstruction = 0.5", "plan.reconstruction must be an integer from 0 to 1000"),
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
        ("seeds = [0]", "seeds = [-1]", r"seeds\[0\] must be an integer"),
        ('"delay 1"]\ndelay', '"delay 1"]\ndely', r"dely_steps is not known; did you mean delay_steps\?"),
        ("batch_size = 64", "batch_sise = 64", r"batch_sise is not known; did you mean batch_size\?"),
        ("title", "title = = ", "is not TOML"),
        ("episodes = 3", "episodes = 1" + "0" * 5000, "is not TOML .*digits"),
        ("episodes = 3", "episodes = 200_000", "episodes must be an integer from 1 to 100000"),
        ("first_seed = 500", "first_seed = 999_999_998", "first_seed and episodes go beyond seed 999,999,999"),
        ("seeds = [0]", f"seeds = {list(range(6000))}", "the grids have 24,000 cells, but at most 20,000"),
        ("hidden = []", "hidden = [16384, 16384, 16384]", "methods.linear: hidden widths must be at most"),
        (
            "hidden = []",
            "hidden = []\n[methods.c]\ncompress = 'linear'\nkeep = 0",
            "methods.c.keep must be a number above 0",
        ),
        (
            "hidden = []",
            "hidden = []\n[methods.c]\ncompress = 'linear'\nminutes = 0",
            "c.minutes must be a number above 0",
        ),
        ("hidden = [32, 32]", "hidden = 5", r"presets\.ppo\.hidden must be a list"),
        ("n_steps = 32", "gamma = { a = 1 }", r"presets\.ppo\.model\.gamma must be a number"),
        ("ppo]\nhidden = [32, 32]", "ppo]\npolicy = 3", r"presets\.ppo\.policy must be an object"),
        ('["CartPole-v1"]', '["CartPole-v0"]', r"environments\.CartPole-v1 is in no grid; did you mean CartPole-v0\?"),
        ('["CartPole-v1"]', '["Hopper-v5"]', r"environments\.CartPole-v1 is in no grid; name it in a grid, or leave"),
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


def test_more_episodes_than_fit_are_refused(tmp_path: Path) -> None:
    text = SMALL.replace("episodes = 3", "episodes = 100_000").replace("seeds = [0]", f"seeds = {list(range(30))}")
    with pytest.raises(InputError, match="the cells have 24,000,000 episodes in all, but at most 20,000,000 fit"):
        read_sweep(sweep_file(tmp_path, text))


def test_seeds_that_compress_does_not_take_are_refused(tmp_path: Path) -> None:
    text = SMALL.replace("seeds = [0]", "seeds = [2_000_000_000]")
    read_sweep(sweep_file(tmp_path, text))
    text = text.replace('"linear"]', '"small"]') + '[methods.small]\ncompress = "unpruned"\n'
    with pytest.raises(InputError, match=r"grid\[0\].seeds must be at most 1,000,000,000 where a method compresses"):
        read_sweep(sweep_file(tmp_path, text))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("LINEAR", "seed0 differ only in capitals, which some file systems ignore; rename a method"),
        ("linear?", "two cells are called CartPole-v1-ppo-4096-linear-seed0, and method differs"),
        ("/linear/..", "two cells are called CartPole-v1-ppo-4096-linear-seed0, and method differs"),
        ("x" * 190, r"\.\.\. has a name of 217 characters; give its method a shorter one"),
    ],
)
def test_names_are_those_of_folders(name: str, told: str, tmp_path: Path) -> None:
    text = SMALL.replace('"linear"]', f'"linear", "{name}"]') + f'[methods."{name}"]\nhidden = [2]\n'
    with pytest.raises(InputError, match=told):
        cells_of(read_sweep(sweep_file(tmp_path, text)))


@pytest.mark.parametrize("name", ["..", "../../x", "/", "\u00fc\u00df", ".hidden", "a b", "-"])
def test_a_cell_has_the_name_of_a_folder_below_its_own(name: str, tmp_path: Path) -> None:
    text = SMALL.replace('"linear"]', f'"{name}"]') + f'[methods."{name}"]\nhidden = [2]\n'
    *_, cell = cells_of(read_sweep(sweep_file(tmp_path, text)))
    assert re.fullmatch(r"CartPole-v1-ppo-4096-[A-Za-z0-9._-]+-seed0", cell)
    assert (tmp_path / cell).parent == tmp_path


def test_what_does_not_fit_together_names_its_cell(tmp_path: Path) -> None:
    path = sweep_file(tmp_path, SMALL.replace("hidden = [32, 32]", "hidden = []"))
    with pytest.raises(
        InputError, match=r"cell CartPole-v1-ppo-4096-masked-0.9-seed0: no hidden layers: a linear policy has no units"
    ):
        cells_of(read_sweep(path))


def test_a_cell_in_two_grids_is_one(tmp_path: Path) -> None:
    grid = SMALL[SMALL.index("[[grid]]") :]
    assert len(cells_of(read_sweep(sweep_file(tmp_path, SMALL + grid)))) == 4
    with pytest.raises(InputError, match=r"two cells are called .*unpruned-seed0, and disturbances.delay 1 differs"):
        cells_of(read_sweep(sweep_file(tmp_path, SMALL + grid.replace('disturbances = ["delay 1"]', ""))))


def test_whole_episodes_fit_between_the_checkpoints_of_a_short_cell(tmp_path: Path) -> None:
    def every(text: str) -> set[int]:
        cells = cells_of(read_sweep(sweep_file(tmp_path, text))).values()
        return {cell.request.checkpoint_every for cell in cells if cell.request is not None}

    own = SMALL.replace("max_episode_steps", "sutton_barto_reward").replace(" = 10\n", " = true\n")
    assert every(SMALL) == {256}  # 8 environments, episodes of 10 steps, rollouts of 256
    assert every(own) == {4096}  # CartPole-v1's own limit, 500 steps
    assert every(own.replace("[4096]", "[150_000]")) == {7_500}
    assert every(own.replace("CartPole-v1", "NoSuch-v0")) == {204}


def test_an_environment_of_a_module_is_imported_by_its_cell_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trap.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    text = SMALL.replace("CartPole-v1", "trap:Trap-v0")
    assert next(iter(cells_of(read_sweep(sweep_file(tmp_path, text))))) == "trap-Trap-v0-ppo-4096-unpruned-seed0"
