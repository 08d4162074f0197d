"""How to search and to certify: sizes, budgets, and the seeds that nothing else uses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from prunekit.disturbances.record import Disturbance
from prunekit.errors import InputError
from prunekit.stats.claim import MIN_EPISODES, check_claim, check_episodes
from prunekit.stats.clipping import ReturnRange

# Episodes that are learned from and those that select have seeds from here on; certificates stay below.
FIRST_SEED = 1_000_000_000
SEEDS_PER_SEARCH, _SELECTION, _CONFIRMATION = 100_000, 90_000, 95_000
LARGEST_SEED = 10**9
_YEAR = 365 * 86_400.0
MAX_STEPS = 10**12
# Of what lies between keep and all of the return, what margin and safety may take.
_MAX_MARGIN, _MAX_SAFETY = 0.3, 0.6


@final
@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How to search for networks that keep ``keep`` of the return.

    ``starts`` are the hidden widths to begin with, one branch each; the first is to be safely good. With ``copies``
    another branch begins with a copy of the teacher's own network, where it has one. A student is
    fitted to ``first_steps`` batches at first, to ``steps`` whenever it is made smaller, and to ``lesson_steps``
    whenever it is taught again, until ``recoveries`` rounds in a row have not helped; all of it ends with
    ``refinements`` Gauss-Newton steps, or takes twice as many batches where a network is too large for these. It is
    good ``enough`` with a retention of ``keep`` and ``margin`` on the selection's episodes, of which it plays no more
    than are needed to say so, and ``selection_episodes`` at most.

    With ``tuning`` one that is not good enough yet goes on on rewards, in phases of ``tuning_steps`` environment steps,
    until it is ``safe`` (``keep`` and ``safety``), or ``tuning_patience`` of them in a row have not helped; any number
    where the search has nothing good yet. The critic learns alone for ``tuning_warmup`` steps at first. After the
    search, networks play ``confirmation_episodes`` others at most; with 0 there is no confirmation.

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
    confirmation_episodes: int = 40
    recoveries: int = 4
    tuning: bool = True
    tuning_steps: int = 24_576
    tuning_warmup: int = 20_480
    tuning_patience: int = 7
    margin: float = 0.015
    safety: float = 0.03
    seed: int = 0

    @property
    def enough(self) -> float:
        """The retention of what is good enough, which is never out of reach of what keeps everything."""
        return self.keep + min(self.margin, _MAX_MARGIN * (1.0 - self.keep))

    @property
    def safe(self) -> float:
        """The retention of what is safely good, which is never out of reach of what keeps everything."""
        return self.keep + min(self.safety, _MAX_SAFETY * (1.0 - self.keep))

    @property
    def first_seed(self) -> int:
        """The seed of the first episode that is learned from."""
        return FIRST_SEED + SEEDS_PER_SEARCH * self.seed

    @property
    def selection_seeds(self) -> range:
        """The seeds of the episodes that select."""
        first = FIRST_SEED + SEEDS_PER_SEARCH * self.seed + _SELECTION
        return range(first, first + self.selection_episodes)

    @property
    def confirmation_seeds(self) -> range:
        """The seeds of the episodes that confirm."""
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
        if self.confirmation_episodes < 0:
            raise InputError(f"confirmation_episodes must be at least 0, got {self.confirmation_episodes}")


@final
@dataclass(frozen=True, kw_only=True)
class CompressSettings:
    """How to search, and what the certificate may take.

    Its episodes have seeds from ``first_seed`` on, ``episodes`` of them at most per size. After ``seconds`` all of it,
    the search included, ends with what it has; with ``steps``, after so many steps of the environment, and no clock has
    a say: the result is the same on any machine. Returns are clipped to ``clip_range``, by default that of the
    teacher's and the random policy's episodes in the selection (``range_of``); at most ``max_failures`` of the
    network's episodes may earn less than it holds, any share by default. All of it is played under ``disturbance``, and
    so is what the claim is about. Raises InputError for values out of range.
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
            raise InputError(f"`steps` must be at most {MAX_STEPS:,}, which take a year at thirty thousand a second")
        if not 0.0 < self.seconds <= _YEAR:
            raise InputError(
                f"`minutes` must be positive and at most {_YEAR / 60.0:.0f} (a year), got {self.seconds / 60.0:g}"
            )
        if not 0 <= self.first_seed < FIRST_SEED:
            raise InputError(f"first_seed must lie between 0 and {FIRST_SEED - 1}: larger ones are the search's own")
        maximum = (FIRST_SEED - self.first_seed) // 2  # two trials have episodes of their own
        if self.episodes > maximum:
            raise InputError(f"`episodes` must be at most {maximum}, got {self.episodes}")
