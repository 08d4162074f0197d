"""``prunekit.bench``: policies side by side, on the devices that they are meant for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from prunekit.api.asking import load_named
from prunekit.api.disturbing import disturbance_of
from prunekit.api.numbers import require_numbers
from prunekit.api.places import Environment
from prunekit.api.policy import PathLike, Policy
from prunekit.benching.compare import bench_models
from prunekit.benching.figures import Device, check_claimed
from prunekit.benching.models import BenchModel, read_model
from prunekit.benching.result import BenchResult
from prunekit.benching.settings import BenchSettings
from prunekit.devices import devices_named
from prunekit.disturbances.randomization import Randomization
from prunekit.errors import InputError
from prunekit.export.onnx import to_onnx
from prunekit.generators import undisturbed
from prunekit.policy.sizes import sizes_of
from prunekit.simulators.spec import environment_spec
from prunekit.stats.clipping import range_given


def bench(
    policies: Sequence[PathLike | Policy],
    env: Environment | None = None,
    *,
    devices: Sequence[str | Device] = ("cpu",),
    parts: Sequence[str] = (),
    int8: bool = False,
    episodes: int = 100,
    loop_episodes: int = 3,
    first_seed: int = 10_000,
    calls: int = 5_000,
    paced_ticks: int = 250,
    keep: float | None = None,
    clip_range: tuple[float, float] | None = None,
    max_failures: float | None = None,
    noise: float = 0.0,
    action_noise: float = 0.0,
    delay: int = 0,
    drop: float = 0.0,
    randomize: PathLike | Randomization | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
) -> BenchResult:
    """Measure files and ``Policy`` objects on ``devices`` and ``parts``; the first one is the reference.

    ``env`` is an id, a function that makes an environment, a vector environment, a batched simulator or an
    ``EnvironmentSpec``, made with ``env_kwargs``; by default the one that the policies name. Without one, only latency
    and memory are measured. ``int8`` applies to devices that run C. Latency is measured over ``calls`` back to back,
    and over ``paced_ticks`` calls at 50 Hz.

    All policies play the same ``episodes``, whose seeds begin with ``first_seed``; on emulated devices, only the first
    ``loop_episodes`` of these. With ``keep``, the result has a certificate of whether each policy keeps that share of
    the reference's return. The certificate clips returns to ``clip_range`` (low, high), by default that of other
    episodes, and requires that at most the share ``max_failures`` of the episodes earns less than low. For each
    disturbance that is given, all policies play once more: ``noise`` on observations, ``action_noise``, ``delay``,
    ``drop``, and parameters that the file ``randomize`` draws (``docs/robustness.md``). ``docs/bench.md`` explains the
    figures, and ``to_json`` of the result gives all of them as plain data.

    Raises InputError for arguments that do not fit, for policies that cannot be measured, and for a file that needs an
    argument of ``load``.

    >>> agent = load("agent.zip", normalizer=False)  # doctest: +SKIP
    >>> result = bench([agent, "small.onnx"], env="Hopper-v5", devices=["cpu"])  # doctest: +SKIP
    """
    with undisturbed(), load_named():
        counts = {"episodes": episodes, "loop_episodes": loop_episodes, "first_seed": first_seed, "calls": calls}
        require_numbers(
            whole={**counts, "paced_ticks": paced_ticks}, real_or_none={"keep": keep, "max_failures": max_failures}
        )
        settings = BenchSettings(
            episodes=episodes,
            first_seed=first_seed,
            calls=calls,
            paced_ticks=paced_ticks,
            loop_episodes=loop_episodes,
            keep=keep,
            clip_range=None if clip_range is None else range_given(clip_range),
            max_failures=max_failures,
            disturbance=disturbance_of(noise, action_noise, delay, drop, randomize),
        )
        if isinstance(policies, str | os.PathLike | Policy):
            raise InputError("`policies` must be a list: write [policy]")
        for several, word in ((devices, "devices"), (parts, "parts")):
            if isinstance(several, str):
                raise InputError(f"`{word}` must be a list: write [{several!r}]")
        named = [device for device in devices if isinstance(device, str)]
        own = [device for device in devices if not isinstance(device, str)]
        for device in own:
            if not callable(getattr(device, "runtime", None)):
                raise InputError(f"a device is a name, such as 'cpu', or a Device, not {type(device).__name__}")
        chosen = [*devices_named(named, parts, 16 if int8 else None), *own]
        if not chosen or not policies:
            raise InputError("there is nothing to measure; give `policies` and `devices`, or `parts`")
        check_claimed(chosen[0], settings)
        models = [model_of(policy, f"policies[{index}]") for index, policy in enumerate(policies)]
        plain = env_kwargs is None and isinstance(env, str | None)  # files may know arguments for it
        where = cast(str | None, env) if plain else environment_spec(env, env_kwargs)
        return bench_models(models, chosen, settings, where)


def model_of(policy: PathLike | Policy, name: str) -> BenchModel:
    """Return the model to measure for a policy. A policy without a file has the size of its ONNX export, and is called
    ``name``.
    """
    if isinstance(policy, str | os.PathLike):
        return read_model(Path(policy))
    if not isinstance(policy, Policy):
        raise InputError(f"{name} is {type(policy).__name__}, but must be a file or a prunekit.Policy")
    small = policy if policy.masks is None else policy.shrink()
    sizes, content = sizes_of(small.graph), to_onnx(small.graph, {})
    return BenchModel(
        path=Path(name),
        content=content,
        size_bytes=len(content),
        hidden=sizes.hidden,
        parameters=sizes.parameters,
        macs=sizes.macs,
        metadata=dict(policy.metadata),
        graph=small.graph,
        notes=policy.notes,
    )
