"""One compression with other settings of the search than the command line has.

python benchmarks/compressing/ablated.py TEACHER --env ID --seed 0 --keep 0.95 --minutes 5 --out DIR --settings JSON
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

from prunekit.compression.command import workers_here
from prunekit.compression.read import read_teacher
from prunekit.compression.run import compress, write
from prunekit.compression.settings import CompressSettings, SearchSettings
from prunekit.compression.task import Task


def main() -> int:
    """Parse, compress, write; return 0 where the result is certified, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("--env", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=float, default=0.95)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--settings", default="{}", help="fields of SearchSettings, as JSON")
    given = parser.parse_args()
    others = json.loads(given.settings)
    if "starts" in others:
        others["starts"] = tuple(map(tuple, others["starts"]))
    search = SearchSettings(keep=given.keep, seed=given.seed, **others)
    settings = CompressSettings(search=search, seconds=60.0 * given.minutes)
    task = Task(env_id=given.env, teacher_of=partial(read_teacher, given.teacher))
    result = compress(task, settings, workers=workers_here())
    write(result, given.out)
    print(result.summary)
    return 0 if result.certified else 1


if __name__ == "__main__":
    raise SystemExit(main())
