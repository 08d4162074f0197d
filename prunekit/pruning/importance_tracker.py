"""The current estimate of each unit's importance: moving averages over the checks, indexed by original units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor, nn

from prunekit.errors import CheckError
from prunekit.pruning.forward_pass import Taken, forward_pass
from prunekit.pruning.importance import MAX_EXACT_OUTPUTS, Evidence, Importance, UnitImportance, normalized
from prunekit.pruning.masks import Masks
from prunekit.pruning.slices import Group


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put ``network`` into evaluation mode inside the context.

    Dropout would add noise to the measurements, and batch statistics would be updated with the states again.
    """
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@final
class ImportanceTracker:
    """Importance [original width] per group, float64; a removed unit keeps its last value."""

    def __init__(
        self, importance: Importance, memory: float, output_of: Callable[[object], Tensor], *, common_scale: bool
    ) -> None:
        self._importance, self._memory, self._output_of = importance, memory, output_of
        self._common_scale = common_scale
        self.values: UnitImportance = {}
        self._raw: UnitImportance = {}
        self._deviation: Tensor | None = None

    def measure(
        self,
        network: nn.Module,
        groups: Sequence[Group],
        states: Tensor,
        keep: Masks,
        step: int,
        widths: Sequence[int] = (),
    ) -> Mapping[str, Sequence[Taken]]:
        """Measure the importance of the units of ``network`` on ``states``, update the averages, and return the values
        that were read.

        ``keep`` (bool [original width]) says which units live; ``network`` contains only these. ``widths`` is as in
        ``forward_pass``. Raises CheckError, naming the optimizer step, if an importance is not finite.
        """
        with evaluating(network):
            seen = forward_pass(network, groups, states, self._output_of, widths)
            self._deviation = self._deviate(seen.output)
            found = self._importance(
                Evidence(
                    network=network, groups=groups, seen=seen, output_deviation=self._deviation, keep=keep, seed=step
                )
            )
        for name, value in found.items():
            if not bool(value.isfinite().all()):
                raise CheckError(f"the importance of group '{name}' is not finite at optimizer step {step}")
            fresh = torch.zeros(keep[name].numel(), dtype=torch.float64, device=value.device)
            fresh[keep[name].to(value.device)] = value.double()
            old = self._raw.get(name)
            self._raw[name] = fresh if old is None else self._memory * old + (1 - self._memory) * fresh
        for name, value in normalized(self._raw, keep, common_scale=self._common_scale).items():
            self.values[name] = torch.where(keep[name].to(value.device), value, self.values.get(name, value))
        return seen.read

    def state_dict(self) -> dict[str, Any]:
        """Return the averages, as tensors."""
        return {
            "scores": {name: value.clone() for name, value in self.values.items()},
            "raw": {name: value.clone() for name, value in self._raw.items()},
            "deviation": self._deviation,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the averages from ``state_dict``."""
        self.values, self._raw, self._deviation = dict(state["scores"]), dict(state["raw"]), state["deviation"]

    def _deviate(self, output: Tensor) -> Tensor:
        output = output.detach()
        if output.shape[1] <= MAX_EXACT_OUTPUTS:
            found = output.double().std(dim=0, unbiased=False)
        else:  # torch's own, along the first dimension, is twenty times slower
            found = (output - output.mean(dim=0)).square_().mean(dim=0).sqrt_().double()
        now = found.clamp_min(1e-8)
        return now if self._deviation is None else self._memory * self._deviation + (1 - self._memory) * now
