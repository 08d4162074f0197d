"""Translation of the library's messages into the words of the command line: `keep` becomes --keep."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_SAME = (
    "activation", "activations", "address", "algo", "arduino", "budget", "card", "checkpoint_every", "delay",
    "dense", "drop", "engine", "env", "episodes", "fast", "first_seed", "format", "head", "hidden", "inputs",
    "int8", "json", "keep", "layers", "loop_episodes", "lr_schedule", "max_divergence", "max_failures", "minutes",
    "name", "noise", "normalizer", "observations", "original", "out", "output", "penalty", "prune_critics",
    "randomize", "reconstruction", "report", "resume", "seed", "self_test", "sparsity", "steps", "tuning", "workers",
)  # fmt: skip
FLAGS = {
    **{name: f"--{name.replace('_', '-')}" for name in _SAME},
    "action_noise": "--noise",
    "clip_range": "--range",
    "devices": "--device",
    "failure_return": "--fail-below",
    "nesting": "--path",
    "normalizer=False": "--no-normalizer",
    "parts": "--part",
    "tuning=False": "--no-tuning",
}
"""The option of the command line, by the parameter of Python."""
_QUOTED = re.compile("`(" + "|".join(map(re.escape, sorted(FLAGS, key=len, reverse=True))) + ")`")


def in_flags(text: str) -> str:
    """Return ``text`` with the options of the command line in place of parameters in backquotes.

    >>> in_flags("give more `minutes` or a lower `keep`")
    'give more --minutes or a lower --keep'
    """
    return _QUOTED.sub(lambda found: FLAGS[found.group(1)], text)


def all_in_flags(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``facts`` with ``in_flags`` applied to all texts, including those in lists."""
    return {name: _told(value) for name, value in facts.items()}


def _told(value: Any) -> Any:
    if isinstance(value, str):
        return in_flags(value)
    return [_told(entry) for entry in value] if isinstance(value, list) else value
