"""The result of ``bench``, and its plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from prunekit.benching.figures import DeviceResult, FirmwareFigures
from prunekit.benching.latency import Percentiles
from prunekit.benching.models import BenchModel
from prunekit.benching.settings import BenchSettings
from prunekit.errors import CheckError
from prunekit.simulators.batch import Seeding
from prunekit.stats.bootstrap import Retention, mean_interval
from prunekit.stats.certificate import Certificate, Verdict
from prunekit.stats.claim import counted

# A promising claim that was not shown needs at least this many times the episodes.
_MORE = 1.2


@final
@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """Everything that ``bench`` measured; ``docs/bench.md`` describes ``to_json``.

    ``environment`` is None if there was none; ``alone`` then says why, and there are no returns. ``disturbed`` maps a
    disturbance to the returns of every model under it, on the first device. ``seeding`` says what a seed determined in
    the environment: if nothing, the models played independent episodes, and showing a claim takes more of them.
    """

    host: dict[str, Any]
    environment: tuple[str, dict[str, Any]] | None
    settings: BenchSettings
    models: tuple[BenchModel, ...]
    devices: tuple[dict[str, DeviceResult], ...]
    random: tuple[float, ...] = field(repr=False)
    retentions: tuple[Retention, ...]
    certificates: tuple[Certificate | None, ...]
    disturbed: tuple[dict[str, tuple[float, ...]], ...] = field(repr=False)
    seeding: Seeding = Seeding.EPISODES
    alone: str = ""

    def require(self) -> None:
        """Raise CheckError, naming the models, unless every model except the first has the requested certificate."""
        failing = [
            f"{model.path} ({_shortfall(found)})"
            for model, found in zip(self.models[1:], self.certificates[1:], strict=True)
            if found is None or not found.certified
        ]
        if failing:
            raise CheckError(f"retention is not shown to be at least {self.settings.keep:g}: {', '.join(failing)}")

    def _environment_json(self) -> dict[str, Any] | None:
        if self.environment is None:
            return None
        env_id, kwargs = self.environment
        return {"id": env_id, "kwargs": kwargs, "seeds": self.seeding.value}

    def to_json(self) -> dict[str, Any]:
        """Return plain data in the form of ``docs/bench.md``."""
        return {
            "host": self.host,
            "env": self._environment_json(),
            "without_returns": self.alone or None,
            "models": [
                {**_model_json(model, devices, self.settings), "disturbed": _disturbed_json(disturbed)}
                for model, devices, disturbed in zip(self.models, self.devices, self.disturbed, strict=True)
            ],
            "random": {"episodes": len(self.random), "mean": float(np.mean(self.random))} if self.random else None,
            "retention": {
                str(model.path): kept.to_dict() for model, kept in zip(self.models, self.retentions, strict=True)
            },
            "certificates": {
                str(model.path): _certificate_json(found)
                for model, found in zip(self.models, self.certificates, strict=True)
                if found is not None
            },
        }


def _certificate_json(found: Certificate) -> dict[str, Any]:
    """Return a certificate without its returns, which the result already has."""
    return {key: value for key, value in found.to_json().items() if key not in ("size", "returns", "selection")}


def _shortfall(found: Certificate | None) -> str:
    """Return why a certificate is missing, and roughly how many episodes it would take."""
    if found is None:
        return "it or the reference does not run on the first device"
    bound, wanted = found.lower_bound, found.episodes_wanted()
    reached = (
        f"{'no bound' if bound is None else f'at least {bound:.3f}'} after {counted(len(found.episodes), 'episode')}"
    )
    max_failures, low = found.claim.max_failures, found.claim.clip_range.low
    if max_failures is not None and found.below.upper > max_failures:
        return f"{reached}; {found.below.happened} earned less than {low:g}, so at most {found.below.upper:.1%} do"
    if wanted is None or found.verdict is not Verdict.UNDECIDED:
        return reached
    return f"{reached}; about {max(wanted, round(_MORE * len(found.episodes))):,} `episodes` would show it"


def _model_json(model: BenchModel, devices: dict[str, DeviceResult], settings: BenchSettings) -> dict[str, Any]:
    return {
        "path": str(model.path),
        "notes": list(model.notes),
        "hidden": list(model.hidden),
        "units": model.units,
        "parameters": model.parameters,
        "macs": model.macs,
        "size_bytes": model.size_bytes,
        "weight_bytes": model.weight_bytes,
        "devices": {
            name: {
                "latency_us": _percentiles_json(result.figures.latency_us),
                "paced_latency_us": _percentiles_json(result.figures.paced_latency_us),
                "memory_bytes": result.figures.memory_bytes,
                "marginal_memory_bytes": result.figures.marginal_memory_bytes,
                "code": result.figures.code,
                "firmware": _firmware_json(result.figures.firmware),
                "return": _return_json(result, settings),
            }
            for name, result in devices.items()
        },
    }


def _return_json(result: DeviceResult, settings: BenchSettings) -> dict[str, Any] | None:
    if not result.returns:
        return None
    count = len(result.returns)
    return {
        "episodes": count,
        "mean": result.mean,
        "iqm": result.iqm,
        "ci95": _listed(result.ci95),
        "seeds": list(settings.seeds[:count]),
        "returns": list(result.returns),
    }


def _disturbed_json(found: dict[str, tuple[float, ...]]) -> dict[str, Any]:
    return {
        name: {
            "episodes": len(returns),
            "mean": float(np.mean(returns)),
            "ci95": _listed(mean_interval(np.asarray(returns), np.random.default_rng(0))),
            "returns": list(returns),
        }
        for name, returns in found.items()
    }


def _listed(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)


def _firmware_json(figures: FirmwareFigures | None) -> dict[str, Any] | None:
    if figures is None:
        return None
    cost = figures.cost
    return {
        "fits": figures.fits,
        "overflow_bytes": dict(figures.overflow),
        "at_least": figures.at_least,
        "flash_bytes": figures.flash_bytes,
        "static_ram_bytes": figures.static_ram_bytes,
        "harness_flash_bytes": figures.harness_flash_bytes,
        "harness_ram_bytes": figures.harness_ram_bytes,
        "stack_bytes": figures.stack_bytes,
        "cost": None
        if cost is None
        else {"unit": cost.unit, "p50": cost.p50, "most": cost.maximum, "observations": cost.observations},
        "compared_actions": figures.compared,
        "different_actions": figures.different,
        "tools": dict(figures.tools),
    }


def _percentiles_json(percentiles: Percentiles | None) -> dict[str, float] | None:
    return None if percentiles is None else percentiles.to_dict()
