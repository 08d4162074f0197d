"""What ``inspect`` says is what it measured, whatever the file says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from prunekit import Actor, ArgmaxHead, make_artifact, save
from prunekit.benching.inspection import inspect_model, render

CERTIFICATE: dict[str, Any] = {
    "verdict": "certified", "keep": 0.95, "confidence": 0.97, "max_failures": None, "retention": 0.98125,
    "lower_bound": 0.95, "episodes": 1337, "below_range": {"episodes": 0, "upper_bound": 0.01},
    "seeds": list(range(1337)), "returns": {"small": [1.0] * 1337}, "claim": "With 95% confidence ...",
}  # fmt: skip


def shown(facts: dict[str, Any]) -> dict[str, str]:
    table = render(facts)
    return {str(key): str(value) for key, value in zip(*(column.cells for column in table.columns), strict=True)}


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
    rows = shown(inspect_model(path))
    assert rows["parameters"] == "2,402"
    assert rows["outputs"] == "action one number, outputs [2]"
    assert rows["hidden units"] == "400"
    assert rows["multiply-accumulates"] == "2,000"
    assert "as ONNX, bytes" in rows
    assert not any("_" in label for label in rows)
    assert rows["living units"] == "0: 400 of 400"


def test_a_certificate_is_one_line_with_what_is_kept_and_how_surely() -> None:
    kept = "certified to keep at least 0.95 of the teacher's gain over the random policy"
    assert shown({"certificate": CERTIFICATE})["certificate"] == (
        f"{kept} with 95% confidence: retention 0.981, lower bound 0.950, 1,337 fresh episodes"
    )
    less = {"verdict": "undecided", "lower_bound": None, "retention": None, "episodes": 1, "confidence": 0.9}
    noise = {"delay_steps": 0, "observation_noise": 0.1}
    facts = {"certificate": {**CERTIFICATE, **less, "max_failures": 0.05}, "disturbance": noise}
    assert shown(facts)["certificate"] == (
        f"not {kept} and to fail in at most 5.0% of episodes with 90% confidence under the disturbance below: "
        "retention not known, 1 fresh episode, verdict undecided"
    )
    still = {"certificate": CERTIFICATE, "disturbance": dict.fromkeys(noise, 0)}
    assert "disturbance" not in shown(still)["certificate"]


def test_what_prunekit_writes_is_shown_in_words() -> None:
    teacher = {"name": "dense.pt", "size": {"hidden": [64, 64], "parameters": 4866}}
    noise = {"delay_steps": 0, "observation_noise": 0.1}
    claims = {
        "env": {"id": "Hopper-v5", "kwargs": {}},
        "teacher": teacher,
        "trained_steps": 20480,
        "disturbance": noise,
    }
    rows = shown(claims)
    assert rows["environment"] == "Hopper-v5"
    assert rows["teacher"] == "dense.pt, hidden 64x64, 4,866 parameters"
    assert shown({"teacher": teacher | {"notes": ["no normalizer"]}})["teacher"] == rows["teacher"]
    assert rows["trained steps"] == "20,480"
    assert rows["disturbance"] == "observation noise 0.1"
    assert shown({"disturbance": dict.fromkeys(noise, 0)})["disturbance"] == "none"


@pytest.mark.parametrize(
    "claim",
    [
        {"env": {"id": 3, "kwargs": {}}},
        {"env": {"id": "x", "kwargs": {}, "more": 1}},
        {"teacher": {"name": "x", "size": {"hidden": ["\x1b[31m"], "parameters": 10**5000}}},
        {"teacher": {"name": "x", "size": {"hidden": [1], "parameters": 10**5000}}},
        {"disturbance": {"x" * 5000: 10**5000}},
        {"seed": 10**5000},
        {"teacher": {"name": "x" * 5000, "size": {"hidden": [7] * 5000, "parameters": 1}}},
    ],
)
def test_what_another_program_wrote_is_shown_too(claim: dict[str, Any]) -> None:
    (text,) = (text for label, text in shown(claim).items() if text)
    assert text.isprintable()
    assert len(text) <= 600


@pytest.mark.parametrize("broken", [{"keep": "0.95"}, {"episodes": 10**400}, {"confidence": None}, {"verdict": [1]}])
def test_a_certificate_of_another_form_is_shown_as_what_it_is(broken: dict[str, Any]) -> None:
    text = shown({"certificate": CERTIFICATE | broken})["certificate"]
    assert "max_failures none" in text
    assert "below_range (episodes 0, upper_bound 0.01)" in text
    assert "certified to keep" not in text


def test_what_a_file_says_is_in_words_of_bounded_length(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    deep: Any = "end"
    for _ in range(20):
        deep = {"in": deep}
    claims = {
        "env": {"id": "Hopper-v5", "kwargs": {"width": [0.5, 2.0], "height": None, "fast": True}},
        "seconds": 77.505,
        "deep": deep,
        "many": {f"name{index}": [index, {"x": "y" * 500}] for index in range(1000)},
        "deviation": [0.25] * 400,
        "digits": [10**30],
    }
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    save(make_artifact(Actor(network, ArgmaxHead()), None, claims), path)
    rows = shown(inspect_model(path))
    assert rows["environment"] == "Hopper-v5 with width [0.5, 2], height none, fast true"
    assert rows["seconds"] == "77.505"
    assert rows["deep"] == "in (in (in 1 inside))"
    assert rows["many"].endswith(" more")
    assert rows["deviation"] == f"[{', '.join(['0.25'] * 16)} and 384 more]"
    assert rows["hidden units"] == "4"
    assert shown({"digits": [-(10**5000)]})["digits"] == "[-1e+30 or more]", "Python writes no integers of this length"
    assert all(len(text) <= 600 for text in rows.values())
    assert not any('"' in text or "{" in text for text in rows.values())
