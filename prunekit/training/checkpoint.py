"""Checkpoints: everything that a run needs to go on as if it had never been interrupted."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from prunekit.adapters.sb3_state import restore_, state_of
from prunekit.errors import ArtifactError, InputError
from prunekit.files import write_atomically
from prunekit.pruning.pruner import Pruner
from prunekit.versions import installed_versions

FORMAT = "prunekit.checkpoint"
VERSION = 1
KEPT = 2
"""How many checkpoints stay: the last good one survives whatever happens to the next."""

Checkpoint = Mapping[str, Any]


def folder_of(run: Path) -> Path:
    """Return where the checkpoints of the run in ``run`` are."""
    return run / "checkpoint"


def checkpoints_in(run: Path) -> list[Path]:
    """Return the checkpoints of a run, the newest last; half-written files do not count."""
    return sorted(folder_of(run).glob("[0-9]*.pt"))


def write_checkpoint(
    run: Path,
    model: BaseAlgorithm,
    pruners: Sequence[Pruner],
    request: Mapping[str, Any],
    records: Mapping[str, Any],
) -> Path:
    """Write the state of now, atomically, and remove all but the newest ``KEPT`` checkpoints; return the path."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "request": {**request, "versions": installed_versions()},
        "records": dict(records),
        "pruners": [pruner.state_dict() for pruner in pruners],
        "learner": state_of(model),
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path = folder_of(run) / f"{model.num_timesteps:012}.pt"
    write_atomically(path, buffer.getvalue())
    for old in checkpoints_in(run)[:-KEPT]:
        old.unlink()
    return path


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; raises ArtifactError, naming it and what to do, for anything but a whole one."""
    remedy = "remove it to go on from the one before, or remove the run's folder to begin anew"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ArtifactError(f"{path}: holds objects that could run code, so it was not loaded; {remedy}") from error
    except Exception as error:  # torch raises many types for damaged files
        raise ArtifactError(f"{path}: damaged or no checkpoint; {remedy}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ArtifactError(f"{path}: a torch file, but no checkpoint of prunekit; {remedy}")
    if content.get("version") != VERSION:
        raise ArtifactError(
            f"{path}: checkpoint format {content.get('version')}, but this prunekit reads {VERSION}; {remedy}"
        )
    return content


def check_same(path: Path, saved: Mapping[str, Any], request: Mapping[str, Any]) -> None:
    """Raise InputError, saying what differs, unless what ``path`` was written with is this request and these versions.

    ``saved`` has at least the entries of ``request`` and ``versions``.
    """
    now = _flat({**request, "versions": installed_versions()})
    before = _flat({name: saved.get(name) for name in (*request, "versions")})
    for name in sorted({*now, *before}):
        if before.get(name) != now.get(name):
            raise InputError(
                f"{path}: cannot be resumed, as {name} differs: it was {before.get(name)} and is {now.get(name)} now; "
                "resume with what the run began with"
            )


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, with dotted names; other values as JSON has them."""
    if not isinstance(value, Mapping):
        return {prefix: json.loads(json.dumps(value))}
    found: dict[str, Any] = {}
    for name, entry in value.items():
        found |= _flat(entry, f"{prefix}.{name}" if prefix else str(name))
    return found


def resume_(path: Path, checkpoint: Checkpoint, model: BaseAlgorithm, pruners: Sequence[Pruner]) -> None:
    """Bring ``model`` and its ``pruners``, fresh ones, to the state of ``checkpoint``.

    Raises ArtifactError, naming the file, where the parts do not fit.
    """
    try:
        for pruner, state in zip(pruners, checkpoint["pruners"], strict=True):
            pruner.load_state_dict(state)  # first: it brings networks to the widths of the saved weights
        restore_(model, checkpoint["learner"])
    except Exception as error:  # a file edited by hand can be wrong in any way
        raise ArtifactError(f"{path}: its contents do not fit the run ({type(error).__name__}: {error})") from error
