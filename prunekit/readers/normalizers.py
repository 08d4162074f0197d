"""The search for the observation normalizer of a Stable-Baselines3 zip, which the zip itself does not contain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

from prunekit.errors import InputError
from prunekit.files import require_file
from prunekit.formats.onnx_weights import weights_beside
from prunekit.readers.policy_file import PolicyOptions
from prunekit.readers.runs import run_normalizes
from prunekit.readers.zoo import run_folder, zoo_normalizes, zoo_zip

# What Stable-Baselines3's users call the file of VecNormalize.save.
_NAMES = ("vec_normalize.pkl", "vecnormalize.pkl")

UNUSED = "unused_normalizer"
"""The entry of a policy's metadata that says which normalizer was left out when it was read."""


class UnknownNormalizerError(InputError):
    """Nothing says whether the policy was trained with a normalizer, or where its file is."""


@final
@dataclass(frozen=True, kw_only=True)
class Told:
    """Whether ``trainer`` normalized observations, according to its ``file``."""

    normalizes: bool
    trainer: str
    file: str


def normalizer_of(path: Path, options: PolicyOptions) -> Path | None:
    """Return the normalizer's file for the zip at ``path``, or None if the policy was trained without one.

    A zip does not say whether there was a normalizer. A file in a usual place is used. Otherwise the files of the
    training program may say that there was none (``told_of``), or else ``options`` must. Raises
    UnknownNormalizerError, naming the options, if nothing says so.
    """
    if options.without_normalizer:
        return None
    if options.normalizer is not None:
        require_file(options.normalizer)
        return options.normalizer
    found = normalizers_near(path)
    if len(found) == 1:
        return found[0]
    told = None if found else told_of(path)
    if told is not None and not told.normalizes:
        return None
    if told is not None:
        raise UnknownNormalizerError(
            f"{path}: {told.file} next to it says that it was trained with a normalizer, whose file is missing; put "
            "vecnormalize.pkl next to the zip, or name it with `normalizer`"
        )
    what = "several files next to it could be its normalizer" if found else "no normalizer is next to it"
    raise UnknownNormalizerError(
        f"{path}: does not say whether its observations were normalized (VecNormalize), and {what}; give its file "
        "with `normalizer`, or `normalizer=False` if it was trained without one"
    )


def told_of(path: Path) -> Told | None:
    """Return what the files next to the zip at ``path`` say: those of RL Baselines3 Zoo or of ``prunekit train``."""
    zoo, run = zoo_normalizes(path), run_normalizes(path)
    if zoo is not None:
        return Told(normalizes=zoo, trainer="RL Baselines3 Zoo", file="config.yml")
    return None if run is None else Told(normalizes=run, trainer="prunekit", file="config.json")


def normalizers_near(path: Path) -> list[Path]:
    """Return the files whose names fit a normalizer of the zip at ``path``.

    They are next to the zip, or in the folder of its run, as RL Baselines3 Zoo writes them. A run's folder at ``path``
    stands for its zip.
    """
    path = zoo_zip(path)
    folder = run_folder(path)
    beside = [path.parent / name for name in (*_NAMES, *(f"{path.stem}_{name}" for name in _NAMES))]
    inside = [] if folder is None else [folder / name for name in _NAMES]
    return [file for file in (*beside, *inside) if file.is_file()]


def files_beside(path: Path) -> list[Path]:
    """Return the files next to the policy at ``path`` that reading it may read too."""
    return [*normalizers_near(path), *weights_beside(path)]


def unused_normalizer(path: Path, options: PolicyOptions) -> str | None:
    """Return what speaks against ``options`` that say that the zip at ``path`` has no normalizer; None if nothing."""
    if not options.without_normalizer:
        return None
    found = [file.relative_to(path.parent).as_posix() for file in normalizers_near(path)]
    if found:
        return f"{' and '.join(found)} next to it is not used, so its observations are not normalized"
    told = told_of(path)
    if told is None or not told.normalizes:
        return None
    return f"its observations are not normalized, but {told.file} next to it says that they were in training"


def other_normalizer(path: Path, normalizer: Path | None) -> str | None:
    """Return a note if the zip at ``path`` has the ``normalizer`` of a run's folder with another name, else None."""
    if normalizer is None or normalizer.parent != run_folder(path) or normalizer.parent.name == path.stem:
        return None
    return f"its normalizer is that of the run next to it, {normalizer.relative_to(path.parent).as_posix()}"
