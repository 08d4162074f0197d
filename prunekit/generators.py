"""What libraries set for a whole process: the generators of Python, NumPy and torch, and torch's threads."""

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


@contextmanager
def undisturbed() -> Iterator[None]:
    """Give the global generators and torch's threads back as they were, whatever happens inside (law 6)."""
    python, numpy, threads = random.getstate(), np.random.get_state(), torch.get_num_threads()
    begun = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = list(range(torch.cuda.device_count())) if begun else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
            torch.set_num_threads(threads)
