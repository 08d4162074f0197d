"""What is done with a file of every kind: what the commands do with it, through the functions that they call."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from fuzzing.sound import Sound
from prunekit.benching.models import read_model
from prunekit.benching.runtimes import OnnxRuntime
from prunekit.cli.inspect import inspect
from prunekit.compression.read import read_teacher
from prunekit.environments import Spaces
from prunekit.graph.reference import initial_states, run_step
from prunekit.policy.artifact import load
from prunekit.readers.policy_file import PolicyOptions
from prunekit.readers.read import recognised
from prunekit.readers.sb3.graph import read_zip
from prunekit.readers.sb3.statistics import read_vec_normalize
from prunekit.training.checkpoint import read_checkpoint
from prunekit.training.command import TrainOptions, prepare
from prunekit.training.run import train
from prunekit.training.status import Status

Target = Callable[[Path, Sound], object]
"""Takes the file and what it was made from; raises a PrunekitError where the file is refused."""


def _inspect(path: Path, _: Sound) -> None:
    """The command as such, with what it prints."""
    inspect(path)


def _observations(spaces: Spaces, count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.random.default_rng(count).normal(size=(count, spaces.observation)).astype(np.float32)


def _run(path: Path, sound: Sound) -> None:
    runtime = OnnxRuntime(read_model(path), sound.spaces)
    for observation in _observations(sound.spaces, 2):
        runtime.act(observation)
    runtime.close()


def _teach(path: Path, sound: Sound) -> object:
    options = PolicyOptions(without_normalizer=path.suffix == ".zip")
    teacher = read_teacher(path, sound.spaces, options)
    teacher.responses(_observations(sound.spaces, 3))
    teacher.act(np.zeros(sound.spaces.observation, np.float32))
    return teacher.network  # of a file that plays as it is, read now


_SAID = PolicyOptions(activation="elu", head="none")


def _read_weights(path: Path, sound: Sound) -> None:
    """With what their users would have to say; a Brax or RLlib policy has two outputs, the others one."""
    file = recognised(path)
    policy = file.read(file.own(_SAID))
    states = initial_states(policy.graph, 3, np.float64)
    run_step(policy.graph, {"obs": _observations(sound.spaces, 3)}, states)


def _named_layers(path: Path, _: Sound) -> None:
    file = recognised(path)
    file.read(file.own(replace(_SAID, layers=("0", "2"))))


def _load(path: Path, _: Sound) -> None:
    load(path)


def _read_zip(path: Path, _: Sound) -> None:
    read_zip(path)


def _read_statistics(path: Path, _: Sound) -> None:
    read_vec_normalize(path)


def _read_checkpoint(path: Path, _: Sound) -> None:
    read_checkpoint(path)


class _BegunError(Exception):
    """The run goes on: its files were read."""


class _Stop:
    def update(self, _: Status) -> None:
        raise _BegunError


def _resume(path: Path, _: Sound) -> None:
    folder = path.parent if path.name == "config.json" else path.parent.parent
    request, folder = prepare(TrainOptions(out=folder), resume=True)
    with contextlib.suppress(_BegunError):
        train(request, folder, [_Stop()], resume=True)


_WEIGHTS = {"inspect": _inspect, "read": _read_weights, "layers": _named_layers}
TARGETS: Mapping[str, Mapping[str, Target]] = {
    "model": {"inspect": _inspect, "load": _load, "run": _run, "teach": _teach},
    "torchscript": {"inspect": _inspect, "teach": _teach},
    "onnx": {"inspect": _inspect, "run": _run, "teach": _teach},
    "sb3": {"inspect": _inspect, "read_zip": _read_zip, "teach": _teach},
    "sbx": {"inspect": _inspect, "teach": _teach},
    "statistics": {"read_vec_normalize": _read_statistics},
    "checkpoint": {"inspect": _inspect, "read_checkpoint": _read_checkpoint, "resume": _resume},
    "config": {"resume": _resume},
    **dict.fromkeys(("rsl_rl", "skrl", "rl_games", "cleanrl", "rllib", "brax", "state_dict", "unread"), _WEIGHTS),
    "rltools": {"inspect": _inspect, "read": _read_weights},
}
"""By kind of file and by name, in the order in which they are done."""
KINDS = tuple(TARGETS)
