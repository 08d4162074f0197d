"""The demo's table as a result file.

    python benchmarks/demo.py

Runs ``make demo``, times it, and keeps what its bench measured in ``benchmarks/results/demo.json``.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from record import write_result

DEMO = Path("runs/demo")


def main() -> None:
    """Run, time, keep."""
    start = time.perf_counter()
    subprocess.run(["make", "demo"], check=True)
    seconds = round(time.perf_counter() - start, 1)
    entries = {"seconds": seconds, "bench": json.loads((DEMO / "bench.json").read_text())}
    print(write_result("demo", "python benchmarks/demo.py", entries))


if __name__ == "__main__":
    main()
