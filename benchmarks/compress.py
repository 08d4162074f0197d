"""The smallest certified networks that ``prunekit compress`` finds of teachers it was built on, and of others.

    python benchmarks/compress.py train                        # the teachers that are not shipped, one after the other
    python benchmarks/compress.py teachers --policies FOLDER   # what every teacher earns, beside the random policy
    python benchmarks/compress.py compress --policies FOLDER   # three seeds of every environment
    python benchmarks/compress.py busy                         # the same beside four processes that want a core each
    python benchmarks/compress.py former                       # former code and the present one, run by run
    python benchmarks/compress.py ablations --policies FOLDER  # parts of the search left out, on held-out environments
    python benchmarks/compress.py published --policies FOLDER  # one seed of every further published policy
    python benchmarks/compress.py collect                      # benchmarks/results/compress*.json, of what is done

Choices were made on the development set; the held-out teachers are trained here, or published ones: ``FOLDER`` holds
``dlr/...`` as https://github.com/DLR-RM/rl-trained-agents has it, normalizers beside the zips.

Every stage does what is missing, one compression at a time, as each uses every core, and goes on where it was
interrupted; ``--env`` and ``--seed`` choose some. What ``compress``, ``busy`` and ``published`` find in the committed
results is done too. A run of another search than the present code's is put aside and done again; until then results
keep it and name it as such. ``former`` shares its half of the present code with
``compress`` and takes it from there; run it first, or with ``--again``, so that both halves are made one after the
other. Teachers lie in ``runs/teachers``, runs in ``runs/compress``, ``runs/compress-busy``, ``runs/compress-former``,
``runs/compress-without`` and ``runs/compress-published``. Run it from the project's root.

It is no sweep: cells of a sweep run side by side on a thread each, while a compression has the machine to itself, and
former code and files of others are no cells.
"""

from __future__ import annotations

import argparse
import io
import json
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from compressing.collecting import (
    INTERLEAVED,
    collect_ablations,
    collect_busy,
    collect_published,
    collect_runs,
    collect_speed,
    committed_runs,
    minutes_apart,
    open_of,
)
from compressing.collection import published_files
from compressing.runs import MINUTES, ROOT, SEEDS, Asked, carry_out, entry_of, is_of, put_aside, search_in
from compressing.teachers import DEVELOPMENT, HELD_OUT, is_there, say_returns, teacher_of, train_one

RUNS = Path("runs/compress")
BUSY, FORMER, WITHOUT, CODE = (Path(f"runs/compress-{name}") for name in ("busy", "former", "without", "code"))
FURTHER = Path("runs/compress-published")
BUSY_PROCESSES = 4
FORMER_COMMIT = "3afd242"
# Fields of SearchSettings by the part that they switch off.
ABLATIONS: dict[str, dict[str, Any]] = {
    "copies": {"copies": False},
    "fine-tuning": {"tuning": False},
    "Gauss-Newton": {"refinements": 0},
    "confirmation": {"confirmation_episodes": 0},
    "margins": {"margin": 0.0, "safety": 0.0},
    "other starts": {"starts": [[64]]},
}


def former_code(commit: str) -> Path:
    """Return a folder with the package as it was at ``commit``."""
    place = CODE / commit
    if not (place / "prunekit").exists():
        packed = subprocess.run(["git", "archive", commit, "prunekit"], check=True, stdout=subprocess.PIPE).stdout
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(place, filter="data")
    return place


