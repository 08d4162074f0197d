"""Checks of a checkpoint's parts against a new learner and its pruners, before anything is restored.

Types, shapes and ranges are checked here. Whether the parts fit each other shows when they are loaded.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import recursive_getattr
from torch import Tensor

from prunekit.adapters.sb3_state import state_of
from prunekit.pruning.pruner import Pruner
from prunekit.training.config import MAX_STEPS
from prunekit.training.schema import Check, WrongValueError, either, flag, list_of, number, one_of, or_none, record
from prunekit.training.schema import whole as whole_number

_FINITE = number(-sys.float_info.max, sys.float_info.max)
_POSITIVE = number(0.0, sys.float_info.max)
_STEPS = whole_number(0, 2 * MAX_STEPS)
_COUNTERS: dict[str, Check] = {"exploration_rate": number(0.0, 1.0)}
_RECORDS = record(
    {
        "next_checkpoint": _STEPS,
        "next_record": _STEPS,
        "fresh": list_of(_FINITE, 10**7),
        "last_returns": list_of(_FINITE, 100),
        "seconds": _POSITIVE,
    }
)
_TRUST_REGION = record({"largest": _POSITIVE, "waiting": whole_number(0, 2**40)})
_GUARD = record({"latest": list_of(_FINITE, 10**6), "best": or_none(_FINITE)})


def check_request(request: object) -> None:
    """Raise WrongValueError unless the part ``request`` is plain JSON data."""
    try:
        json.dumps(request, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise WrongValueError(f"request is not plain data ({type(error).__name__})") from error


def check_parts(checkpoint: Mapping[str, Any], model: BaseAlgorithm, pruners: Sequence[Pruner]) -> None:
    """Raise WrongValueError, naming the part, unless ``model`` and ``pruners`` could have written ``checkpoint``."""
    _RECORDS("records", checkpoint["records"])
    list_of(_anything, len(pruners), len(pruners))("pruners", checkpoint.get("pruners"))
    for index, pruner in enumerate(pruners):
        _pruner(pruner)(f"pruners[{index}]", checkpoint["pruners"][index])
    fresh = state_of(model)
    record(
        {
            "parameters": record({name: _parameters(state) for name, state in fresh["parameters"].items()}),
            "variables": record({name: like(value) for name, value in fresh["variables"].items()}),
            "counters": record({name: _COUNTERS.get(name, _STEPS) for name in fresh["counters"]}),
            "buffer": _buffer(model, fresh["buffer"]),
            "normalizer": _normalizer(fresh["normalizer"]),
            "generators": _generators(fresh["generators"]),
        }
    )("learner", checkpoint["learner"])


def check_restored(model: BaseAlgorithm) -> None:
    """Raise WrongValueError unless the optimizers' moments have the shapes of their parameters."""
    names, _ = model._get_torch_save_params()
    for name in names:
        found = recursive_getattr(model, name)
        for parameter, state in found.state.items() if isinstance(found, torch.optim.Optimizer) else ():
            for key, value in state.items():
                if isinstance(value, Tensor) and value.numel() != 1 and value.shape != parameter.shape:
                    raise WrongValueError(
                        f"learner.parameters.{name} has '{key}' of shape {list(value.shape)} for a parameter of shape "
                        f"{list(parameter.shape)}"
                    )


def tensor(dtype: torch.dtype | None, shape: Sequence[int | None], *, finite: bool = True) -> Check:
    """Return a check for tensors of ``dtype`` (None: any floating-point type) and ``shape`` (None: any size)."""

    def check(name: str, value: object) -> None:
        if not isinstance(value, Tensor) or value.layout is not torch.strided:
            raise WrongValueError(f"{name} must be a tensor, not {type(value).__name__}")
        if not (value.is_floating_point() if dtype is None else value.dtype == dtype):
            raise WrongValueError(f"{name} is {value.dtype}, not {dtype or 'floating-point'}")
        fits = all(wanted in (None, size) for wanted, size in zip(shape, value.shape, strict=False))
        if value.ndim != len(shape) or not fits:
            wanted = ["any" if size is None else size for size in shape]
            raise WrongValueError(f"{name} has the shape {list(value.shape)}, not {wanted}")
        if finite and not bool(value.isfinite().all()):
            raise WrongValueError(f"{name} holds values that are not finite")

    return check


def like(value: Tensor) -> Check:
    """Return a check for tensors with the dtype and shape of ``value``."""
    return tensor(value.dtype, tuple(value.shape))


