"""``VecNormalize.save`` pickles, read without running any code (law 7).

A pickle names functions and asks for calls of them. Here every name on a short list stands for a plain record, which
keeps what it is called with, and every other name ends the reading (``formats.pickles``). So nothing that the file
names is ever imported or called, NumPy's own functions included; the arrays are decoded from the records' bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import ArtifactError, InputError
from prunekit.files import require_file
from prunekit.formats.pickles import Record, decode_pickle
from prunekit.policy.actor import Normalizer

LARGEST_PICKLE = 2**24
"""Bytes. Statistics are small; what takes room is the last observation of every environment, a few MB at most."""

_LARGEST_FINITE = float(np.finfo(np.float32).max)
_ALLOWED = frozenset(
    {
        "stable_baselines3.common.vec_env.vec_normalize.VecNormalize",
        "stable_baselines3.common.running_mean_std.RunningMeanStd",
        "gymnasium.spaces.box.Box",
        "gymnasium.spaces.dict.Dict",
        "gymnasium.spaces.discrete.Discrete",
        "gymnasium.spaces.multi_binary.MultiBinary",
        "gymnasium.spaces.multi_discrete.MultiDiscrete",
        "numpy.dtype",
        "numpy.ndarray",
        *(  # NumPy 1 calls its inner package core, and its pickles are as common
            f"numpy.{core}.{name}"
            for core in ("core", "_core")
            for name in ("multiarray._reconstruct", "multiarray.scalar", "numeric._frombuffer")
        ),
        # a space that was sampled from holds its random generator
        *(f"numpy.random._pickle.{name}" for name in ("__generator_ctor", "__bit_generator_ctor")),
        *(f"numpy.random.bit_generator.{name}" for name in ("SeedSequence", "__pyx_unpickle_SeedSequence")),
        "numpy.random._pcg64.PCG64",
    }
)


def read_vec_normalize(path: Path) -> Normalizer | None:
    """Return the observation normalizer that ``VecNormalize.save`` wrote; None where it leaves observations alone.

    mean and scale are float32 [obs], scale = 1 / sqrt(var + epsilon). Runs no code of the file's choosing (law 7).
    Raises ArtifactError, naming the file, for anything but a whole and sound VecNormalize over a flat vector.
    """
    require_file(path)
    try:
        return _normalizer_of(_loaded(path))
    except InputError as error:
        raise ArtifactError(f"{path}: {error}") from error
    except Exception as error:  # unpickling a damaged file raises many types
        raise ArtifactError(
            f"{path}: damaged or not a pickle ({type(error).__name__}); give the file that VecNormalize.save wrote"
        ) from error


def _loaded(path: Path) -> object:
    if path.stat().st_size > LARGEST_PICKLE:
        raise InputError(f"is larger than {LARGEST_PICKLE} bytes; no pickle of observation statistics is")
    return decode_pickle(path.read_bytes(), _ALLOWED.__contains__)


def _normalizer_of(loaded: object) -> Normalizer | None:
    fields = _fields(loaded)
    if type(fields.get("norm_obs")) is not bool or ("obs_rms" not in fields and fields["norm_obs"]):
        raise InputError("a pickle, but not of a VecNormalize; give the file that VecNormalize.save wrote")
    if not fields["norm_obs"]:
        return None
    if isinstance(fields["obs_rms"], dict):
        raise InputError("VecNormalize over Dict observations is not supported; flatten the observations")
    statistics = _fields(fields["obs_rms"])
    mean, variance = _vector(statistics.get("mean")), _vector(statistics.get("var"))
    epsilon, clip = (_number(fields, name) for name in ("epsilon", "clip_obs"))
    with np.errstate(all="ignore"):  # what comes out of a broken variance is judged below
        scale = 1.0 / np.sqrt(variance + epsilon)
    if not all((np.abs(values) <= _LARGEST_FINITE).all() for values in (mean, scale)):
        raise InputError("holds statistics that are NaN, infinite or negative; the normalizer is broken")
    return Normalizer(mean.tolist(), scale.tolist(), clip)


def _fields(value: object) -> dict[str, Any]:
    return value.state if isinstance(value, Record) and isinstance(value.state, dict) else {}


def _number(fields: dict[str, Any], name: str) -> float:
    value = fields.get(name)
    if not isinstance(value, int | float):
        raise InputError(f"its '{name}' is no number")
    return float(value)


def _vector(value: object) -> NDArray[np.float64]:
    """Decode the record of a float32 or float64 array of one axis, in either form that NumPy pickles it in."""
    match value:
        case Record(state=(int(), (int(length),), dtype, bool(), bytes(raw))):  # _reconstruct, then its state
            pass
        case Record(arguments=(bytes() | bytearray() as raw, dtype, (int(length),), str())):  # _frombuffer
            pass
        case _:
            raise InputError("its statistics are no vector; flatten the observations")
    match dtype:
        case Record(arguments=("f4" | "f8" as code, *_), state=(int(), "<" | ">" as order, *_)):
            values = np.frombuffer(raw, np.dtype(order + code)).astype(np.float64)
        case _:
            raise InputError("its statistics are neither float32 nor float64")
    if values.size != length or not length:
        raise InputError("its statistics are shorter or longer than they say")
    return values
