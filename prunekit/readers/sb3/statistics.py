"""The observation normalizer that ``VecNormalize.save`` pickled, read without running any code (law 7)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import ArtifactError, InputError
from prunekit.files import require_file
from prunekit.ops.normalize import Normalize
from prunekit.readers.sb3.pickled import array_of, decoded, fields_of, number_of

MAX_PICKLE = 2**24
"""Bytes. Statistics are small; what takes room is the last observation of every environment, a few MB at most."""
_LARGEST_FINITE = float(np.finfo(np.float32).max)


def read_vec_normalize(path: Path, *, max_bytes: int = MAX_PICKLE) -> Normalize | dict[str, Normalize] | None:
    """Return the observation normalizer that ``VecNormalize.save`` wrote; None if it does not normalize observations.

    For Dict observations the result has one normalizer per normalized entry, by name.

    mean and scale are float32 [obs], where scale = 1 / sqrt(var + epsilon). Arrays are flattened row by row. A clip
    beyond float32 becomes infinity, which clips nothing. Runs no code of the file (law 7). Raises ArtifactError, naming
    the file, unless it is a sound VecNormalize over arrays of at most ``max_bytes``.
    """
    require_file(path)
    try:
        if path.stat().st_size > max_bytes:
            raise InputError(f"is larger than {max_bytes} bytes, more than observation statistics need")
        return _normalizer_of(decoded(path.read_bytes()))
    except InputError as error:
        raise ArtifactError(f"{path}: {error}") from error
    except Exception as error:  # unpickling a damaged file raises many types
        raise ArtifactError(
            f"{path}: damaged or not a pickle ({type(error).__name__}); give the file that VecNormalize.save wrote"
        ) from error


def _normalizer_of(loaded: object) -> Normalize | dict[str, Normalize] | None:
    fields = fields_of(loaded)
    if type(fields.get("norm_obs")) is not bool or ("obs_rms" not in fields and fields["norm_obs"]):
        raise InputError("a pickle, but not of a VecNormalize; give the file that VecNormalize.save wrote")
    if not fields["norm_obs"]:
        return None
    epsilon, clip = (number_of(fields.get(name)) for name in ("epsilon", "clip_obs"))
    if epsilon is None or clip is None:
        raise InputError(f"its '{'epsilon' if epsilon is None else 'clip_obs'}' is not a number")
    if not clip > 0.0:
        raise InputError(f"its 'clip_obs' must be positive, not {clip:g}")
    found = fields["obs_rms"]
    if not isinstance(found, dict):
        return _of_statistics(fields_of(found), epsilon, clip)
    if not all(isinstance(name, str) for name in found):
        raise InputError("the keys of its statistics are not names")
    return {name: _of_statistics(fields_of(one), epsilon, clip) for name, one in found.items()}


def _of_statistics(statistics: dict[str, Any], epsilon: float, clip: float) -> Normalize:
    mean, variance = (_array(statistics.get(name)) for name in ("mean", "var"))
    if mean.shape != variance.shape:
        raise InputError(f"the shapes of its mean {list(mean.shape)} and of its variance {list(variance.shape)} differ")
    with np.errstate(all="ignore"):  # the results of a broken variance are checked below
        scale = 1.0 / np.sqrt(variance + epsilon)
    if not all((np.abs(values) <= _LARGEST_FINITE).all() for values in (mean, scale)):
        raise InputError("holds statistics that are NaN, infinite or negative; the normalizer is broken")
    return Normalize(
        mean=mean.ravel().astype(np.float32),
        scale=scale.ravel().astype(np.float32),
        clip=clip if clip <= _LARGEST_FINITE else float("inf"),
    )


def _array(value: object) -> NDArray[np.float64]:
    values = array_of(value)
    if values is None or not values.ndim:
        raise InputError("its statistics are not an array of numbers")
    return values
