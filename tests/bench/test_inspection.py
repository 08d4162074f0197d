"""What ``inspect`` says is what it measured, whatever the file says of itself."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from prunekit import Actor, ArgmaxHead, make_artifact, save
from prunekit.benching.inspection import inspect_model, render


def test_a_file_does_not_override_what_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    claims = {"file": "/etc/other", "parameters": -5, "units": 0, "living_units": {}, "sizes": {}, "note": "kept"}
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    save(make_artifact(Actor(network, ArgmaxHead()), None, claims), path)
    facts = inspect_model(path)
    assert facts["file"] == str(path)
    assert facts["parameters"] == 3 * 4 + 4 + 4 * 2 + 2
    assert facts["note"] == "kept"
    assert "sizes" not in facts


def test_counts_shapes_and_living_units_are_read_by_people(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    network = nn.Sequential(nn.Linear(3, 400), nn.Tanh(), nn.Linear(400, 2))
    save(make_artifact(Actor(network, ArgmaxHead()), None, {}), path)
    table = render(inspect_model(path))
    rows = {str(key): str(value) for key, value in zip(*(column.cells for column in table.columns), strict=True)}
    assert rows["parameters"] == "2,402"
    assert rows["outputs"] == "action one number, outputs [2]"
    assert rows["living_units"] == "0: 400 of 400"
