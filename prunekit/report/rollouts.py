"""Episodes of several policies, rendered without a screen in a separate process and shown next to each other.

The process is separate because an environment variable chooses the rendering library, which may also crash.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from prunekit.console import printable
from prunekit.formats.text import shown
from prunekit.report.page import Block, Clip, ClipsBlock, Note

_SECONDS = 300.0
_LIBRARIES = ("egl", "osmesa")
"""What MuJoCo draws with where there is no screen, in the order in which they are tried."""
_MUJOCO = (
    "MuJoCo draws without a screen by EGL or OSMesa; on Debian: apt-get install libegl1 libgl1-mesa-dri, or libosmesa6"
)


@final
@dataclass(frozen=True, kw_only=True)
class Actors:
    """Model files with their names and marks, and their environment, reset with ``seed``."""

    paths: tuple[Path, ...]
    names: tuple[str, ...]
    keys: tuple[str, ...]
    env_id: str
    kwargs: Mapping[str, Any]
    seed: int


def clips_of(actors: Actors) -> Block:
    """Return an episode of each of ``actors``, next to each other; if rendering fails, a note with the reason and the
    cure.
    """
    reason, uses_mujoco = "", False
    chosen = os.environ.get("MUJOCO_GL")
    for library in (chosen,) if chosen else _LIBRARIES:
        with tempfile.TemporaryDirectory(prefix="prunekit-") as folder:
            reason, uses_mujoco = _rendered(actors, Path(folder), library)
            if not reason:
                return _read(actors, Path(folder))
        if not uses_mujoco:
            break
    cure = f" {_MUJOCO}." if uses_mujoco else ""
    return Note(text=f"No episode could be drawn here: {reason.rstrip('.')}.{cure}", warning=True)


def _rendered(actors: Actors, folder: Path, library: str) -> tuple[str, bool]:
    """Render into ``folder``; return why that failed ('' if it did not), and whether MuJoCo may be the reason."""
    job = {
        "paths": [os.fsdecode(path.absolute()) for path in actors.paths],
        "env_id": actors.env_id,
        "kwargs": dict(actors.kwargs),
        "seed": actors.seed,
        "folder": str(folder),
    }
    modules = os.pathsep.join(filter(None, sys.path))  # what can be imported here, and nothing of the working directory
    environment = {**os.environ, "MUJOCO_GL": library, "SDL_VIDEODRIVER": "dummy", "PYTHONPATH": modules}
    environment.pop("PYOPENGL_PLATFORM", None)
    command = [sys.executable, "-P", "-m", "prunekit.report.rollout_child"]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(job).encode(),
            capture_output=True,
            check=False,
            env=environment,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"drawing took more than {_SECONDS:.0f} seconds", False
    failure = folder / "failure.json"
    if failure.is_file():
        told = json.loads(failure.read_text())
        return shown(told["reason"]), bool(told["mujoco"])
    if done.returncode == 0 and (folder / "clips.json").is_file():
        return "", False
    last = done.stderr.decode(errors="replace").strip().splitlines()
    return shown(last[-1]) if last else f"the process ended with {done.returncode}", True


def _read(actors: Actors, folder: Path) -> ClipsBlock:
    told = json.loads((folder / "clips.json").read_text())
    clips = tuple(
        Clip(
            name=name,
            key=key,
            sheet=(folder / f"{index}.webp").read_bytes(),
            columns=entry["columns"],
            rows=entry["rows"],
            width=entry["width"],
            height=entry["height"],
            returns=tuple(entry["returns"]),
            outcome=entry["outcome"],
        )
        for index, (name, key, entry) in enumerate(zip(actors.names, actors.keys, told["clips"], strict=True))
    )
    caption = (
        f"{printable(actors.env_id)}, the episode with seed {actors.seed}: the first one, whatever happens in it. "
        f"Drawn {told['speed']}."
    )
    return ClipsBlock(clips=clips, fps=told["fps"], caption=caption)


def chosen_for_clips(count: int) -> Sequence[int]:
    """Return which of ``count`` models are shown: the first (the reference), and up to two others, including the
    last.
    """
    return range(count) if count <= 3 else (0, 1, count - 1)
