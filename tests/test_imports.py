"""The floors of the house (ARCHITECTURE.md): imports go down only, and the command line starts light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

import prunekit

ROOT = Path(prunekit.__file__).parent
FLOORS = (
    {"__main__"},
    {"cli"},
    {"api"},
    {"sweep"},
    {"report"},
    {"compression", "devices"},
    {"training", "benching", "runtimes"},
    {"export"},
    {"readers"},
    {"adapters"},
    {"policy"},
    {"pruning"},
    {"optim"},
    {"compiled", "cards"},
    {"simulators"},
    {"rollouts", "disturbances", "outputs", "console", "executors"},
    {"environments"},
    {"environment_names"},
    {"environment_functions", "environment_packages"},
    {"made_environment"},
    {"formats", "activations", "spaces", "stats", "generators"},
    {"ops"},
    {"graph"},
    {"files", "versions", "lazy"},
    {"errors", "temporaries"},
)
FLOOR_OF = {room: height for height, rooms in enumerate(reversed(FLOORS)) for room in rooms}
MODULES = sorted(
    path.relative_to(ROOT) for path in ROOT.rglob("*.py") if path.name != "__init__.py" or path.parent != ROOT
)


def room_of(path: Path) -> str:
    return path.parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{path} imports relatively"
            names = [node.module]
            if node.module == "prunekit":
                names = [f"prunekit.{alias.name}" for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith("prunekit.")}
    return rooms


def imported_packages(path: Path) -> set[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names.append(node.module)
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_go_down_only(path: Path) -> None:
    room = room_of(path)
    assert room in FLOOR_OF, f"{room} stands on no floor; give it one in ARCHITECTURE.md and here"
    for other in imported_rooms(path) - {room}:
        assert FLOOR_OF[other] < FLOOR_OF[room], f"{path} imports {other}, which is not below {room}"


def test_the_table_of_floors_is_the_one_that_is_tested() -> None:
    text = (ROOT.parent / "ARCHITECTURE.md").read_text()
    table = text.partition("| --- | --- |\n")[2].partition("\n\n")[0]
    assert [set(re.findall(r"`(\w+)`", row.split("|")[1])) for row in table.splitlines()] == list(FLOORS)


def test_pruner_and_surgery_do_not_import_each_other() -> None:
    for name, other in (("pruner", "surgery"), ("surgery", "pruner")):
        assert f"prunekit.pruning.{other}" not in (ROOT / "pruning" / f"{name}.py").read_text()


def test_only_the_adapter_and_training_know_stable_baselines() -> None:
    """Readers know the names that it writes into files, ``lazy`` how it is installed; neither imports it."""
    knowing = {room_of(path) for path in MODULES if "stable_baselines3" in (ROOT / path).read_text()}
    assert knowing == {"adapters", "training", "readers", "lazy"}
    importing = {room_of(path) for path in MODULES if imported_packages(path) & {"stable_baselines3", "sb3_contrib"}}
    assert importing == {"adapters", "training"}


WORKERS = ["prunekit.executors.worker"]


@pytest.mark.parametrize("module", ["prunekit.cli.app", *WORKERS])
def test_the_command_line_and_workers_start_without_heavy_packages(module: str) -> None:
    code = (
        f"import sys, {module}; heavy = {{'torch', 'onnx', 'onnxruntime', 'gymnasium', 'numpy', "
        "'stable_baselines3'} & set(sys.modules); sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["prunekit.report.sweep_tables", "prunekit.report.bench_tables"])
def test_tables_of_results_need_no_learning_library(module: str) -> None:
    code = f"import sys, {module}; sys.exit(', '.join({{'torch', 'gymnasium'}} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_exported_name_resolves_and_is_listed() -> None:
    for name in prunekit.__all__:
        assert getattr(prunekit, name) is not None
    assert set(prunekit._HOME_OF) <= set(prunekit.__all__)
    with pytest.raises(AttributeError, match="nothing_like_that"):
        prunekit.nothing_like_that  # noqa: B018


def test_no_two_test_files_have_one_name() -> None:
    """pytest could not collect both."""
    names = sorted(path.name for path in Path(__file__).parent.rglob("test_*.py"))
    assert [name for name, other in pairwise(names) if name == other] == []
