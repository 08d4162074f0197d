"""How to search and to certify: sizes, budgets, and seeds that are used for one purpose only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from prunekit.disturbances.record import Disturbance
from prunekit.errors import InputError
from prunekit.stats.claim import MIN_EPISODES, check_claim, check_episodes
from prunekit.stats.clipping import ReturnRange

# Episodes to learn from and to select have seeds from here on; those of certificates are smaller.
FIRST_SEED = 1_000_000_000
SEEDS_PER_SEARCH, _SELECTION, _CONFIRMATION = 100_000, 90_000, 95_000
LARGEST_SEED = 10**9
_YEAR = 365 * 86_400.0
MAX_STEPS = 10**12
# The shares of the distance between ``keep`` and 1 that ``margin`` and ``safety`` may take at most.
_MAX_MARGIN, _MAX_SAFETY = 0.3, 0.6


@final
@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How to search for networks that keep ``keep`` of the return.

    ``starts`` are the hidden widths to begin with, one branch each; the first should be large enough to be safely good.
    With ``copies`` another branch begins with a copy of the teacher's network, if that can be copied.

    A student learns from ``teacher_episodes`` of the teacher, and from ``lesson_episodes`` of its own in every further
    round of imitation. It learns for ``first_steps`` batches when it is new, ``steps`` when it is made smaller, and
    ``lesson_steps`` in every further round, until ``recoveries`` rounds in a row have not improved it. Each time,
    ``refinements`` Gauss-Newton steps follow; a network that is too large for them takes twice as many batches instead.
    A student is good ``enough`` if its retention on the selection's episodes is ``keep`` plus ``margin``. It plays only
    as many of these as are needed to tell, and at most ``selection_episodes``. Once something is good, a smaller
    student has to be good with ``fresh_episodes`` added, which have selected nothing.

    With ``tuning`` a student that imitation does not make good, or at first not safely good, is fine-tuned on rewards
    in phases of ``tuning_steps`` environment steps. That ends when it is ``safe``, at ``keep`` plus ``safety``, when it
    is good and a certificate should be cheap, when ``tuning_patience`` phases in a row have not improved it, or when it
    is below ``keep`` after ``max_tuning_phases``; while the search has nothing good, it goes on. Before the first phase
    the critic learns alone for ``tuning_warmup`` steps. After the search, networks play at most
    ``confirmation_episodes`` other episodes; with 0 there is no confirmation.

    Raises InputError for values out of range.
    """

    keep: float = 0.95
    starts: tuple[tuple[int, ...], ...] = ((64,), (14,), (), (32, 32))
    copies: bool = True
    first_steps: int = 1_500
    steps: int = 1_500
    lesson_steps: int = 750
    refinements: int = 10
    teacher_episodes: int = 10
    lesson_episodes: int = 5
    selection_episodes: int = 80
    fresh_episodes: int = 20
    confirmation_episodes: int = 40
    recoveries: int = 4
    tuning: bool = True
    tuning_steps: int = 24_576
    tuning_warmup: int = 20_480
    tuning_patience: int = 7
    max_tuning_phases: int = 14
    margin: float = 0.015
    safety: float = 0.03
    seed: int = 0

    @property
    def enough(self) -> float:
        """The retention that is good enough; it is never above 1."""
        return self.keep + min(self.margin, _MAX_MARGIN * (1.0 - self.keep))

    @property
    def safe(self) -> float:
        """The retention that is safely good; it is never above 1."""
        return self.keep + min(self.safety, _MAX_SAFETY * (1.0 - self.keep))

    @property
    def first_seed(self) -> int:
        """The seed of the first episode to learn from."""
        return FIRST_SEED + SEEDS_PER_SEARCH * self.seed

    @property
    def selection_seeds(self) -> range:
        """The seeds of the selection's episodes."""
        first = FIRST_SEED + SEEDS_PER_SEARCH * self.seed + _SELECTION
        return range(first, first + self.selection_episodes)

    @property
    def confirmation_seeds(self) -> range:
        """The seeds of the confirmation's episodes."""
        first = FIRST_SEED + SEEDS_PER_SEARCH * self.seed + _CONFIRMATION
        return range(first, first + self.confirmation_episodes)

    def __post_init__(self) -> None:
        check_claim(self.keep, None)
        if not 0 <= self.seed <= LARGEST_SEED:
            raise InputError(f"`seed` must lie between 0 and {LARGEST_SEED}, got {self.seed}")
        if not self.starts:
            raise InputError("starts must hold the hidden widths of at least one network")
        for name in ("first_steps", "teacher_episodes", "selection_episodes"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("fresh_episodes", "confirmation_episodes"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must be at least 0, got {getattr(self, name)}")


@final
@dataclass(frozen=True, kw_only=True)
class CompressSettings:
    """How to search, and how to certify.

    A certificate plays at most ``episodes`` episodes per size, with seeds from ``first_seed`` on. Search and
    certificate together take at most ``seconds``, and end with what they have; with ``steps`` they take about so many
    environment steps instead, whatever the time, and the result is the same on any machine. Returns are clipped to
    ``clip_range``, by default the range of the teacher's and the random policy's episodes in the selection
    (``range_of``). At most the share ``max_failures`` of the network's episodes may earn less than the range's lower
    end; by default any share may. Everything is played under ``disturbance``, and the claim is about episodes under it.
    Raises InputError for values out of range.
    """

    search: SearchSettings = field(default_factory=SearchSettings)
    episodes: int = 1_000
    first_seed: int = 3_000_000
    seconds: float = 300.0
    steps: int | None = None
    clip_range: ReturnRange | None = None
    max_failures: float | None = None
    disturbance: Disturbance = field(default_factory=Disturbance)

    def __post_init__(self) -> None:
        if self.episodes < MIN_EPISODES:
            raise InputError(f"`episodes` must be at least {MIN_EPISODES}, got {self.episodes}")
        check_claim(self.search.keep, self.max_failures)
        if self.max_failures is not None:
            check_episodes(self.episodes, self.max_failures)
        if self.steps is not None and self.steps < 1:
            raise InputError(f"`steps` must be at least 1, got {self.steps}")
        if self.steps is not None and self.steps > MAX_STEPS:
            raise InputError(f"`steps` must be at most {MAX_STEPS:,}, which take a year at 30,000 steps a second")
        if not 0.0 < self.seconds <= _YEAR:
            raise InputError(
                f"`minutes` must be positive and at most {_YEAR / 60.0:.0f} (a year), got {self.seconds / 60.0:g}"
            )
        if not 0 <= self.first_seed < FIRST_SEED:
            raise InputError(f"first_seed must lie between 0 and {FIRST_SEED - 1}: larger ones are the search's own")
        maximum = (FIRST_SEED - self.first_seed) // 2  # two trials, each with episodes of its own
        if self.episodes > maximum:
            raise InputError(f"`episodes` must be at most {maximum}, got {self.episodes}")
