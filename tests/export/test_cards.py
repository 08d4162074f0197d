"""Model cards: figures that are on record, a front matter that the hub reads, and nothing that a file's text can do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from torch import nn

import prunekit
from prunekit.cards.card import (
    CardFacts,
    card_of_compression,
    facts_on_record,
    front_matter,
    may_be_written,
    model_card,
)

Run = Callable[..., tuple[int, str, str]]
MODEL = Path(__file__).parents[2] / "models" / "CartPole-v1-ppo" / "compact.onnx"
EVIL = 'x" !!python/object/apply:os.system [ls]\n---\n<script>alert(1)</script> | [a](b) `c` \x1b[31m \u202e'
FACTS = CardFacts(
    name="small",
    environment="CartPole-v1",
    hidden=(4,),
    parameters=30,
    certified=True,
    claim="With 95% confidence it keeps 0.95.",
    returns=(1.0, 2.0, 3.0),
    teacher=(2.0, 2.0, 2.0),
)


def matter_of(text: str) -> dict[str, Any]:
    head, matter, _ = text.split("---\n", 2)
    assert head == ""
    return dict(yaml.safe_load(matter))


def test_the_front_matter_is_what_the_leaderboards_of_the_hub_read() -> None:
    matter = matter_of(model_card(FACTS))
    assert matter == front_matter(FACTS)
    assert matter["library_name"] == "prunekit"
    assert {"reinforcement-learning", "CartPole-v1"} <= set(matter["tags"])
    (model,) = matter["model-index"]
    (result,) = model["results"]
    assert result["task"]["type"] == "reinforcement-learning"
    assert result["dataset"] == {"name": "CartPole-v1", "type": "CartPole-v1"}
    assert result["metrics"] == [
        {"type": "mean_reward", "value": "2.00 +/- 1.00", "name": "mean_reward", "verified": False}
    ]


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ("CartPole-v1", 'env = gymnasium.make("CartPole-v1")'),
        ("arms.left:make_arm", "env = arms.left.make_arm()"),
        ("arms left:make_arm", 'env = gymnasium.make("arms left:make_arm")'),
    ],
)
def test_an_environment_is_made_by_its_id_or_by_its_function(environment: str, line: str) -> None:
    text = model_card(replace(FACTS, environment=environment))
    assert line in text.splitlines()
    assert f"import {'arms.left' if line.endswith('()') else 'gymnasium'}" in text.splitlines()


def test_without_returns_on_record_there_are_no_results() -> None:
    facts = facts_on_record({"env": {"id": "CartPole-v1"}}, name="x", hidden=[4], parameters=30)
    assert "model-index" not in front_matter(facts)
    assert "mean return" not in model_card(facts)


def test_huggingface_hub_reads_the_card(tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    path = tmp_path / "README.md"
    path.write_text(model_card(FACTS))
    card = hub.ModelCard.load(path)
    (found,) = card.data.eval_results
    assert (found.task_type, found.dataset_type, found.metric_type) == (
        "reinforcement-learning",
        "CartPole-v1",
        "mean_reward",
    )
    assert found.metric_value == "2.00 +/- 1.00"
    assert (card.data.library_name, card.data.model_name) == ("prunekit", "small")
    again = hub.ModelCardData(**{**card.data.to_dict(), "model-index": None}, ignore_metadata_errors=False)
    assert again.tags == card.data.tags
    assert hub.metadata_load(path)["model-index"] == front_matter(FACTS)["model-index"]


def test_a_card_folder_is_uploaded_as_it_is(tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "small"
    code, _, err = run("export", MODEL, "--card", "--out", folder)
    assert (code, err) == (0, "")
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "certificate.json",
        "policy.onnx",
        "policy.pt",
    ]
    certificate = json.loads((folder / "certificate.json").read_text())["certificate"]
    text = (folder / "README.md").read_text()
    mean = f"{np.mean(certificate['returns']['small']):.2f}"
    assert matter_of(text)["model-index"][0]["results"][0]["metrics"][0]["value"].startswith(mean)
    assert certificate["claim"].split(",")[0] in text
    seen = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    actions = [prunekit.load(path).act(seen) for path in (MODEL, folder / "policy.onnx", folder / "policy.pt")]
    assert np.array_equal(actions[0], actions[1])
    assert np.array_equal(actions[0], actions[2])
    assert run("export", MODEL, "--card", "--out", folder, "-q")[0] == 0  # a card of our own is replaced
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    for path in folder.iterdir():
        assert hub.CommitOperationAdd(path_in_repo=path.name, path_or_fileobj=path).upload_info.size > 0


def test_a_policy_of_no_record_has_a_card_too(tmp_path: Path, run: Run) -> None:
    policy = prunekit.Policy.from_network(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)))
    path = policy.save(tmp_path / "mine.pt")
    assert run("export", path, "--card", "-q")[0] == 0
    folder = tmp_path / "mine-card"
    assert sorted(file.name for file in folder.iterdir()) == ["README.md", "policy.onnx", "policy.pt"]
    assert "model-index" not in matter_of((folder / "README.md").read_text())


def test_nothing_of_somebody_elses_is_written_over(tmp_path: Path, run: Run) -> None:
    (tmp_path / "README.md").write_text("# my project\n")
    assert not may_be_written(tmp_path / "README.md")
    code, _, err = run("export", MODEL, "--card", "--out", tmp_path)
    assert code == 2
    assert "was not written by prunekit and would be overwritten" in err
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    other = tmp_path / "other"
    assert run("export", MODEL, "--card", "--out", other, "-q")[0] == 0
    policy = prunekit.Policy.from_network(nn.Linear(4, 2)).save(tmp_path / "mine.pt")
    code, _, err = run("export", policy, "--card", "--out", other)
    assert code == 2
    assert "certificate.json: belongs to another policy" in err
    code, _, err = run("export", MODEL, "--card", "--format", "c", "--out", other)
    assert (code, "--card needs --format onnx" in err) == (2, True)


def test_a_compression_has_a_card_from_its_certificate(tmp_path: Path) -> None:
    found = {
        "env": {"id": "Hopper-v5"},
        "teacher": {"name": "agent.zip", "size": {"hidden": [256, 256], "parameters": 70_000}},
        "certified": False,
        "hidden": [],
        "parameters": 36,
        "certificate": {"claim": "Not certified: that.", "returns": {"small": [3.0], "dense": [4.0], "random": [0.5]}},
        "versions": {"torch": "2"},
    }
    folder = tmp_path / "agent-compressed"
    ((path, content),) = card_of_compression(found, folder).items()
    text = content.decode()
    assert path == folder / "README.md"
    assert "# agent-compressed\n" in text
    assert "| mean return of the teacher, 1 episode | 4.00 +/- 0.00 |" in text
    assert "| parameters of the teacher | 70,000 |" in text
    assert "\n\nNot certified: that. Every" in text
    assert "Certificate:**" not in text
    folder.mkdir()
    path.write_text("mine")
    assert card_of_compression(found, folder) == {}


def test_what_a_file_says_is_text_and_no_more() -> None:
    found = {
        "env": {"id": EVIL},
        "certified": True,
        "teacher": {"size": {"hidden": ["x"], "parameters": -1}},
        "certificate": {"claim": EVIL, "returns": {"small": [1.0, "x"], "dense": [float("nan")]}, "retention": True},
        "versions": {EVIL: EVIL},
    }
    text = model_card(facts_on_record(found, name=EVIL, hidden=[1], parameters=2))
    matter = matter_of(text)
    assert "model-index" not in matter
    assert all(isinstance(tag, str) for tag in matter["tags"])
    body = text.split("---\n", 2)[2]
    shown = re.sub(r"```.*?```|`[^`\n]*`", "", body.replace("\\`", ""), flags=re.DOTALL)  # what is no code
    assert "<" not in shown
    assert "[a]" not in shown
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\n---\n" not in body
    assert facts_on_record({}, name="x", hidden=[], parameters=1).certified is None


def test_a_figure_that_no_float_holds_is_none() -> None:
    huge = {"certificate": {"retention": 10**400, "returns": {"small": [1.0, -(10**400)]}}}
    facts = facts_on_record(huge, name="x", hidden=[], parameters=1)
    assert (facts.retention, facts.returns) == (None, ())
