"""A command that is interrupted says one line, whatever its workers were doing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import multiprocessing, time
from prunekit.executors.jobs import Job, Started
from prunekit.executors.processes import ProcessExecutor

def waits(_, context):
    queue = multiprocessing.get_context("spawn").SimpleQueue()
    context.report("waiting")
    time.sleep(60)
    return queue

if __name__ == "__main__":
    with ProcessExecutor(1) as executor:
        executor.submit(Job(name="waits", function=waits))
        found = []
        while len(found) < 2:
            found += executor.events(5.0)
        raise KeyboardInterrupt
"""


def test_what_ended_workers_leave_is_not_talked_about(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")
    assert "leaked" not in done.stderr
