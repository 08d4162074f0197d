"""Decoding of the libraries' pickles into plain records, without running any code (law 7).

A pickle names functions and asks for calls of them. Here every name on a short list becomes a plain record of its
arguments, and any other name is an error (``formats.pickles``). Nothing that the file names is imported or called, not
even NumPy's own functions. Arrays are decoded from the bytes in the records.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import InputError
from prunekit.formats.pickles import Record, decode_pickle

_MAX_VALUES = 2**20
_FLOATS = ("f4", "f8")
_NUMBERS = (*_FLOATS, "i4", "i8")
_SPACES = ("box.Box", "dict.Dict", "discrete.Discrete", "multi_binary.MultiBinary", "multi_discrete.MultiDiscrete")
_GENERATORS = ("_mt19937.MT19937", "_pcg64.PCG64", "_pcg64.PCG64DXSM", "_philox.Philox", "_sfc64.SFC64")
_ALLOWED = frozenset(
    {
        "stable_baselines3.common.vec_env.vec_normalize.VecNormalize",
        "stable_baselines3.common.running_mean_std.RunningMeanStd",
        *(f"{library}.spaces.{space}" for library in ("gym", "gymnasium") for space in (*_SPACES, "tuple.Tuple")),
        *("collections.OrderedDict", "builtins.set", "_codecs.encode"),
        "numpy.dtype",
        "numpy.ndarray",
        *(  # NumPy 1 calls its inner package core, and its pickles are as common
            f"numpy.{core}.{name}"
            for core in ("core", "_core")
            for name in ("multiarray._reconstruct", "multiarray.scalar", "numeric._frombuffer")
        ),
        # a space that was sampled from holds its random generator
        *(f"numpy.random._pickle.__{name}_ctor" for name in ("generator", "bit_generator", "randomstate")),
        *(f"numpy.random.bit_generator.{name}" for name in ("SeedSequence", "__pyx_unpickle_SeedSequence")),
        *(f"numpy.random.{name}" for name in _GENERATORS),
        *("gym.utils.seeding.RandomNumberGenerator", "gym.utils.seeding.RandomNumberGenerator._generator_ctor"),
    }
)


def decoded(content: bytes) -> object:
    """Return the plain values and records in the pickle ``content``; raises InputError and others as ``decode_pickle``
    does.
    """
    return decode_pickle(content, _ALLOWED.__contains__)


def fields_of(value: object) -> dict[str, Any]:
    """Return the attributes of a record; empty for anything else."""
    return value.state if isinstance(value, Record) and isinstance(value.state, dict) else {}


def number_of(value: object) -> float | None:
    """Return a Python or NumPy number as float, or None for anything else."""
    match value:
        case int() | float():
            return float(value)
        case Record(arguments=(dtype, bytes(raw))):
            code = _code_of(dtype, _NUMBERS)
            return None if code is None or len(raw) != np.dtype(code).itemsize else float(np.frombuffer(raw, code)[0])
        case _:
            return None


def array_of(value: object) -> NDArray[np.float64] | None:
    """Return a float array from either form in which NumPy pickles it, or None for anything else.

    Raises InputError if its bytes do not match its shape.
    """
    match value:
        case Record(state=(int(), tuple(shape), dtype, bool(fortran), bytes(raw))):  # _reconstruct, then its state
            order = "F" if fortran else "C"
        case Record(arguments=(bytes() | bytearray() as raw, dtype, tuple(shape), str(order))):  # _frombuffer
            pass
        case _:
            return None
    code = _code_of(dtype)
    if code is None:
        raise InputError("its numbers are neither float32 nor float64")
    if not all(type(size) is int and 0 < size <= _MAX_VALUES for size in shape) or order not in ("C", "F"):
        raise InputError("its arrays have no shape of ordinary sizes")
    values = np.frombuffer(raw, code).astype(np.float64)
    if len(shape) > 8 or values.size != math.prod(shape):
        raise InputError("its arrays are shorter or longer than they say")
    return values.reshape(shape, order="F" if order == "F" else "C")


def _code_of(dtype: object, codes: tuple[str, ...] = _FLOATS) -> str | None:
    match dtype:
        case Record(arguments=(str(code), *_), state=(int(), "<" | ">" as order, *_)) if code in codes:
            return f"{order}{code}"
        case _:
            return None
