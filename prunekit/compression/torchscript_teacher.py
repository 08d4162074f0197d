"""TorchScript as a teacher: its program is interpreted here, and no code of the file is run (law 7)."""

from __future__ import annotations

import ast
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prunekit.compression.teacher import Size, Teacher, of_another_environment
from prunekit.environments import Spaces
from prunekit.errors import ArtifactError, InputError, PrunekitError
from prunekit.formats.kinds import kind_of
from prunekit.graph.graph import specs_of
from prunekit.policy.program import Float32
from prunekit.readers.read import read_policy
from prunekit.readers.torchscript.archive import Script, read_script
from prunekit.readers.torchscript.budget import run_for

ROWS = 64
"""How many observations are answered at once; the memory that an evaluation may take is proportional to it."""
_TOLERANCE = 1e-3
Answers = NDArray[Any]


def is_torchscript(path: Path) -> bool:
    """Return whether the file at ``path`` is a TorchScript archive."""
    return kind_of(path) == "torchscript"


def read_torchscript(path: Path, spaces: Spaces) -> Teacher:
    """Return the policy in the TorchScript file at ``path``; its input is one tensor, its answer its first tensor.

    If the answers to a batch differ from those to its rows alone, the policy is asked about one observation at a time.
    Raises ArtifactError, naming the file and the call, if the code does more than arithmetic, samples or keeps a state,
    or if the file is damaged. Raises InputError if it does not run on the environment's observations.
    """
    try:
        script = read_script(path)
        _require_one_input(script)
    except InputError as error:
        raise ArtifactError(f"{path}: {error}") from error
    try:
        return _teacher(script, path, spaces)
    except ArtifactError:
        raise
    except InputError as error:
        misfit = _misfit(path, spaces)
        if misfit is None:
            raise
        raise misfit from error


def _teacher(script: Script, path: Path, spaces: Spaces) -> Teacher:
    seen = np.random.default_rng(0).normal(size=(spaces.outputs + 1, spaces.observation)).astype(np.float32)
    try:
        rows, parameters = _rows_at_once(script, seen)
    except InputError as error:
        raise ArtifactError(f"{path}: its TorchScript {error}") from error
    except Exception as error:
        raise _does_not_run(path, seen, error) from error

    def respond(observations: Float32) -> Any:
        try:
            parts = [_answers(script, part)[0] for part in _parts(observations, rows)]
        except InputError as error:
            raise InputError(f"{path}: its TorchScript {error}") from error
        except Exception as error:  # whatever the program's own arithmetic raises
            raise _does_not_run(path, observations, error) from error
        return parts[0] if len(parts) == 1 else np.concatenate([part if part.ndim else part[None] for part in parts])

    # The parameters of a frozen module are among its constants, where they are not counted.
    teacher = Teacher(
        name=str(path),
        spaces=spaces,
        respond=respond,
        size=Size(hidden=None, parameters=parameters) if parameters else None,
    )
    teacher.probe()
    return teacher


def _misfit(path: Path, spaces: Spaces) -> InputError | None:
    """Return the error for a policy of another environment; None if it fits, or cannot be read into a graph."""
    try:
        graph = read_policy(path).graph
    except PrunekitError:
        return None
    sizes = [math.prod(port.shape) for port in graph.inputs]
    outputs = math.prod(specs_of(graph)["outputs"].shape)
    if sizes == [spaces.observation] and outputs in (spaces.outputs, spaces.actions.choices):
        return None
    return of_another_environment(str(path), sizes, outputs, spaces)


def _does_not_run(path: Path, observations: Float32, error: Exception) -> InputError:
    lines = str(error).strip().splitlines()
    reason = lines[-1][:200] if lines else type(error).__name__
    return InputError(
        f"{path}: does not run on {len(observations)} observations of {observations.shape[1]} values ({reason})"
    )


def _require_one_input(script: Script) -> None:
    """Raise InputError for a program that needs several inputs, or that takes and returns a state."""
    arguments = script.forward.definition.args
    names = [argument.arg for argument in arguments.args[1:]]
    needed = names[: len(names) - len(arguments.defaults)] if arguments.defaults else names
    if len(needed) > 1 or not names:
        raise InputError(
            f"its TorchScript takes {len(needed)} inputs ({', '.join(needed)[:100]}); a teacher has to take "
            "observations alone, and must not be recurrent"
        )
    returns = script.forward.definition.returns
    several = isinstance(returns, ast.Subscript) and ast.unparse(returns.value) == "Tuple"
    states = [
        argument.arg
        for argument in arguments.args[2:]
        if argument.annotation is not None and "Tensor" in ast.unparse(argument.annotation)
    ]
    if states and several:
        raise InputError(
            f"its TorchScript takes '{states[0][:60]}' too and returns several values, as recurrent policies do; a "
            "teacher must not be recurrent"
        )


def _parts(observations: Float32, rows: int) -> list[Float32]:
    return [observations[at : at + rows] for at in range(0, len(observations), rows)] or [observations]


def _rows_at_once(script: Script, seen: Float32) -> tuple[int, int]:
    """Return how many observations one evaluation may answer, and how many parameters it uses."""
    alone = [_answers(script, row[None]) for row in seen[:2]]
    parameters = alone[0][1]
    try:
        together, _ = _answers(script, seen)
    except InputError:
        raise
    except Exception:  # a program for a single observation may raise anything
        return 1, parameters
    flat = [answer.reshape(-1) for answer, _ in alone]
    if len(together) != len(seen) or together.size != flat[0].size * len(seen):
        return 1, parameters
    close = np.allclose(together[:2].reshape(2, -1), flat, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True)
    return (ROWS if close else 1), parameters


@torch.no_grad()
def _answers(script: Script, observations: Float32) -> tuple[Answers, int]:
    """Return the first tensor that the program returns, and how many parameters it used."""
    run = run_for(len(observations), script.weights, script.storages, script.lists)
    seen = torch.from_numpy(observations.copy()).to(script.dtype)
    output = script.forward.call([script.module, seen], {}, run)
    first = output[0] if isinstance(output, tuple | list) and output else output
    if not isinstance(first, Tensor):
        raise InputError(f"returns a {type(first).__name__}, not a tensor or a tuple that begins with one")
    answers = first.double() if first.is_floating_point() else first
    return answers.numpy(), sum(run.used.values())
