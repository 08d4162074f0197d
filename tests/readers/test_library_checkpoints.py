"""Checkpoints that other libraries write themselves, where they are installed: their own actions."""

from __future__ import annotations

import warnings
from pathlib import Path

import library_checkpoints as made_by
import pytest

from prunekit.errors import InputError
from prunekit.readers.read import read_policy


@pytest.mark.parametrize("name", made_by.MAKERS)
def test_actions_are_those_of_the_library(name: str, tmp_path: Path) -> None:
    if not made_by.installed(name):
        pytest.skip(f"{made_by.MAKERS[name][1]} is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own
        made = made_by.MAKERS[name][2](tmp_path)
        _, far = made_by.difference(made)
    assert far <= 1e-5


def test_a_recurrent_policy_of_rsl_rl_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("rsl_rl")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = made_by._rsl_rl(tmp_path, recurrent=True)
    with pytest.raises(InputError, match=r"rsl_rl checkpoint, recurrent .* is an LSTM of 8 cells"):
        read_policy(made.path, made.options)
