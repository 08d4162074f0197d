"""Mutations of what a torch file holds: its dictionary is read, changed and saved again."""

from __future__ import annotations

import io
import random
from typing import Any

import torch
from torch import Tensor

from fuzzing.texts import other, places
from fuzzing.values import FLOATS, Mutations, text, value

_DTYPES = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.complex64)


def tensor(generator: random.Random, old: Tensor) -> Any:
    """Return another tensor in place of ``old``."""
    rows = old.shape[0] if old.ndim else 1
    match generator.randrange(12):
        case 0:
            return old.to(generator.choice(_DTYPES))
        case 1:
            return torch.full_like(old, True if old.dtype == torch.bool else 1).fill_(generator.choice((0, 1)))
        case 2:
            return old.float() * generator.choice(FLOATS)
        case 3:
            return old[: generator.randrange(rows + 1)].clone() if old.ndim else old[None]
        case 4:
            return torch.cat([old, old]) if old.ndim else old.expand(3).clone()
        case 5:
            return old[None].clone()
        case 6:
            return old.t().clone() if old.ndim == 2 else old.reshape(-1, 1).clone()
        case 7:
            return torch.zeros(0, dtype=old.dtype)
        case 8:
            return torch.zeros(1, dtype=old.dtype).expand(generator.choice(((10**6, 10**6), (2**31,), (3, 10**8))))
        case 9:
            return old.float().to_sparse() if old.ndim else old
        case 10:
            return old.to("meta")
        case _:
            return torch.nn.Parameter(old.float())


def _change(generator: random.Random, content: bytes) -> bytes:
    data = torch.load(io.BytesIO(content), weights_only=True)
    found = list(places(data))
    tensors = [(container, key) for container, key in found if isinstance(container[key], Tensor)]
    container, key = generator.choice(tensors if tensors and generator.random() < 0.4 else found)
    old = container[key]
    match generator.randrange(10):
        case 0:
            del container[key]
        case 1 if isinstance(container, dict):
            container[_key(generator, key)] = container.pop(key)
        case 2 if isinstance(container, dict):
            container[_key(generator, key)] = value(generator)
        case 3:
            container[key] = _nested(generator)
        case 4:
            one, at = generator.choice(found)
            container[key] = one.get(at) if isinstance(one, dict) else old
        case _:
            container[key] = tensor(generator, old) if isinstance(old, Tensor) else _like(generator, old)
    buffer = io.BytesIO()
    torch.save(data, buffer)
    return buffer.getvalue()


def _key(generator: random.Random, key: Any) -> Any:
    return generator.choice((text(generator), text(generator, str(key)), 0, -1, 2.5, None, True, (1, 2), b"x"))


def _like(generator: random.Random, old: Any) -> Any:
    if isinstance(old, tuple):
        changed = other(generator, list(old))
        return tuple(changed) if isinstance(changed, list) else changed
    if generator.random() < 0.15:
        return generator.choice((torch.ones(2), torch.ones(()), torch.zeros(0), b"tanh", (), {1, 2}, 1j, torch.float32))
    return other(generator, old)


def _nested(generator: random.Random) -> Any:
    inner: Any = value(generator)
    twice = generator.random() < 0.5
    for _ in range(generator.choice((2, 20, 40, 200, 300))):  # deeper ones cannot be pickled
        inner = [inner, inner] if twice else {"a": inner}
    return inner


CONTENT: Mutations = {"content": (1.0, _change)}
