"""Any ONNX file as a teacher: one observation in, and one of its outputs is the decision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from prunekit.bench.models import read_model
from prunekit.compress.teacher import Size, Teacher
from prunekit.environments import Spaces
from prunekit.errors import InputError
from prunekit.export.session import tuned_session
from prunekit.policy.program import Float32

_FLOATS = {"tensor(float)": np.float32, "tensor(double)": np.float64}
_NAMED = {True: "scores", False: "action"}


def read_onnx_teacher(path: Path, spaces: Spaces, target: str | None = None) -> Teacher:
    """Return the policy in the ONNX file at ``path``.

    It has one input. ``target`` names its output where that cannot be told: it is the one called ``scores`` (discrete
    actions) or ``action``, or the only one that has as many values as the actions need, a number for a discrete one
    counting too. Raises ArtifactError for what is no ONNX file and InputError, naming ``path`` and the option, for what
    does not fit.
    """
    model = read_model(path)
    session = tuned_session(model.content, str(path))
    entry = _input(session, path)
    dtype = _FLOATS.get(entry.type)
    if dtype is None:
        raise InputError(f"{path}: input '{entry.name}' is {entry.type}, but observations are float vectors")
    if len(entry.shape) == 1:
        raise InputError(
            f"{path}: takes observations of shape {entry.shape}, which has no batch axis; export it with an input of "
            f"shape {['batch', *entry.shape]}"
        )
    fixed = [size for size in entry.shape[1:] if isinstance(size, int)]
    if len(entry.shape) != 2 or fixed not in ([], [spaces.observation]):
        raise InputError(
            f"{path}: takes observations of shape {entry.shape}, but the environment gives {spaces.observation} "
            "values; give the teacher's own environment with --env"
        )
    names = [output.name for output in session.get_outputs()]
    if target is not None and target not in names:
        raise InputError(f"{path}: has no output '{target}'; --output names one of {', '.join(names)}")

    def run(outputs: list[str], observations: Float32) -> list[Any]:
        try:
            return list(session.run(outputs, {entry.name: observations.astype(dtype)}))
        except Exception as error:  # ONNX Runtime's own exception types share no public base
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"{path}: does not run on {len(observations)} observations of {spaces.observation} values ({reason})"
            ) from error

    one = dict(zip(names, run(names, np.zeros((1, spaces.observation), np.float32)), strict=True))
    chosen = target or _output(one, spaces, path)
    batched = not isinstance(entry.shape[0], int)

    def respond(observations: Float32) -> Any:
        if batched:
            return run([chosen], observations)[0]
        return np.concatenate([run([chosen], row[None])[0].reshape(1, -1) for row in observations])

    size = Size(model.hidden, model.parameters) if model.parameters else None
    teacher = Teacher(str(path), spaces, respond, size)
    teacher.probe()
    return teacher


def _input(session: Any, path: Path) -> Any:
    entries = {entry.name: entry for entry in session.get_inputs()}
    names = ", ".join(entries)
    if len(entries) != 1:
        raise InputError(f"{path}: has {len(entries)} inputs ({names}), but a policy takes one observation")
    return next(iter(entries.values()))


def _output(found: dict[str, Any], spaces: Spaces, path: Path) -> str:
    fitting = [name for name, value in found.items() if _fits(np.asarray(value), spaces)]
    preferred = _NAMED[spaces.discrete is not None]
    if preferred in fitting:
        return preferred
    if len(fitting) == 1:
        return fitting[0]
    shapes = ", ".join(f"{name} {list(np.asarray(value).shape)}" for name, value in found.items())
    raise InputError(
        f"{path}: {'several outputs' if fitting else 'no output'} could be {spaces.outputs} values of a decision "
        f"({shapes}); name it with --output"
    )


def _fits(value: Any, spaces: Spaces) -> bool:
    if np.issubdtype(value.dtype, np.integer):
        return spaces.discrete is not None and value.size == 1
    return bool(np.issubdtype(value.dtype, np.floating)) and value.size == spaces.outputs
