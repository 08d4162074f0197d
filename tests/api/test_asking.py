"""Functions that take files name ``load`` where a file needs an argument that only ``load`` takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch
from playgrounds import Playing, make_follow
from torch import nn

import prunekit
from prunekit.api.asking import load_named
from prunekit.errors import CheckError

CALLS: dict[str, Callable[[Path], Any]] = {
    "compress": lambda path: prunekit.compress(path, env=make_follow, minutes=0.04, workers=1),
    "certify, small": lambda path: prunekit.certify(path, policy(), env=make_follow),
    "certify, teacher": lambda path: prunekit.certify(policy(), path, env=make_follow),
    "bench": lambda path: prunekit.bench([path], env=make_follow, devices=[Playing()]),
}


def policy() -> prunekit.Policy:
    network = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    return prunekit.Policy.from_network(network, actions=gym.spaces.Box(-1.0, 1.0, (1,)))


@pytest.mark.parametrize("called", CALLS)
def test_what_a_file_lacks_is_given_to_load(called: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    network = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    torch.save(network.state_dict(), path)
    told = re.escape("; prunekit.load takes this: give prunekit.load(path, activation=...) in place of the file")
    with pytest.raises(prunekit.InputError, match=rf"weights\.pt: .*give `activation`.*{told}$"):
        CALLS[called](path)


def test_load_itself_says_no_more(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 1).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(prunekit.InputError) as caught:
        prunekit.load(tmp_path / "weights.pt", activation="waves")
    assert "prunekit.load" not in str(caught.value)


@pytest.mark.parametrize("text", ["give `env`", "a.pt: no such file", "`normalizers` are two"])
def test_other_errors_stay_as_they_are(text: str) -> None:
    error = prunekit.ArtifactError(text)
    with pytest.raises(prunekit.ArtifactError) as caught, load_named():
        raise error
    assert caught.value is error
    with pytest.raises(CheckError, match=r"^give `head`$"), load_named():
        raise CheckError("give `head`")


def test_the_kind_of_the_error_stays_and_false_is_no_name() -> None:
    with pytest.raises(prunekit.ArtifactError, match=r"load\(path, normalizer=\.\.\.\)"), load_named():
        raise prunekit.ArtifactError("a.zip: give `normalizer=False`")
