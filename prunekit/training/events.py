"""TensorBoard event files, written without a background thread, so errors occur where they can be explained."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from stable_baselines3.common.logger import KVWriter
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter


@final
class EventsFile(KVWriter):
    """A writer of scalars for TensorBoard that flushes after every write; each part of a resumed run has its own
    file.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"events.out.tfevents.{int(time.time()):010}.{socket.gethostname()}.{os.getpid()}"
        self._append(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def write(self, key_values: Mapping[str, Any], key_excluded: Mapping[str, tuple[str, ...]], step: int = 0) -> None:
        """Append the numbers among ``key_values``; raises OSError if the disk is full or fails."""
        scalars = [
            Summary.Value(tag=name, simple_value=float(value))
            for name, value in sorted(key_values.items())
            if "tensorboard" not in (key_excluded.get(name) or ()) and not isinstance(value, str)
        ]
        self._append(Event(wall_time=time.time(), step=step, summary=Summary(value=scalars)))

    def close(self) -> None:
        """Do nothing: no file is kept open."""

    def _append(self, event: Event) -> None:
        with self._path.open("ab") as file:
            RecordWriter(file).write(event.SerializeToString())
