"""Teachers from files: which kind of file it is, and where its normalizer lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

from prunekit.adapters.sb3_files import read_sb3
from prunekit.compress.onnx_teacher import read_onnx_teacher
from prunekit.compress.teacher import Teacher, teacher_of_actor
from prunekit.compress.torchscript_teacher import read_torchscript
from prunekit.environments import Spaces
from prunekit.errors import ArtifactError, InputError
from prunekit.files import require_file
from prunekit.formats.kinds import kind_of
from prunekit.policy.artifact import load
from prunekit.policy.compaction import compact

# What Stable-Baselines3's users call the file of VecNormalize.save, beside the zip.
_NORMALIZERS = ("vec_normalize.pkl", "vecnormalize.pkl")


@final
@dataclass(frozen=True)
class Reading:
    """How a file is to be read: ``normalizer`` is a file of ``VecNormalize.save``, ``target`` an ONNX file's output."""

    normalizer: Path | None = None
    without_normalizer: bool = False
    target: str | None = None

    def __post_init__(self) -> None:
        if self.normalizer is not None and self.without_normalizer:
            raise InputError("--normalizer and --no-normalizer exclude each other; give one")


def read_teacher(path: Path, spaces: Spaces, reading: Reading | None = None) -> Teacher:
    """Return the policy at ``path``: a model.pt, a zip of Stable-Baselines3, ONNX or TorchScript.

    A zip does not say whether its policy was trained behind a normalizer, so that a file beside it that is called as
    such is used, and where there is none the caller has to say so. Runs no code of the file (law 7).
    Raises ArtifactError and InputError, naming the file or the option.
    """
    reading = reading or Reading()
    require_file(path)
    suffix, kind = path.suffix.lower(), kind_of(path)
    if reading.target is not None and suffix != ".onnx":
        raise InputError(f"{path}: --output is for ONNX files; leave it out")
    if kind == "sb3" or (suffix == ".zip" and kind != "torchscript"):
        return teacher_of_actor(read_sb3(path, _normalizer(path, reading), spaces=spaces), str(path), spaces)
    if reading.normalizer is not None or reading.without_normalizer:
        raise InputError(f"{path}: --normalizer and --no-normalizer are for zips of Stable-Baselines3; leave them out")
    if suffix == ".onnx":
        return read_onnx_teacher(path, spaces, reading.target)
    if kind == "torchscript" or suffix == ".ts":
        return read_torchscript(path, spaces)
    if suffix == ".pt":
        return teacher_of_actor(compact(load(path)).artifact.actor, str(path), spaces)
    raise ArtifactError(f"{path}: unknown kind of file; a teacher is a .pt, .zip, .onnx or TorchScript file")


def _normalizer(path: Path, reading: Reading) -> Path | None:
    if reading.without_normalizer:
        return None
    if reading.normalizer is not None:
        require_file(reading.normalizer)
        return reading.normalizer
    found = normalizers_beside(path)
    if len(found) == 1:
        return found[0]
    what = "several files beside it could be" if found else "no file beside it is"
    raise InputError(
        f"{path}: {what} its observation normalizer; name one with --normalizer, or say --no-normalizer if it was "
        "trained without"
    )


def normalizers_beside(path: Path) -> list[Path]:
    """Return the files beside the zip at ``path`` that are called as its normalizer would be."""
    names = [*_NORMALIZERS, *(f"{path.stem}_{name}" for name in _NORMALIZERS)]
    return [path.with_name(name) for name in names if path.with_name(name).is_file()]