def _pruner(pruner: Pruner) -> Check:
    widths = {name: keep.numel() for name, keep in pruner.keep.items()}

    def per_unit(dtype: torch.dtype | None) -> Check:
        return record({name: tensor(dtype, (width,)) for name, width in widths.items()})

    def importance(name: str, value: object) -> None:
        if value != {}:
            per_unit(torch.float64)(name, value)

    units = record(
        {
            "keep": per_unit(torch.bool),
            "present": per_unit(torch.bool),
            "sizes": record(dict.fromkeys(widths, whole_number(1, 2**40))),
        }
    )

    def units_present(name: str, value: object) -> None:
        units(name, value)
        assert isinstance(value, dict)
        for group in widths:
            if bool((value["keep"][group] & ~value["present"][group]).any()):
                raise WrongValueError(f"{name}.keep.{group} has units that are not present")

    return record(
        {
            "steps": _STEPS,
            "frozen": flag,
            "lambda": _POSITIVE,
            "usual_norm": _POSITIVE,
            "units": units_present,
            "streaks": per_unit(torch.int64),
            "gauge": record({"scores": importance, "raw": importance, "deviation": or_none(tensor(None, (None,)))}),
            "states": list_of(tensor(None, (None, None), finite=False), 10**6),
            "clock": _sequence(number(0.0, 1.0), number(0.0, 1.0)),
            "weight": or_none(per_unit(None)),
            "guard": or_none(_GUARD),
        },
        {} if pruner.plan.max_divergence is None else {"trust_region": _TRUST_REGION},
    )


def _parameters(state: Mapping[str, Any]) -> Check:
    if "param_groups" in state:
        return _optimizer(state)
    return record({key: tensor(value.dtype, [None] * value.ndim) for key, value in state.items()})


def _optimizer(fresh: Mapping[str, Any]) -> Check:
    def entry(name: str, value: object) -> None:
        either(_FINITE, tensor(None, [None] * value.ndim if isinstance(value, Tensor) else ()))(name, value)

    def state(name: str, value: object) -> None:
        count = sum(len(group["params"]) for group in fresh["param_groups"])
        known = list(value) if isinstance(value, dict) else []
        for key in known:
            whole_number(0, count - 1)(f"{name} index", key)
        moments = {key: _mapping_of(entry) for key in known}
        if not isinstance(value, dict):
            raise WrongValueError(f"{name} must be an object with keys")
        for key, check in moments.items():
            check(f"{name}[{key}]", value[key])

    def group(own: Mapping[str, Any]) -> Check:
        settings = {key: _setting(value) for key, value in own.items()}
        return record({**settings, "params": one_of(own["params"])})

    groups = [group(own) for own in fresh["param_groups"]]
    return record({"state": state, "param_groups": _sequence(*groups)})


def _setting(fresh: object) -> Check:
    """Return a check for an optimizer's setting: any number if ``fresh`` is one, otherwise exactly ``fresh``."""
    if type(fresh) in (int, float):
        return _FINITE
    return one_of(fresh)


def _buffer(model: BaseAlgorithm, fresh: Mapping[str, Any] | None) -> Check:
    if fresh is None:
        return one_of(None)
    size = int(model.replay_buffer.buffer_size)  # type: ignore[attr-defined]

    def check(name: str, value: object) -> None:
        arrays = {
            key: tensor(array.dtype, (None, *array.shape[1:]), finite=False) for key, array in fresh["arrays"].items()
        }
        record({"pos": whole_number(0, size - 1), "full": flag, "arrays": record(arrays)})(name, value)
        assert isinstance(value, dict)
        rows = size if value["full"] else value["pos"]
        for key, array in value["arrays"].items():
            if len(array) != rows:
                raise WrongValueError(f"{name}.arrays.{key} has {len(array)} rows, not {rows}")

    return check


def _normalizer(fresh: Mapping[str, Any] | None) -> Check:
    if fresh is None:
        return one_of(None)
    return record(
        {
            name: record({"mean": like(own["mean"]), "var": like(own["var"]), "count": _POSITIVE})
            for name, own in fresh.items()
        }
    )


def _generators(fresh: Mapping[str, Any]) -> Check:
    word = whole_number(0, 2**32 - 1)

    def words(name: str, value: object) -> None:
        like(fresh["numpy"][1])(name, value)
        assert isinstance(value, Tensor)
        if bool((value < 0).any()) or bool((value >= 2**32).any()):
            raise WrongValueError(f"{name} holds numbers that are not from 0 to {2**32 - 1}")

    return record(
        {
            "torch": like(fresh["torch"]),
            "numpy": _sequence(one_of("MT19937"), words, whole_number(0, 624), whole_number(0, 1), _FINITE),
            "python": _sequence(one_of(3), list_of(word, 625, 625), or_none(_FINITE)),
        }
    )


def _sequence(*checks: Check) -> Check:
    def check(name: str, value: object) -> None:
        if not isinstance(value, list | tuple) or len(value) != len(checks):
            raise WrongValueError(f"{name} must be {len(checks)} values")
        for index, (inner, entry) in enumerate(zip(checks, value, strict=True)):
            inner(f"{name}[{index}]", entry)

    return check


def _mapping_of(inner: Check) -> Check:
    def check(name: str, value: object) -> None:
        record({}, dict.fromkeys(value, inner) if isinstance(value, dict) else {})(name, value)

    return check


def _anything(_: str, __: object) -> None:
    return None
