"""The global generators of Python, NumPy and torch, which libraries draw from."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

_SEEDS = 2**32


@contextmanager
def isolated(seed: int) -> Iterator[None]:
    """Seed the global generators with ``seed`` modulo 2^32 for a while, and give them back as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(seed % _SEEDS)
        np.random.seed(seed % _SEEDS)
        torch.manual_seed(seed % _SEEDS)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
