"""The demo's table as a result file: runs ``make demo``, times it, and keeps what its bench measured.

python benchmarks/demo.py
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from record import write_result

BENCH = Path("runs/demo/bench.json")


def main() -> None:
    """Run, time, write."""
    start = time.perf_counter()
    subprocess.run(["make", "demo"], check=True)
    seconds = round(time.perf_counter() - start, 1)
    print(
        write_result("demo", "python benchmarks/demo.py", {"seconds": seconds, "bench": json.loads(BENCH.read_text())})
    )


if __name__ == "__main__":
    main()
