"""How important each unit is, as known so far: moving averages over the checks, in terms of the original units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor, nn

from prunekit.errors import CheckError
from prunekit.pruning.importance import MAX_EXACT_OUTPUTS, Evidence, Importance, Scores, normalized
from prunekit.pruning.masks import Masks
from prunekit.pruning.observation import Taken, observe
from prunekit.pruning.slices import Group


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put ``network`` in evaluation mode for a while.

    Dropout would add noise to what is measured, and batch statistics would take the states in twice.
    """
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@final
class Gauge:
    """Importance scores [original width] per group, float64; a removed unit keeps the score it had when it died."""

    def __init__(
        self, importance: Importance, memory: float, decision: Callable[[object], Tensor], *, common_scale: bool
    ) -> None:
        self._importance, self._memory, self._decision = importance, memory, decision
        self._common_scale = common_scale
        self.scores: Scores = {}
        self._raw: Scores = {}
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
        """Take in the importance of the units of ``network`` on ``states``, and return what was read of them.

        ``keep`` (bool [original width]) says which units live; ``network`` has no others. ``widths`` is as
        in ``observe``. Raises CheckError, naming the optimizer step, where it is not finite.
        """
        with evaluating(network):
            seen = observe(network, groups, states, self._decision, widths)
            self._deviation = self._deviate(seen.output)
            found = self._importance(Evidence(network, groups, seen, self._deviation, keep, seed=step))
        for name, score in found.items():
            if not bool(score.isfinite().all()):
                raise CheckError(f"the importance of group '{name}' is not finite at optimizer step {step}")
            fresh = torch.zeros(keep[name].numel(), dtype=torch.float64, device=score.device)
            fresh[keep[name].to(score.device)] = score.double()
            old = self._raw.get(name)
            self._raw[name] = fresh if old is None else self._memory * old + (1 - self._memory) * fresh
        for name, score in normalized(self._raw, keep, common_scale=self._common_scale).items():
            self.scores[name] = torch.where(keep[name].to(score.device), score, self.scores.get(name, score))
        return seen.read

    def state_dict(self) -> dict[str, Any]:
        """Return the averages: tensors only."""
        return {
            "scores": {name: score.clone() for name, score in self.scores.items()},
            "raw": {name: score.clone() for name, score in self._raw.items()},
            "deviation": self._deviation,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` returned."""
        self.scores, self._raw, self._deviation = dict(state["scores"]), dict(state["raw"]), state["deviation"]

    def _deviate(self, output: Tensor) -> Tensor:
        output = output.detach()
        if output.shape[1] <= MAX_EXACT_OUTPUTS:
            found = output.double().std(dim=0, unbiased=False)
        else:  # torch's own, along the first dimension, is twenty times slower
            found = (output - output.mean(dim=0)).square_().mean(dim=0).sqrt_().double()
        now = found.clamp_min(1e-8)
        return now if self._deviation is None else self._memory * self._deviation + (1 - self._memory) * now
