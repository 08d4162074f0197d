"""prunekit makes reinforcement-learning policies small enough to deploy, and proves that they still work.

A policy from any file::

    import prunekit

    policy = prunekit.load("agent.zip", normalizer=False)  # trained without VecNormalize
    policy.reset()
    action = policy.act(observation)
    policy.export_onnx("policy.onnx")

A smaller one that is certified to keep most of its return, and a comparison of both::

    result = prunekit.compress(policy, env="Hopper-v5", keep=0.95)
    result.policy.save("small.pt")
    prunekit.certify("another.onnx", policy, env="Hopper-v5", keep=0.95)
    prunekit.bench([policy, result.policy], env="Hopper-v5", devices=["cpu", "cortex-m4"])

A smaller one from a torch training loop of one's own::

    pruner = prunekit.Pruner(network, optimizer, total_steps=40_000)
    ...  # train as before
    small = prunekit.shrink(network, pruner.masks)
    prunekit.Policy.from_network(small, actions=env.action_space).save("small.pt")

Names are imported when first used, so that the command line starts without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from prunekit.errors import (
    ArtifactError,
    CheckError,
    CouplingError,
    EmptyGroupError,
    ExportMismatchError,
    FailedEpisodeError,
    InputError,
    PrunekitError,
    TooLargeError,
    UnusableEnvironmentError,
)

if TYPE_CHECKING:
    from prunekit.api.benching import bench
    from prunekit.api.certifying import certify
    from prunekit.api.compression import Compression, compress
    from prunekit.api.loading import load
    from prunekit.api.policy import Policy
    from prunekit.api.training import Training, train
    from prunekit.benching.certify import Certified
    from prunekit.benching.result import BenchResult
    from prunekit.export.onnx import export_onnx
    from prunekit.policy.actor import Actor, Normalizer
    from prunekit.policy.artifact import Artifact, make_artifact, save
    from prunekit.policy.compaction import compact
    from prunekit.policy.heads import ArgmaxHead, ClipHead, TanhHead
    from prunekit.policy.program import Program, lower
    from prunekit.pruning.counted_norms import count_norms_
    from prunekit.pruning.groups import find_groups
    from prunekit.pruning.guard import ReturnGuard
    from prunekit.pruning.masks import Masks, full_masks, masked
    from prunekit.pruning.plan import PruningPlan
    from prunekit.pruning.pruner import Pruner
    from prunekit.pruning.schedules import Budget, Phases, Sparsity
    from prunekit.pruning.slices import Group
    from prunekit.pruning.surgery import shrink
    from prunekit.simulators.spec import EnvironmentSpec
    from prunekit.stats.certificate import Certificate

    __version__: str

_HOMES = {
    "prunekit.api.benching": ("bench",),
    "prunekit.api.certifying": ("certify",),
    "prunekit.api.compression": ("Compression", "compress"),
    "prunekit.api.loading": ("load",),
    "prunekit.api.policy": ("Policy",),
    "prunekit.api.training": ("Training", "train"),
    "prunekit.benching.certify": ("Certified",),
    "prunekit.benching.result": ("BenchResult",),
    "prunekit.export.onnx": ("export_onnx",),
    "prunekit.policy.actor": ("Actor", "Normalizer"),
    "prunekit.policy.artifact": ("Artifact", "make_artifact", "save"),
    "prunekit.policy.compaction": ("compact",),
    "prunekit.policy.heads": ("ArgmaxHead", "ClipHead", "TanhHead"),
    "prunekit.policy.program": ("Program", "lower"),
    "prunekit.pruning.counted_norms": ("count_norms_",),
    "prunekit.pruning.groups": ("find_groups",),
    "prunekit.pruning.guard": ("ReturnGuard",),
    "prunekit.pruning.masks": ("Masks", "full_masks", "masked"),
    "prunekit.pruning.plan": ("PruningPlan",),
    "prunekit.pruning.pruner": ("Pruner",),
    "prunekit.pruning.schedules": ("Budget", "Phases", "Sparsity"),
    "prunekit.pruning.slices": ("Group",),
    "prunekit.pruning.surgery": ("shrink",),
    "prunekit.simulators.spec": ("EnvironmentSpec",),
    "prunekit.stats.certificate": ("Certificate",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Actor",
    "ArgmaxHead",
    "Artifact",
    "ArtifactError",
    "BenchResult",
    "Budget",
    "Certificate",
    "Certified",
    "CheckError",
    "ClipHead",
    "Compression",
    "CouplingError",
    "EmptyGroupError",
    "EnvironmentSpec",
    "ExportMismatchError",
    "FailedEpisodeError",
    "Group",
    "InputError",
    "Masks",
    "Normalizer",
    "Phases",
    "Policy",
    "Program",
    "PrunekitError",
    "Pruner",
    "PruningPlan",
    "ReturnGuard",
    "Sparsity",
    "TanhHead",
    "TooLargeError",
    "Training",
    "UnusableEnvironmentError",
    "__version__",
    "bench",
    "certify",
    "compact",
    "compress",
    "count_norms_",
    "export_onnx",
    "find_groups",
    "full_masks",
    "load",
    "lower",
    "make_artifact",
    "masked",
    "save",
    "shrink",
    "train",
]


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> object:
    if name == "__version__":
        from prunekit.versions import installed_versions

        return installed_versions(("prunekit",)).get("prunekit", "unknown")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'prunekit' has no attribute '{name}'")
    try:
        return getattr(import_module(_HOME_OF[name]), name)
    except ModuleNotFoundError as error:
        from prunekit.lazy import missing

        told = missing(error.name, f"prunekit.{name}")
        if told is None:
            raise
        raise told from error
