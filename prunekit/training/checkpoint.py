"""Checkpoints: everything that a run needs to continue as if it had never been interrupted."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any, final

import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from prunekit.adapters.sb3_state import restore_, state_of
from prunekit.errors import ArtifactError, CheckError, InputError
from prunekit.files import is_exactly, write_atomically
from prunekit.formats.text import shown
from prunekit.formats.torch_file import read_torch
from prunekit.pruning.pruner import Pruner
from prunekit.training.differences import first_difference
from prunekit.training.parts import check_parts, check_request, check_restored
from prunekit.training.schema import WrongValueError
from prunekit.versions import installed_versions

FORMAT = "prunekit.checkpoint"
VERSION = 1
REMEDY = "remove it to continue from the previous one, or remove the run's folder to start over"
KEPT = 2
"""How many checkpoints stay: the last good one survives whatever happens to the next."""

Checkpoint = Mapping[str, Any]


@final
@dataclass(frozen=True, kw_only=True)
class Records:
    """The state of a recorder: the steps of the next checkpoint and record, unrecorded returns, the latest recorded
    ones, and the seconds so far.
    """

    next_checkpoint: int
    next_record: int
    fresh: list[float]
    last_returns: list[float]
    seconds: float


def folder_of(run: Path) -> Path:
    """Return the checkpoint folder of the run in ``run``."""
    return run / "checkpoint"


def checkpoints_in(run: Path) -> list[Path]:
    """Return the checkpoints of a run, the newest last; incomplete files are ignored."""
    return sorted(folder_of(run).glob("[0-9]*.pt"))


def write_checkpoint(
    run: Path,
    model: BaseAlgorithm,
    pruners: Sequence[Pruner],
    request: Mapping[str, Any],
    records: Records,
) -> Path:
    """Write the current state atomically, remove all but the newest ``KEPT`` checkpoints, and return the path.

    Raises CheckError, and leaves the others unchanged, if a weight of the policy is not finite.
    """
    require_finite(model)
    content = {
        "format": FORMAT,
        "version": VERSION,
        "request": {**request, "versions": installed_versions()},
        "records": asdict(records),
        "pruners": [pruner.state_dict() for pruner in pruners],
        "learner": state_of(model),
    }
    path = folder_of(run) / f"{model.num_timesteps:012}.pt"
    _write(path, content)
    half_written = folder_of(run).glob(".[0-9]*.pt.*")  # by a run that was killed meanwhile
    for old in (*checkpoints_in(run)[:-KEPT], *half_written):
        old.unlink()
    return path


def copy_checkpoint(path: Path, run: Path, request: Mapping[str, Any], pruners: int) -> None:
    """Copy the checkpoint at ``path`` into ``run`` as one of ``request``, with the first ``pruners`` of its pruners.

    Raises ArtifactError if it is damaged.
    """
    found = read_checkpoint(path)
    changed = {
        "request": {**request, "versions": installed_versions()},
        "pruners": list(found["pruners"])[:pruners],
    }
    _write(folder_of(run) / path.name, {**found, **changed})


def _write(path: Path, content: Mapping[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    write_atomically(path, buffer.getvalue())


def require_finite(model: BaseAlgorithm) -> None:
    """Raise CheckError unless all weights of the policy are finite."""
    if not all(bool(parameter.isfinite().all()) for parameter in model.policy.parameters()):
        raise CheckError("the policy's weights are not finite; lower the learning rate or look at the rewards")


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; raises ArtifactError, naming it and the cure, if it is damaged."""
    remedy = REMEDY
    try:
        content = read_torch(path)
    except InputError as error:
        raise ArtifactError(f"{path}: damaged or not a checkpoint: {error}; {remedy}") from error
    if not isinstance(content, dict) or not is_exactly(content.get("format"), FORMAT):
        raise ArtifactError(f"{path}: a torch file, but not a prunekit checkpoint; {remedy}")
    if not is_exactly(content.get("version"), VERSION):
        found = shown(content.get("version"), 60)
        raise ArtifactError(f"{path}: checkpoint format {found}, but this prunekit reads {VERSION}; {remedy}")
    if not all(isinstance(content.get(name), dict) for name in ("request", "records", "learner")):
        raise ArtifactError(f"{path}: lacks parts of a checkpoint; {remedy}")
    return content


def check_same(path: Path, saved: Mapping[str, Any], request: Mapping[str, Any]) -> None:
    """Raise InputError, naming the difference, unless ``path`` was written with this request and these versions.

    ``saved`` has at least the entries of ``request`` and ``versions``. Raises ArtifactError if it is not plain data.
    """
    try:
        check_request(saved)
    except WrongValueError as error:
        raise ArtifactError(f"{path}: {error}; {REMEDY}") from error
    now = {**request, "versions": installed_versions()}
    difference = first_difference("", {name: saved.get(name) for name in now}, now)
    if difference:
        raise InputError(f"{path}: cannot be resumed: {difference}; resume with the settings that the run began with")


def resume_(path: Path, checkpoint: Checkpoint, model: BaseAlgorithm, pruners: Sequence[Pruner]) -> Records:
    """Restore the new ``model`` and ``pruners`` from ``checkpoint``, and return its records.

    Raises ArtifactError, naming the file and the part, if a part is not valid.
    """
    part = "pruners"
    try:
        check_parts(checkpoint, model, pruners)
        for pruner, state in zip(pruners, checkpoint["pruners"], strict=True):
            pruner.load_state_dict(state)  # first: it brings networks to the widths of the saved weights
        part = "learner"
        restore_(model, checkpoint["learner"])
        check_restored(model)
        return Records(**checkpoint["records"])
    except WrongValueError as error:
        raise ArtifactError(f"{path}: its contents do not fit the run ({error}); {REMEDY}") from error
    except Exception as error:  # parts that are sound one by one, but not together
        told = f"{part}: {type(error).__name__}: {shorten(str(error), 300, placeholder='...')}"
        raise ArtifactError(f"{path}: its contents do not fit the run ({told}); {REMEDY}") from error
