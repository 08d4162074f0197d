"""Zips as SBX writes them, without SBX: a pickled policy with flax's training states, functions of JAX, and cycles."""

from __future__ import annotations

import base64
import functools
import io
import json
import pickle
import sys
import types
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.save_util import data_to_json

Array = np.ndarray[Any, np.dtype[Any]]
ACTORS = {
    "ppo": ("PPOPolicy", "sbx.ppo.policies.Actor"),
    "sac": ("SACPolicy", "sbx.common.policies.SquashedGaussianActor"),
    "tqc": ("TQCPolicy", "sbx.common.policies.SquashedGaussianActor"),
    "td3": ("TD3Policy", "sbx.td3.policies.Actor"),
    "crossq": ("CrossQPolicy", "sbx.crossq.policies.Actor"),
    "dqn": ("DQNPolicy", "sbx.dqn.policies.QNetwork"),
}
SIMBA = "sbx.common.policies.SimbaSquashedGaussianActor"


_STANDING_IN = ("sbx", "flax", "jax", "jaxlib", "mine")


@contextmanager
def modules() -> Iterator[None]:
    """Have stand-ins for the modules of SBX, flax and JAX for as long as something is pickled by their names."""
    before = {name: sys.modules.pop(name) for name in [*sys.modules] if name.partition(".")[0] in _STANDING_IN}
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] in _STANDING_IN]:
            del sys.modules[name]
        sys.modules.update(before)


def thing(path: str, state: dict[str, Any]) -> Any:
    """Return an object of the class ``path``, which is there for it alone."""
    made = _class(path)()
    made.__dict__.update(state)
    return made


def _class(path: str) -> Any:
    parts = path.split(".")
    for end in range(1, len(parts)):
        sys.modules.setdefault(".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
    module, name = sys.modules[".".join(parts[:-1])], parts[-1]
    if not hasattr(module, name):
        setattr(module, name, type(name, (), {"__module__": module.__name__, "__call__": lambda *_: None}))
    return getattr(module, name)


def function(name: str, module: str = "jax._src.nn.functions") -> Any:
    """Return a function of JAX in one of the forms in which it is pickled."""
    if name == "relu":
        return thing("jax._src.custom_derivatives.custom_jvp", {"__module__": module, "__name__": name})
    if name == "gelu":
        return _class(f"{module}.{name}")
    return thing("jaxlib._jax.PjitFunction", {"function_name": name, "fun": _class(f"{module}.{name}")})


def dense(generator: np.random.Generator, read: int, made: int) -> dict[str, Array]:
    """Return a layer of flax from ``read`` values to ``made``."""
    return {
        "kernel": generator.normal(0.0, 0.6, (read, made)).astype(np.float32),
        "bias": generator.normal(0.0, 0.3, made).astype(np.float32),
    }


def write_zip(
    path: Path,
    algorithm: str,
    params: dict[str, Any],
    observation: spaces.Space[Any],
    action: spaces.Space[Any],
    *,
    act: str | tuple[str, str] | dict[str, float] = "relu",
    statistics: dict[str, Any] | None = None,
    network: str | None = None,
    **settings: Any,
) -> Path:
    """Write a zip of SBX with these arrays.

    ``act`` is the name of a function of JAX, with its module where it is another, or what leaky_relu is given.
    """
    with modules():
        name, actor = ACTORS[algorithm]
        own, place = ("qf", "qf_state") if algorithm == "dqn" else ("actor", "actor_state")
        state = {"step": 3, "params": params if algorithm == "crossq" else {"params": params}, "opt_state": (1, None)}
        state |= {} if statistics is None else {"batch_stats": statistics}
        if isinstance(act, dict):
            called = functools.partial(function("leaky_relu"), **act)
        else:
            called = function(act) if isinstance(act, str) else function(*act)
        policy = thing(f"sbx.{algorithm}.policies.{name}", {})
        policy.__dict__ |= {
            own: thing(network or actor, {"activation_fn": called, "apply": policy, **settings}),
            place: thing("flax.training.train_state.TrainState", state),
            "features_extractor": None,
        }
        packed = base64.b64encode(pickle.dumps(policy)).decode()
        data = {
            **json.loads(data_to_json({"observation_space": observation, "action_space": action, "use_sde": False})),
            "policy_class": {":type:": "<class 'abc.ABCMeta'>", "__module__": f"sbx.{algorithm}.policies"},
            "policy": {":type:": f"<class 'sbx.{algorithm}.policies.{name}'>", ":serialized:": packed},
            "policy_kwargs": {},
        }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps(data))
        archive.writestr("pytorch_variables.pth", io.BytesIO().getvalue())
        archive.writestr("_stable_baselines3_version", "2.9.2")
    return path
