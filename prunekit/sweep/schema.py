"""The keys of a sweep file, each with a check of its value."""

from __future__ import annotations

from prunekit.adapters.sb3 import ALGORITHMS
from prunekit.compression.settings import FIRST_SEED
from prunekit.disturbances.record import MAX_DELAY, MAX_NOISE
from prunekit.environments import refused_argument
from prunekit.pruning.importance import IMPORTANCES
from prunekit.pruning.penalties import PENALTIES
from prunekit.report.reading import by_name
from prunekit.report.sweep_results import MANY
from prunekit.training.config import (
    MAX_DIVERGENCE,
    MAX_LAYERS,
    MAX_RECONSTRUCTION,
    MAX_SEED,
    MAX_STEPS,
    MAX_WIDTH,
    preset_check,
)
from prunekit.training.presets import SCHEDULES
from prunekit.training.schema import (
    Check,
    WrongValueError,
    either,
    flag,
    list_of,
    number,
    one_of,
    positive,
    record,
    text,
    whole,
)

_MAX_ENTRIES = 10_000
_SHARE = number(0.0, 1.0)
_KINDS = ("unpruned", "sparsity", "budget", "hidden", "widths_of", "compress")
"""What a method does: exactly one of these keys stands in its table, or ``hidden`` beside one of ``_PRUNED``."""
_PRUNED = ("sparsity", "budget")


_PLAN: dict[str, Check] = {
    "importance": one_of(*IMPORTANCES),
    "penalty": one_of(*PENALTIES),
    "strength": number(0.0, 1e6),
    "start": _SHARE,
    "end": _SHARE,
    "full": _SHARE,
    "checks": whole(1, 10**6),
    "patience": whole(1, 10**6),
    "share_per_check": _SHARE,
    "min_units": whole(1, 2**20),
    "min_share": _SHARE,
    "states": whole(1, 10**6),
    "memory": _SHARE,
    "common_scale": flag,
    "compensate": flag,
    "max_divergence": positive(MAX_DIVERGENCE),
    "reconstruction": whole(0, MAX_RECONSTRUCTION),
}


def _yes(name: str, value: object) -> None:
    if value is not True:
        raise WrongValueError(f"{name} can only be true; leave it out otherwise")


def _argument(name: str, value: object) -> None:
    either(text, either(flag, number(-1e300, 1e300)))(name, value)
    refused = refused_argument(name.rpartition(".")[2], value)
    if refused is not None:
        raise WrongValueError(f"{name} is {value}, {refused}")


_METHOD_KEYS: dict[str, Check] = {
    "unpruned": _yes,
    "sparsity": _SHARE,
    "budget": _SHARE,
    "hidden": list_of(whole(1, MAX_WIDTH), MAX_LAYERS),
    "widths_of": text,
    "compress": text,
    "control": flag,
    "keep": positive(1.0),
    "minutes": positive(525_600.0),
    "guard": either(flag, number(0.0, 1e6)),
    "live_shrink": flag,
    "lr_schedule": one_of(*SCHEDULES),
    "learning_rate": number(0.0, 1e6),
    "plan": record({}, _PLAN),
}


def _method_table(name: str, value: object) -> None:
    record({}, _METHOD_KEYS)(name, value)
    assert isinstance(value, dict)
    pruned = any(key in value for key in _PRUNED)
    given = [key for key in _KINDS if key in value and not (pruned and key == "hidden")]
    if len(given) != 1:
        raise WrongValueError(
            f"{name} must have exactly one of {', '.join(_KINDS)}, and has {' and '.join(given) or 'none'}"
        )
    compressed = given[0] == "compress"
    for key in ("plan", "guard", "live_shrink"):
        if key in value and not pruned:
            raise WrongValueError(f"{name}.{key} needs sparsity or budget")
    for key in ("keep", "minutes"):
        if key in value and not compressed:
            raise WrongValueError(f"{name}.{key} needs compress")
    for key in ("lr_schedule", "learning_rate"):
        if key in value and compressed:
            raise WrongValueError(f"{name}.{key} cannot be used with compress, which trains nothing")


_GRID = record(
    {
        "environments": list_of(text, _MAX_ENTRIES, 1),
        "algorithms": list_of(one_of(*ALGORITHMS), len(ALGORITHMS), 1),
        "methods": list_of(text, _MAX_ENTRIES, 1),
        "seeds": list_of(whole(0, MAX_SEED), _MAX_ENTRIES, 1),
    },
    {
        "steps": list_of(whole(1, MAX_STEPS), _MAX_ENTRIES, 1),
        "disturbances": list_of(text, _MAX_ENTRIES),
    },
)
_DISTURBANCE = record(
    {},
    {
        "observation_noise": number(0.0, MAX_NOISE),
        "action_noise": number(0.0, 1.0),
        "delay_steps": whole(0, MAX_DELAY),
        "drop": number(0.0, 1.0),
    },
)
SWEEP = record(
    {"title": text, "grid": list_of(_GRID, _MAX_ENTRIES, 1), "methods": by_name(text, _method_table)},
    {
        "episodes": whole(1, MANY),
        "first_seed": whole(0, FIRST_SEED - 1),
        "environments": by_name(
            text,
            record(
                {},
                {
                    "kwargs": by_name(text, _argument),
                    "presets": record({}, {name: preset_check(name, partial=True) for name in ALGORITHMS}),
                },
            ),
        ),
        "disturbances": by_name(text, _DISTURBANCE),
    },
)
