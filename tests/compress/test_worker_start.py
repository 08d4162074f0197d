"""A worker process hears its main one alone, from its first moment on."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import time

import pytest

from prunekit.compression.worker_start import begin
from prunekit.executors.starting import deaf_processes


class Slow:
    """Takes long to unpickle, as what imports torch does."""

    def __reduce__(self) -> tuple[object, tuple[float]]:
        return time.sleep, (60.0,)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs signals as POSIX has them")
def test_a_worker_that_is_still_beginning_ends_with_its_main_process_and_by_no_other_way() -> None:
    context = multiprocessing.get_context("spawn")
    with deaf_processes():
        theirs, ours = context.Pipe(duplex=False)
        arguments = (pickle.dumps(Slow()), context.SimpleQueue(), context.RawValue("b", 0), theirs)
        worker = context.Process(target=begin, args=arguments)
        worker.start()
    assert worker.pid is not None
    for _ in range(10):
        for number in (signal.SIGINT, signal.SIGHUP):
            os.kill(worker.pid, number)
        time.sleep(0.1)
    assert worker.is_alive()
    ours.close()
    worker.join(20.0)
    assert worker.exitcode == 1
