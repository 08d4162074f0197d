"""Compression in environments of other actions than a number or a vector: learned, certified, written, benched."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import points
import pytest

from prunekit.benching.compare import run_bench
from prunekit.benching.settings import BenchSettings
from prunekit.compression.run import compress, write
from prunekit.compression.settings import CompressSettings, SearchSettings
from prunekit.compression.task import Task
from prunekit.compression.teacher import Teacher
from prunekit.devices import devices_named
from prunekit.environments import Spaces, make_environment, spaces_of
from prunekit.policy.artifact import load
from prunekit.policy.heads import KindHead
from prunekit.rollouts import episode_return

SEARCH = SearchSettings(
    starts=((), (8,)), first_steps=600, steps=300, lesson_steps=300, teacher_episodes=20, selection_episodes=15
)
TEACHERS = {points.LEVERS: points.pull, points.SWITCHES: points.press}


def teacher_of(spaces: Spaces, respond: Any) -> Teacher:
    return Teacher(name="the controller", spaces=spaces, respond=respond)


@pytest.mark.parametrize("env_id", TEACHERS)
def test_a_teacher_that_tells_its_choices_is_compressed(env_id: str, tmp_path: Path) -> None:
    task = Task(env_id=env_id, teacher_of=partial(teacher_of, respond=TEACHERS[env_id]))
    result = compress(task, CompressSettings(search=SEARCH, episodes=200))
    assert result.certified
    onnx, model, *_ = write(result, tmp_path)
    environment = make_environment(env_id)
    spaces = spaces_of(environment)
    head = load(model).actor.head
    assert head == KindHead(spaces.actions)

    session = onnxruntime.InferenceSession(onnx.read_bytes())
    returns = []
    for seed in range(10):

        def act(observation: Any) -> Any:
            return session.run(["action"], {"obs": np.asarray(observation, np.float32)[None]})[0][0]

        returns.append(episode_return(environment, act, seed))
    environment.close()
    devices = devices_named(["cpu", "cpu-c"], [], None)
    benched = run_bench([model, onnx], devices[:1], BenchSettings(episodes=10, first_seed=0))
    assert [result["cpu"].returns for result in benched.devices] == [tuple(returns)] * 2
    compiled = run_bench([model], devices[1:], BenchSettings(episodes=10, first_seed=0))
    np.testing.assert_allclose(compiled.devices[0]["cpu-c"].returns, returns, rtol=1e-6)
