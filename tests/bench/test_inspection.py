"""What ``inspect`` says is what it measured, whatever the file says of itself."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from prunekit import Actor, ArgmaxHead, make_artifact, save
from prunekit.benching.inspection import inspect_model


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
