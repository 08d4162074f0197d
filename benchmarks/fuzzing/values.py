"""Odd values that mutations of every kind of file put in, and the bait that hostile files name."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

Mutate = Callable[[random.Random, bytes], bytes]
"""From a file's content to another one; raises anything where the content has too little structure left."""
Mutations = Mapping[str, tuple[float, Mutate]]
"""By name: how often a mutation is drawn, in relation to the others, and the mutation."""

BAIT_MODULE = "prunekit_bait"
"""A module that is there to be imported by a hostile file; it leaves a file behind."""
BAIT_FILE = "bait.txt"
"""A file that there is not, in the working directory, for hostile files to write."""
OUTSIDE = "../outside.bin"
"""A file that there is, outside the folder of the file that is read: nothing may open it."""

NUMBERS = (
    *(0, 1, -1, 2, 3, 4, 5, 7, 8, 16, 100, 127, 128, 255, 256, 1000, 4096, 65535, 65536, 10**6, 2**24, 10**8),
    *(2**31 - 1, 2**31, -(2**31), 2**32, 2**32 - 1, 2**40, 2**53, 2**62, 2**63 - 1, -(2**63), 2**63, 2**64, 10**30),
)
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-300, 1e300, 1e-45, 3.5e38, float("inf"), float("-inf"), float("nan"))
TEXTS = (
    *("", " ", "0", "-1", "1e999", "NaN", "inf", "null", "None", "a", "ü", "日本語", "a\nb", "a\r\nb", "a\tb", "\x00"),
    *("\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x1b[2J", "\x9b31m", "\u202etxt.exe", "\ufeff", "\ud800", "\x7f\x08"),
    *("[bold red]x[/]", "[/]", "[/bold]", "[link=file:///etc]x[/link]", "%s%n%x", "{0.__class__}", "$(touch bait.txt)"),
    *("x" * 300, "y" * 100_000, "-" * 5000, BAIT_MODULE, f"{BAIT_MODULE}:CartPole-v1", f"{BAIT_MODULE}.make"),
    *("os:CartPole-v1", ":", "a:b:c", "CartPole-v1", "CartPole-v99", "Hopper-v5", "GymV21Environment-v0", "../x", "/"),
    *(
        BAIT_FILE,
        f"../{BAIT_FILE}",
        f"/tmp/{BAIT_FILE}",
        OUTSIDE,
        "/dev/zero",
        "/dev/stdin",
        "/etc/passwd",
        "file:///x",
    ),
    *("__class__", "__reduce__", "__setstate__", "__init__", "format", "version", "weight", "bias", "kind", "dense"),
    *("tanh", "relu", "elu", "identity", "softmax", "argmax", "clip", "action", "scores", "obs", "float32", "float64"),
    *("float16", "int64", "uint8", "object", "O", "bool", "cpu", "cuda", "meta", "cuda:99", "mps", "xla"),
)


def number(generator: random.Random, near: int = 0) -> int:
    """Return an odd integer, or one that is near to ``near``."""
    if generator.random() < 0.4:
        return generator.choice((near + 1, near - 1, 2 * near, -near, near // 2, near + generator.randrange(1, 100)))
    return generator.choice(NUMBERS)


def text(generator: random.Random, near: str = "") -> str:
    """Return an odd text, or ``near`` with one character more, less or changed."""
    if not near or generator.random() < 0.7:
        return generator.choice(TEXTS)
    place, odd = generator.randrange(len(near)), generator.choice(("", "\x1b", "é", ".", "/", "\n", "A", "\ud83d"))
    return near[:place] + odd + near[place + generator.randrange(2) :]


def value(generator: random.Random, depth: int = 0) -> Any:
    """Return an odd plain value, as JSON has them."""
    kind = generator.randrange(8 if depth < 3 else 6)
    if kind == 6:
        return [value(generator, depth + 1) for _ in range(generator.randrange(4))]
    if kind == 7:
        return {text(generator)[:50]: value(generator, depth + 1) for _ in range(generator.randrange(4))}
    return (None, generator.random() < 0.5, number(generator), generator.choice(FLOATS), text(generator), [])[kind]


def drawn(generator: random.Random, mutations: Mutations) -> str:
    """Return the name of one of ``mutations``, drawn by weight."""
    return generator.choices(list(mutations), [weight for weight, _ in mutations.values()])[0]
