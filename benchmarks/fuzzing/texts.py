"""Mutations of JSON."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

from fuzzing.values import BAIT_MODULE, FLOATS, Mutations, number, text, value

_Place = tuple[Any, Any]
"""A container and the key in it."""
_MAX_PLACES = 5000


def places(data: Any) -> Iterator[_Place]:
    """Yield the entries of nested lists and dictionaries, as container and key; the first thousands, where more."""
    return islice(_places(data), _MAX_PLACES)


def _places(data: Any) -> Iterator[_Place]:
    keys = list(data) if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ()
    for key in keys:
        yield data, key
        yield from _places(data[key])


def other(generator: random.Random, old: Any) -> Any:
    """Return a value in place of ``old``: near to it, or of another type."""
    if isinstance(old, bool):
        return generator.choice((not old, int(old), str(old), None))
    if isinstance(old, int) and generator.random() < 0.6:
        return generator.choice((number(generator, old), float(old), str(old), [old], 10**400, True))
    if isinstance(old, float) and generator.random() < 0.6:
        return generator.choice((*FLOATS, -old, old * 1e6, int(old) if abs(old) < 1e15 else 0, str(old)))
    if isinstance(old, str) and generator.random() < 0.6:
        return text(generator, old)
    if isinstance(old, list) and old and generator.random() < 0.6:
        return generator.choice((old[:-1], old * 2, old[0], [old], {"0": old}, old * 1000))
    if isinstance(old, dict) and generator.random() < 0.4:
        return generator.choice((list(old), [old], {}, {"x": old}))
    return value(generator)


def _change(generator: random.Random, content: bytes) -> bytes:
    data = json.loads(content)
    container, key = generator.choice(list(places(data)))
    container[key] = other(generator, container[key])
    return json.dumps(data).encode()


def _remove(generator: random.Random, content: bytes) -> bytes:
    data = json.loads(content)
    container, key = generator.choice(list(places(data)))
    del container[key]
    return json.dumps(data).encode()


def _add(generator: random.Random, content: bytes) -> bytes:
    data = json.loads(content)
    containers = [data, *(container[key] for container, key in places(data))]
    container = generator.choice([one for one in containers if isinstance(one, dict)])
    container[text(generator, generator.choice([*container, ""]))] = value(generator)
    return json.dumps(data).encode()


def _move(generator: random.Random, content: bytes) -> bytes:
    data = json.loads(content)
    found = list(places(data))
    (one, at), (other_one, other_at) = generator.choice(found), generator.choice(found)
    moved = json.loads(json.dumps(other_one[other_at]))
    one[at] = moved
    return json.dumps(data).encode()


def _written(generator: random.Random, content: bytes) -> bytes:
    """Put text in place of a value that no JSON writer would write there."""
    data = json.loads(content)
    container, key = generator.choice(list(places(data)))
    container[key] = "MARK"
    depth = generator.choice((10, 900, 5000, 100_000))
    odd = generator.choice(
        (
            "[" * depth + "]" * depth,
            '{"a":' * depth + "1" + "}" * depth,
            "[" * depth,
            "9" * generator.choice((30, 4299, 4301, 100_000)),
            "1e" + "9" * 20,
            "-Infinity",
            "NaN",
            '"\\ud800"',
            '"\\u001b[31m"',
            '"a\x1b[31mb"',
            "-0",
            "1.0.0",
            "'x'",
            "",
            '{"a":1,"a":2}',
            f'{{"id":"{BAIT_MODULE}:CartPole-v1","kwargs":{{}}}}',
        )
    )
    return json.dumps(data).replace('"MARK"', odd).encode()


def _encoded(generator: random.Random, content: bytes) -> bytes:
    changed = content.decode(errors="replace")
    match generator.randrange(5):
        case 0:
            return changed.encode("utf-16")
        case 1:
            return b"\xef\xbb\xbf" + content
        case 2:
            return content.replace(b'"', b"'", 2)
        case 3:
            return b"[" + content + b"]"
        case _:
            return content + content


JSON: Mutations = {
    "change": (6.0, _change),
    "remove": (1.5, _remove),
    "add": (1.0, _add),
    "move": (1.0, _move),
    "written by hand": (1.5, _written),
    "encoded": (0.4, _encoded),
}
