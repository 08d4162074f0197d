"""``config.json``: read strictly, with every value checked before it is used (law 7).

No value may name code: no environment by module, no class, no function, and no keyword of Stable-Baselines3 that is not
listed here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any

from prunekit.activations import KINDS
from prunekit.adapters.sb3 import ALGORITHMS
from prunekit.environments import refused_argument
from prunekit.errors import ArtifactError, InputError
from prunekit.formats.text import shown
from prunekit.pruning.importance import IMPORTANCES
from prunekit.pruning.penalties import PENALTIES
from prunekit.training.presets import SCHEDULES
from prunekit.training.schema import (
    Check,
    WrongValueError,
    either,
    flag,
    list_of,
    number,
    one_of,
    or_none,
    positive,
    record,
    text,
    whole,
)

NAME = "config.json"
MAX_BYTES = 2**20
MAX_SEED = 2**32 - 1
MAX_STEPS = 10**12
MAX_ENVIRONMENTS = 1024
MAX_WIDTH = 2**14
MAX_LAYERS = 64
MAX_DIVERGENCE = 1e6
MAX_RECONSTRUCTION = 1000
REMEDY = "restore it, or remove the run's folder to start over"

_ALGORITHM = one_of(*ALGORITHMS)
_SHARE = number(0.0, 1.0)
_SCALE = number(0.0, 1e6)
_COUNT = whole(1, 2**24)
_WIDTHS = list_of(whole(1, MAX_WIDTH), MAX_LAYERS)

# Keyword arguments of the algorithms, and of their policies: numbers and flags alone.
_MODEL: dict[str, Check] = {
    "action_noise_std": _SCALE,
    "batch_size": _COUNT,
    "buffer_size": whole(1, 10**7),
    "clip_range": _SCALE,
    "ent_coef": either(one_of("auto"), _SCALE),
    "exploration_final_eps": _SHARE,
    "exploration_fraction": _SHARE,
    "exploration_initial_eps": _SHARE,
    "gae_lambda": _SHARE,
    "gamma": _SHARE,
    "gradient_steps": whole(-1, 10**6),
    "learning_rate": _SCALE,
    "learning_starts": whole(0, MAX_STEPS),
    "max_grad_norm": _SCALE,
    "n_epochs": whole(1, 10**4),
    "n_steps": _COUNT,
    "normalize_advantage": flag,
    "policy_delay": _COUNT,
    "target_noise_clip": _SCALE,
    "target_policy_noise": _SCALE,
    "target_update_interval": _COUNT,
    "tau": _SHARE,
    "train_freq": _COUNT,
    "vf_coef": _SCALE,
}
_POLICY: dict[str, Check] = {"log_std_init": number(-100.0, 100.0), "ortho_init": flag}

_PLAN = record(
    {
        "threshold": lambda name, value: _threshold(name, value),
        "importance": one_of(*IMPORTANCES),
        "penalty": one_of(*PENALTIES),
        "strength": _SCALE,
        "phases": record({"start": _SHARE, "end": _SHARE, "full": _SHARE}),
        "checks": _COUNT,
        "patience": _COUNT,
        "share_per_check": _SHARE,
        "min_units": _COUNT,
        "min_share": _SHARE,
        "states": _COUNT,
        "memory": _SHARE,
        "common_scale": flag,
        "compensate": flag,
    },
    {"max_divergence": positive(MAX_DIVERGENCE), "reconstruction": whole(1, MAX_RECONSTRUCTION)},
)


def _threshold(name: str, value: object) -> None:
    kinds = {"sparsity": _SHARE, "budget": _SHARE}
    record({}, kinds)(name, value)
    if not isinstance(value, dict) or len(value) != 1:
        raise WrongValueError(f"{name} must have one key, {' or '.join(kinds)}")


def _argument(name: str, value: object) -> None:
    if isinstance(value, str):
        raise WrongValueError(
            f"{name} is text, which could name a file or a module; resume such a run from Python, with prunekit.train"
        )
    if value is not None:
        either(flag, number(-1e300, 1e300))(name, value)
        refused = refused_argument(name.rpartition(".")[2], value)
        if refused is not None:
            raise WrongValueError(f"{name} is {value}, {refused}")


def _environment(name: str, value: object) -> None:
    kwargs = value.get("kwargs") if isinstance(value, dict) else None
    for key in _keys(kwargs):
        text(f"a name in {name}.kwargs", key)
    arguments = dict.fromkeys(kwargs, _argument) if isinstance(kwargs, dict) else {}
    record({"id": text, "kwargs": record({}, arguments)})(name, value)


def preset_check(algorithm: str, *, partial: bool = False) -> Check:
    """Return the check of a preset of ``algorithm``, with widths as a list; if ``partial``, of any part of one."""
    takes = {*signature(ALGORITHMS[algorithm].model).parameters, *(["action_noise_std"] if algorithm == "td3" else [])}
    model = {key: check for key, check in _MODEL.items() if key in takes}
    rate = {"learning_rate": model.pop("learning_rate")}
    if algorithm == "ppo":
        model["batch_size"] = whole(2, 2**24)
    keys = {
        "steps": whole(1, MAX_STEPS),
        "n_envs": whole(1, MAX_ENVIRONMENTS),
        "normalize": flag,
        "activation": one_of(*KINDS),
        "hidden": _WIDTHS,
        "learning_rate_schedule": one_of(*SCHEDULES),
        "model": record({}, {**rate, **model}) if partial else record(rate, model),
        "policy": record({}, _POLICY if algorithm == "ppo" else {}),
    }
    return record({}, keys) if partial else record(keys)


def read_config(folder: Path) -> dict[str, Any]:
    """Return ``config.json`` of the run in ``folder``; raises ArtifactError, naming it, if it is not a sound JSON
    object.

    Duplicate keys and numbers that are not finite are refused. Values are not checked here (``check_config``).
    """
    path = folder / NAME
    if not path.is_file():
        raise InputError(f"{folder}: holds no run to resume (no {NAME}); name an interrupted one with `out`")
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES} bytes")
        content = json.loads(raw.decode("utf-8"), object_pairs_hook=_without_duplicates, parse_constant=_not_finite)
    except RecursionError as error:
        raise ArtifactError(f"{path}: cannot be read (it nests too deeply); {REMEDY}") from error
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error}); {REMEDY}") from error
    if not isinstance(content, dict):
        raise ArtifactError(f"{path}: is not the config of a run; {REMEDY}")
    return content


def check_config(config: dict[str, Any], path: Path) -> None:
    """Raise ArtifactError, naming ``path`` and the key, if a value of ``config`` is not one that a run writes."""
    try:
        record({"algorithm": _ALGORITHM}, {key: _anything for key in config if key != "algorithm"})("", config)
        record(
            {
                "env": _environment,
                "algorithm": _ALGORITHM,
                "seed": whole(0, MAX_SEED),
                "steps": whole(1, MAX_STEPS),
                "hidden": _WIDTHS,
                "preset": preset_check(config["algorithm"]),
                "guard_share": or_none(_SCALE),
                "live_shrink": flag,
                "prune_critics": flag,
                "checkpoint_every": whole(1, MAX_STEPS),
                "plan": or_none(_PLAN),
                "versions": record({}, dict.fromkeys(_keys(config.get("versions")), or_none(text))),
                "started": text,
            }
        )("", config)
    except WrongValueError as error:
        raise ArtifactError(f"{path}: {error}; {REMEDY}") from error


def _anything(_: str, __: object) -> None:
    return None


def _keys(value: object) -> list[str]:
    return list(value) if isinstance(value, dict) else []


def _without_duplicates(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key '{shown(twice, 60)}' appears twice")
    return found


def _not_finite(value: str) -> float:
    raise ValueError(f"{value} is not a JSON number")