class Plan:
    """What is asked for: these environments and seeds, in so many minutes."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.search, self.former = search_in(ROOT), given.commit
        self._policies, self._minutes = given.policies, given.minutes
        self.environments, self.seeds, self._is_loaded = given.env, given.seed or SEEDS, given.loaded

    def asked(self, folder: Path, env_id: str, seed: int, **others: Any) -> Asked:
        """Return what is asked of one environment and seed."""
        return Asked(
            env_id=env_id,
            seed=seed,
            teacher=teacher_of(env_id, self._policies),
            folder=folder / f"{env_id}-seed{seed}",
            minutes=self._minutes,
            **{"search": self.search, **others},
        )

    def runs(self) -> list[Asked]:
        """Return the compressions, seed by seed."""
        return [self.asked(RUNS, *one) for one in self._each((*DEVELOPMENT, *HELD_OUT))]

    def busy(self) -> list[Asked]:
        """Return those beside busy processes."""
        chosen = self._each((*DEVELOPMENT, *HELD_OUT))
        return [self.asked(BUSY, *one, busy=BUSY_PROCESSES, is_loaded=self._is_loaded) for one in chosen]

    def pairs(self) -> list[tuple[Asked, Asked]]:
        """Return former and present compressions."""
        code = former_code(self.former)
        search = search_in(code, self.former)
        return [
            (self.asked(FORMER, *one, code=code, search=search), self.asked(RUNS, *one))
            for one in self._each(DEVELOPMENT)
        ]

    def without(self) -> dict[str, list[Asked]]:
        """Return those without a part, by its name; without none of them they are those of ``runs``."""
        chosen = list(self._each(HELD_OUT))
        parts = {
            part: [self.asked(WITHOUT / part.replace(" ", "-"), *one, settings=json.dumps(settings)) for one in chosen]
            for part, settings in ABLATIONS.items()
        }
        return {"": [self.asked(RUNS, *one) for one in chosen], **parts}

    def published(self) -> list[Asked]:
        """Return those of further published policies, with the first of the seeds."""
        return [
            Asked(
                env_id=one.env_id,
                seed=self.seeds[0],
                teacher=(self._policies or Path("policies")) / one.path,
                folder=FURTHER / f"{one.algorithm}-{one.named}-seed{self.seeds[0]}",
                search=self.search,
                minutes=self._minutes,
                called=one.path,
            )
            for one in published_files()
            if not self.environments or one.env_id in self.environments
        ]

    def _each(self, environments: Sequence[str]) -> Iterator[tuple[str, int]]:
        chosen = [env_id for env_id in environments if not self.environments or env_id in self.environments]
        return ((env_id, seed) for seed in self.seeds for env_id in chosen)


def done(asked: Sequence[Asked]) -> None:
    """Compress one after the other; end with what went wrong."""
    wrong = []
    for one in asked:
        failure = carry_out(one) if one.teacher.is_file() else f"{one.name}: there is no teacher"
        if failure:
            print(failure, flush=True)
            wrong.append(failure)
    if wrong:
        raise SystemExit(f"{len(wrong)} of {len(asked)} compressions are missing")


def interleaved(pairs: Sequence[tuple[Asked, Asked]], *, again: bool) -> list[Asked]:
    """Return both of every pair, each first in every second of them.

    With ``again`` both are put aside before where they were not made one after the other, by the searches asked for.
    """
    if again:
        for pair in pairs:
            entries = [entry_of(one) for one in pair]
            apart = minutes_apart(*entries)
            if apart is None or apart > INTERLEAVED or not all(map(is_of, entries, pair)):
                for one in pair:
                    put_aside(one.folder)
    return [one for number, pair in enumerate(pairs) for one in (pair if number % 2 == 0 else pair[::-1])]


def collect(plan: Plan) -> None:
    """Write the committed results of what is done."""
    paths = [
        collect_runs(plan.runs(), plan.search),
        collect_busy(plan.busy(), plan.search),
        collect_speed(plan.pairs(), plan.search),
        collect_ablations(plan.without(), plan.search),
        collect_published(plan.published(), plan.search),
    ]
    for path in filter(None, paths):
        missing = json.loads(path.read_text())["missing"]
        print(path, f"{len(missing)} runs missing{': ' * bool(missing)}{', '.join(missing)}")


def main() -> None:
    """Parse and go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    stages = ["train", "teachers", "compress", "busy", "former", "ablations", "published", "collect"]
    parser.add_argument("stage", choices=stages)
    choices = sorted({*DEVELOPMENT, *HELD_OUT, *(one.env_id for one in published_files())})
    parser.add_argument("--env", choices=choices, action="append", help="only this one")
    parser.add_argument("--seed", type=int, choices=SEEDS, action="append", help="only this one")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="time per compression; others are for trials")
    parser.add_argument("--policies", type=Path, help="folder of published policies")
    parser.add_argument("--commit", default=FORMER_COMMIT, help="former code")
    parser.add_argument("--loaded", action="store_true", help="busy: four processes at full load run already")
    parser.add_argument("--again", action="store_true", help="former: both again unless made one after the other")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what runs ends too
    plan = Plan(given)
    chosen = given.env or (*DEVELOPMENT, *HELD_OUT)
    if given.stage == "train":
        for env_id in chosen:
            train_one(env_id)
    elif given.stage == "teachers":
        for env_id in chosen:
            if is_there(env_id, given.policies):
                say_returns(env_id, given.policies)
    elif given.stage == "compress":
        done(open_of(plan.runs(), committed_runs("compress")))
    elif given.stage == "busy":
        done(open_of(plan.busy(), committed_runs("compress_busy")))
    elif given.stage == "former":
        done(interleaved(plan.pairs(), again=given.again))
    elif given.stage == "ablations":
        done([one for many in plan.without().values() for one in many])
    elif given.stage == "published":
        known = {run["file"]: run for run in committed_runs("compress_published")}
        done([one for one in plan.published() if one.called not in known or open_of([one], [known[one.called]])])
    elif given.env or given.seed:
        parser.error("collect takes all environments and seeds")
    else:
        collect(plan)


if __name__ == "__main__":
    main()
