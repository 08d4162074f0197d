"""``bench`` without an environment: what models cost, without their returns."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray

from prunekit.benching.figures import Device, DeviceResult, Place
from prunekit.benching.host import host_facts
from prunekit.benching.models import BenchModel
from prunekit.benching.result import BenchResult
from prunekit.benching.settings import BenchSettings
from prunekit.environments import Spaces
from prunekit.errors import InputError
from prunekit.export.recording import only_input
from prunekit.graph.graph import Graph, specs_of
from prunekit.spaces.kind import kind_of_head
from prunekit.spaces.unknown import UnknownActions
from prunekit.stats.bootstrap import Retention


def measured_alone(
    models: tuple[BenchModel, ...],
    devices: Sequence[Device],
    settings: BenchSettings,
    reason: str,
    progress: Callable[[str], None],
) -> BenchResult:
    """Return the costs of ``models`` on ``devices``; ``reason`` says why there is no environment.

    Raises InputError if a claim, a disturbance or a device needs an environment.
    """
    disturbance = settings.disturbance
    asked = {
        "`keep`": settings.keep,
        "`noise`": disturbance.observation_noise or disturbance.action_noise,
        "`delay`": disturbance.delay_steps,
        "`drop`": disturbance.drop,
        "`randomize`": disturbance.randomization,
    }
    for name, used in asked.items():
        if used:
            raise _needed(name, models[0], reason)
    results: tuple[dict[str, DeviceResult], ...] = tuple({} for _ in models)
    with ExitStack() as opened:
        for device in devices:
            progress(f"cost of the models on {device.name}")
            runtimes = [device.runtime(model, _own_place(model, device, reason)) for model in models]
            for runtime in runtimes:
                if runtime is not None:
                    opened.callback(runtime.close)
            for result, figures in zip(results, device.figures(models, runtimes, settings), strict=True):
                result[device.name] = DeviceResult(figures=figures, returns=(), ci95=None)
    return BenchResult(
        host=host_facts(None),
        environment=None,
        settings=settings,
        models=models,
        devices=results,
        random=(),
        retentions=(Retention(estimate=None, reason=reason),) * len(models),
        certificates=(None,) * len(models),
        disturbed=tuple({} for _ in models),
        alone=reason,
    )


def _own_place(model: BenchModel, device: Device, reason: str) -> Place:
    """Return what the model's file says about its environment."""
    graph = model.graph
    if graph is None:
        raise InputError(
            f"{model.path}: the width of its observations is not known: {model.not_read}; give its environment with "
            "`env`"
        )
    outputs = math.prod(specs_of(graph)["outputs"].shape)
    head = next(node.op for node in graph.nodes if "action" in node.outputs)
    actions = kind_of_head(head, outputs) or UnknownActions(count=outputs)

    def observe(_: Graph, __: int) -> NDArray[np.float32]:
        raise _needed(device.name, model, reason)

    return Place(spaces=Spaces(observation=math.prod(only_input(graph).shape), actions=actions), observe=observe)


def _needed(what: str, model: BenchModel, reason: str) -> InputError:
    cure = "give one with `env`" if model.environment is None else "run: pip install gymnasium"
    return InputError(f"{model.path}: {what} needs episodes of its environment, but {reason}; {cure}")
