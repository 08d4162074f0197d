"""An ONNX file as a teacher: it takes one batch of observations, and one of its outputs is the answer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from prunekit.benching.models import BenchModel, read_model
from prunekit.benching.runtimes import require_bounded, samples_its_action
from prunekit.compression.teacher import Size, Teacher
from prunekit.environments import Spaces
from prunekit.errors import ArtifactError, InputError
from prunekit.export.session import tuned_session, work_of
from prunekit.formats.onnx_layers import sizes_of_outputs, varying_outputs
from prunekit.formats.text import reason_of, shown
from prunekit.policy.program import Float32

_FLOATS = {"tensor(float)": np.float32, "tensor(double)": np.float64}
_ROWS = (1024, 64)
_NAMED = {"outputs": "scores", "action": "action"}


class OtherInputsError(InputError):
    """The file does not take a single batch of observations, so it cannot be run as it is."""


def read_onnx_teacher(path: Path, spaces: Spaces, target: str | None = None) -> Teacher:
    """Return the policy with one input in the ONNX file at ``path``.

    ``target`` names the output that answers. By default it is the one called ``scores`` (if actions are choices) or
    ``action``; otherwise the only output with as many values as the action space needs, where action numbers count too.
    Raises ArtifactError if the file is no ONNX. Raises InputError, naming ``path`` and the option, if it does not fit,
    if the output cannot be told, or if it is drawn at random.
    """
    model = read_model(path)
    session = tuned_session(model.content, str(path))
    entry = _input(session, path)
    dtype = _FLOATS.get(entry.type)
    if dtype is None:
        raise InputError(f"{path}: input '{shown(entry.name)}' is {entry.type}, but observations are float vectors")
    if len(entry.shape) == 1:
        raise OtherInputsError(
            f"{path}: takes observations of shape {entry.shape}, which has no batch axis; export it with an input of "
            f"shape {['batch', *entry.shape]}"
        )
    fixed = [size for size in entry.shape[1:] if isinstance(size, int)]
    if len(entry.shape) != 2 or fixed not in ([], [spaces.observation]):
        raise InputError(
            f"{path}: takes observations of shape {entry.shape}, but the environment gives {spaces.observation} "
            "values; give the teacher's own environment with `env`"
        )
    names = [output.name for output in session.get_outputs()]
    if target is not None and target not in names:
        listed = ", ".join(map(shown, names))
        raise InputError(f"{path}: has no output '{shown(target)}'; `output` names one of {listed}")
    work = require_bounded(model, spaces)

    def run(outputs: list[str], observations: Float32) -> list[Any]:
        try:
            return list(session.run(outputs, {entry.name: observations.astype(dtype)}))
        except Exception as error:  # ONNX Runtime's own exception types share no public base
            raise InputError(
                f"{path}: does not run on {len(observations)} observations of {spaces.observation} values "
                f"({reason_of(error)})"
            ) from error

    one = dict(zip(names, run(names, np.zeros((1, spaces.observation), np.float32)), strict=True))
    chosen = _chosen(one, varying_outputs(work), model, spaces, target)
    rows = 1 if isinstance(entry.shape[0], int) else _rows_at_once(model.content, spaces.observation)

    def respond(observations: Float32) -> Any:
        if rows > 1 and len(observations) <= rows:
            return run([chosen], observations)[0]
        parts = [observations[start : start + rows] for start in range(0, len(observations), rows)]
        return np.concatenate([run([chosen], part)[0].reshape(len(part), -1) for part in parts])

    size = Size(hidden=model.hidden, parameters=model.parameters)
    if "sizes" not in model.metadata:
        counted = sizes_of_outputs(work, [chosen])
        size = Size(hidden=counted.hidden, parameters=counted.parameters)
    teacher = Teacher(name=str(path), spaces=spaces, respond=respond, size=size if size.parameters else None)
    teacher.probe()
    return teacher


def _rows_at_once(content: bytes, width: int) -> int:
    """Return how many observations one run may take; the work may grow faster than their number."""
    for rows in _ROWS:
        with suppress(ArtifactError):
            work_of(content, "model", batch=rows, width=width)
            return rows
    return 1


def _input(session: Any, path: Path) -> Any:
    entries = {entry.name: entry for entry in session.get_inputs()}
    names = ", ".join(map(shown, entries))
    if len(entries) != 1:
        raise OtherInputsError(f"{path}: has {len(entries)} inputs ({names}), but a policy takes one observation")
    return next(iter(entries.values()))


def _chosen(
    found: dict[str, Any], varying: Sequence[str], model: BenchModel, spaces: Spaces, target: str | None
) -> str:
    """Return the output that answers: not drawn at random, and with as many values as the action space needs."""
    fitting = [name for name in found if _fits(np.asarray(found[name]), spaces)]
    plain = [name for name in fitting if name not in model.sampled]
    preferred = _NAMED[spaces.actions.taught_by]
    drawn = target if target in model.sampled else None
    if target is None and preferred in plain:
        return preferred
    if target is None:
        drawn = next((name for name in fitting if name in model.sampled), None)
    if drawn is not None:
        others = [name for name in plain if name in varying]
        raise samples_its_action(str(model.path), drawn, model.sampled[drawn], others)
    if target is not None:
        return target
    if len(plain) == 1:
        return plain[0]
    shapes = ", ".join(f"{shown(name)} {list(np.asarray(value).shape)}" for name, value in found.items())
    raise InputError(
        f"{model.path}: {'several outputs' if plain else 'no output'} could be the {spaces.outputs} values of the "
        f"action ({shapes}); name the right one with `output`"
    )


def _fits(value: Any, spaces: Spaces) -> bool:
    if np.issubdtype(value.dtype, np.integer):
        return bool(spaces.actions.choices == value.size)
    return bool(np.issubdtype(value.dtype, np.floating)) and value.size == spaces.outputs
