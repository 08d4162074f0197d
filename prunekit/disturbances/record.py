"""The settings of a disturbance: noise, late or lost observations, and varying environments."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, final

from prunekit.disturbances.randomization import Randomization
from prunekit.errors import InputError

MAX_NOISE, MAX_DELAY = 1e6, 1000
_RANGES = {
    "observation_noise": (MAX_NOISE, "observation noise must be a number from 0 to 1,000,000"),
    "action_noise": (1.0, "action noise must be a number from 0 to 1"),
    "delay_steps": (MAX_DELAY, "a delay must be an integer number of steps from 0 to 1,000"),
    "drop": (1.0, "the share of lost observations must be a number from 0 to below 1"),
}


@final
@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """A disturbance of every policy alike, drawn from the episode's seed.

    ``observation_noise`` is the standard deviation of Gaussian noise on every entry, relative to the entry's own
    standard deviation over undisturbed episodes. ``action_noise`` is that of noise on continuous actions, relative to
    half the width of their bounds, to which they are clipped again. For choices it is the probability that one is
    replaced by a random one. An observation is lost with probability ``drop``, and the policy sees the last one that
    arrived instead. Observations arrive ``delay_steps`` steps late. The first one is never lost, and is seen until the
    next arrives. ``randomization`` gives the distributions of the environment's parameters, drawn per episode.

    Raises InputError for values out of range.

    Example::

        Disturbance(observation_noise=0.02, delay_steps=1)
    """

    observation_noise: float = 0.0
    action_noise: float = 0.0
    delay_steps: int = 0
    drop: float = 0.0
    randomization: Randomization | None = None

    def __post_init__(self) -> None:
        for name, (max_value, wanted) in _RANGES.items():
            value = getattr(self, name)
            whole = name != "delay_steps" or (isinstance(value, int) and not isinstance(value, bool))
            if not whole or not 0.0 <= value <= max_value or (name == "drop" and value == max_value):
                raise InputError(f"{wanted}, not {value:g}")

    @property
    def is_none(self) -> bool:
        """Whether nothing is disturbed."""
        return self == Disturbance()

    @property
    def words(self) -> str:
        """The disturbance in the words of a claim: ``observation noise 0.02, delay 1``; ``none`` if nothing is
        disturbed.
        """
        said = {
            "observation noise": self.observation_noise,
            "action noise": self.action_noise,
            "delay": self.delay_steps,
            "drop": self.drop,
        }
        told = [f"{name} {value:g}" for name, value in said.items() if value]
        if self.randomization is not None:
            told.append(self.randomization.words)
        return ", ".join(told) or "none"

    @property
    def condition(self) -> str:
        """The condition of a claim: ``words``, or empty if nothing is disturbed."""
        return "" if self.is_none else self.words

    def apart(self) -> dict[str, Disturbance]:
        """Return each kind of the disturbance by itself, by a short name such as ``noise 0.02`` or ``delay 1``."""
        kinds = {
            f"noise {self.observation_noise:g}": Disturbance(observation_noise=self.observation_noise),
            f"action noise {self.action_noise:g}": Disturbance(action_noise=self.action_noise),
            f"delay {self.delay_steps}": Disturbance(delay_steps=self.delay_steps),
            f"drop {self.drop:g}": Disturbance(drop=self.drop),
            "randomized": Disturbance(randomization=self.randomization),
        }
        return {name: entry for name, entry in kinds.items() if not entry.is_none}

    def scaled(self, factor: float) -> Disturbance:
        """Return the disturbance ``factor`` times as strong: noise, drops, and delay rounded to whole steps.

        Ranges of the environment's parameters do not change. Raises InputError if a value gets out of range.
        """
        return replace(
            self,
            observation_noise=self.observation_noise * factor,
            action_noise=self.action_noise * factor,
            delay_steps=round(self.delay_steps * factor),
            drop=self.drop * factor,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data: noise and delay always, the others only if they are set.

        Files from before the others existed therefore stay the same.
        """
        found: dict[str, Any] = {"observation_noise": self.observation_noise, "delay_steps": self.delay_steps}
        if self.action_noise:
            found["action_noise"] = self.action_noise
        if self.drop:
            found["drop"] = self.drop
        if self.randomization is not None:
            found["randomization"] = self.randomization.to_json()
        return found
