"""The complete state of a Stable-Baselines3 model at the start of a rollout, as tensors and plain values.

After a fresh start of its environments (``begin_segment_``), the rest of a training depends on nothing else. A run that
continues from this state therefore equals one that was never interrupted.
"""

from __future__ import annotations

import io
import pickle
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.save_util import recursive_getattr
from stable_baselines3.common.utils import FloatSchedule
from stable_baselines3.common.vec_env import VecNormalize

from prunekit.files import write_together

_COUNTERS = ("num_timesteps", "_n_updates", "_episode_num", "_n_calls", "exploration_rate")
_BUFFER = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def state_of(model: BaseAlgorithm) -> dict[str, Any]:
    """Return the state of ``model``: weights, optimizers, counters, replay buffer, normalizer, generators.

    Tensors may share memory with the model.
    """
    _, variables = model._get_torch_save_params()
    return {
        "parameters": model.get_parameters(),
        "variables": {name: recursive_getattr(model, name).detach() for name in variables},
        "counters": {name: getattr(model, name) for name in _COUNTERS if hasattr(model, name)},
        "buffer": _buffer_state(getattr(model, "replay_buffer", None)),
        "normalizer": _normalizer_state(model.get_vec_normalize_env()),
        "generators": _generator_state(),
    }


def restore_(model: BaseAlgorithm, state: Mapping[str, Any]) -> None:
    """Restore a state of ``state_of``; the networks must already have the widths of the state."""
    model.set_parameters(state["parameters"], exact_match=True, device="cpu")
    with torch.no_grad():
        for name, value in state["variables"].items():
            recursive_getattr(model, name).copy_(value)
    for name, value in state["counters"].items():
        setattr(model, name, value)
    if state["buffer"] is not None:
        _restore_buffer_(model.replay_buffer, state["buffer"])  # type: ignore[attr-defined]
    restore_surroundings_(model, state)


def restore_surroundings_(model: BaseAlgorithm, state: Mapping[str, Any]) -> None:
    """Restore the part of the state that the reset of environments at the start of ``learn`` changes."""
    normalizer = model.get_vec_normalize_env()
    if normalizer is not None:
        for name, values in state["normalizer"].items():
            setattr(normalizer, name, _statistics(values))
    kind, keys, *rest = state["generators"]["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    version, internal, gauss = state["generators"]["python"]
    random.setstate((version, tuple(internal), gauss))
    torch.set_rng_state(state["generators"]["torch"])


def begin_segment_(model: BaseAlgorithm, seed: int) -> None:
    """Reset the environments of ``model`` and their random generators to ``seed``; unfinished episodes are dropped."""
    environment = model.get_env()
    assert environment is not None
    environment.seed(seed)
    model.action_space.seed(seed)
    model._last_obs = environment.reset()  # type: ignore[assignment]
    model._last_episode_starts = np.ones((environment.num_envs,), dtype=bool)
    normalizer = model.get_vec_normalize_env()
    if normalizer is not None:
        model._last_original_obs = normalizer.get_original_obs()
    noise = getattr(model, "action_noise", None)
    if noise is not None:
        noise.reset()


def save_agent(model: BaseAlgorithm, rate: float, folder: Path) -> None:
    """Write ``agent.zip`` and, if observations or rewards are normalized, ``vec_normalize.pkl``.

    Stock Stable-Baselines3 loads both and continues training at the constant learning rate ``rate``, because the
    schedules of a finished run have ended.
    """
    model.learning_rate, model.lr_schedule = rate, FloatSchedule(rate)
    buffer = io.BytesIO()
    model.save(buffer)
    contents = {}
    normalizer = model.get_vec_normalize_env()
    if normalizer is not None:
        contents[folder / "vec_normalize.pkl"] = pickle.dumps(normalizer)
    write_together({**contents, folder / "agent.zip": buffer.getvalue()})


def _buffer_state(buffer: ReplayBuffer | None) -> dict[str, Any] | None:
    if buffer is None:
        return None
    rows = buffer.size()
    arrays = {name: torch.from_numpy(getattr(buffer, name)[:rows]) for name in _BUFFER}
    return {"pos": buffer.pos, "full": buffer.full, "arrays": arrays}


def _restore_buffer_(buffer: ReplayBuffer, state: Mapping[str, Any]) -> None:
    buffer.pos, buffer.full = state["pos"], state["full"]
    for name, values in state["arrays"].items():
        getattr(buffer, name)[: len(values)] = values.numpy()


def _normalizer_state(normalizer: VecNormalize | None) -> dict[str, Any] | None:
    if normalizer is None:
        return None
    found: dict[str, Any] = {}
    for name in ("obs_rms", "ret_rms"):
        statistics = getattr(normalizer, name)
        found[name] = {
            "mean": torch.as_tensor(np.asarray(statistics.mean)).clone(),
            "var": torch.as_tensor(np.asarray(statistics.var)).clone(),
            "count": float(statistics.count),
        }
    return found


def _statistics(values: Mapping[str, Any]) -> RunningMeanStd:
    result = RunningMeanStd(shape=tuple(values["mean"].shape))
    result.mean, result.var = values["mean"].numpy().copy(), values["var"].numpy().copy()
    result.count = values["count"]
    return result


def _generator_state() -> dict[str, Any]:
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    version, internal, python_gauss = random.getstate()
    keys_kept = torch.from_numpy(np.asarray(keys).astype(np.int64))
    return {
        "torch": torch.get_rng_state(),
        "numpy": (str(kind), keys_kept, int(position), int(has_gauss), float(gauss)),
        "python": (version, list(internal), python_gauss),
    }
