"""Generated action spaces of every kind. A kind without a strategy here fails the tests of all kinds."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

import prunekit.spaces  # noqa: F401  (registers the kinds of actions)
from prunekit.spaces.kind import ActionKind, kind_of_space
from prunekit.spaces.unknown import UnknownActions

STARTS = st.integers(-3, 12)


@st.composite
def boxes(draw: DrawFn) -> spaces.Box:
    pairs = [(-1.0, 1.0), (-0.1, 0.1), (0.5, 0.5), (-math.inf, math.inf), (0.0, math.inf), (-2.0, 0.3)]
    low, high = zip(*draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=4)), strict=True)
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    return spaces.Box(np.asarray(low, dtype), np.asarray(high, dtype), dtype=dtype)


@st.composite
def multi_discrete(draw: DrawFn) -> spaces.MultiDiscrete[Any]:
    counts = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    starts = draw(st.none() | st.lists(STARTS, min_size=len(counts), max_size=len(counts)))
    return spaces.MultiDiscrete(counts, draw(st.sampled_from(["int64", "int32", "int8"])), start=starts)


SPACES: dict[str, SearchStrategy[gym.Space[Any]]] = {
    "box": boxes(),
    "discrete": st.builds(lambda count, start: spaces.Discrete(count, start=start), st.integers(1, 5), STARTS),
    "multi_binary": st.builds(spaces.MultiBinary, st.integers(1, 5)),
    "multi_discrete": multi_discrete(),
}
"""By the kinds' names; ``unknown`` is of no space."""


def kinds(name: str) -> SearchStrategy[ActionKind]:
    """Return actions of the kind ``name``."""
    if name == UnknownActions.name:
        return st.builds(lambda count: UnknownActions(count=count), st.integers(1, 4))
    return SPACES[name].map(kind_of_space)


def outputs_of(kind: ActionKind, seed: int, rows: int = 1) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return outputs [rows, k] of any sizes, of which some are equal."""
    random = np.random.default_rng(seed)
    found = random.standard_normal((rows, kind.outputs)) * random.choice([0.1, 1.0, 30.0], (rows, 1))
    return np.where(random.random(found.shape) < 0.2, 0.0, found)
