"""A module that plays an episode per model in its own process, and writes the frames as sheets of WebP.

It reads a job as JSON from standard input, and writes ``clips.json`` and ``<n>.webp``, or ``failure.json``, to the
job's folder.
"""

from __future__ import annotations

import io
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import gymnasium as gym
import numpy as np
from PIL import Image

from prunekit.benching.models import read_model
from prunekit.benching.runtimes import OnnxRuntime
from prunekit.environments import make_environment, spaces_of
from prunekit.errors import PrunekitError
from prunekit.formats.text import reason_of

_FPS = 15.0
_MAX_FRAMES = 144
_WIDTH = 320
_MAX_STEPS = 20_000
_MAX_BYTES = 1_000_000
"""Of the sheet of one episode."""


@final
@dataclass(frozen=True, kw_only=True)
class Played:
    """Frames [height, width, 3] of an episode, the return up to each, and the outcome."""

    frames: list[Image.Image]
    returns: list[float]
    outcome: str


def main() -> None:
    """Play, render and write."""
    job = json.loads(sys.stdin.buffer.read())
    folder = Path(job["folder"])
    mujoco = False
    try:
        mujoco = is_mujoco(job["env_id"])
        environment = drawn_environment(job["env_id"], job["kwargs"])
        told = _clips(environment, job, folder)
    except Exception as error:  # an environment, or what it draws with, raises anything
        reason = str(error) if isinstance(error, PrunekitError) else f"{type(error).__name__}: {reason_of(error)}"
        (folder / "failure.json").write_text(json.dumps({"reason": reason, "mujoco": mujoco}))
        return
    (folder / "clips.json").write_text(json.dumps(told))


def drawn_environment(env_id: str, kwargs: dict[str, Any]) -> gym.Env[Any, Any]:
    """Make an environment that renders frames; raises as ``make_environment`` does.

    MuJoCo renders small frames, because larger ones take twice as long. Its camera follows the robot if it can; the
    default camera is fixed, and the robot would leave the picture.
    """
    own = {"width": _WIDTH, "height": _WIDTH, "camera_name": "track"} if is_mujoco(env_id) else {}
    if "camera_id" in kwargs:
        own.pop("camera_name", None)
    return make_environment(env_id, {**own, **kwargs, "render_mode": "rgb_array"})


def is_mujoco(env_id: str) -> bool:
    """Return whether ``env_id`` is one of Gymnasium's MuJoCo environments."""
    try:
        return "gymnasium.envs.mujoco" in str(gym.spec(env_id).entry_point)
    except (gym.error.Error, ImportError):
        return False


def _clips(environment: gym.Env[Any, Any], job: dict[str, Any], folder: Path) -> dict[str, Any]:
    steps_per_second = float(environment.metadata.get("render_fps") or 30.0)
    stride = max(1, round(steps_per_second / _FPS))
    spaces = spaces_of(environment)
    clips = []
    for index, path in enumerate(job["paths"]):
        runtime = OnnxRuntime(read_model(Path(path)), spaces)
        played = _played(environment, runtime, job["seed"], stride, steps_per_second)
        runtime.close()
        columns = min(12, len(played.frames))
        sheet = _sheet(played.frames, columns)
        (folder / f"{index}.webp").write_bytes(sheet)
        width, height = played.frames[0].size
        clips.append(
            {
                "columns": columns,
                "rows": math.ceil(len(played.frames) / columns),
                "width": width,
                "height": height,
                "returns": played.returns,
                "outcome": played.outcome,
            }
        )
    return {"clips": clips, "fps": steps_per_second / stride, "speed": "at the speed of the simulation"}


def _played(
    environment: gym.Env[Any, Any], runtime: OnnxRuntime, seed: int, stride: int, steps_per_second: float
) -> Played:
    """Play an episode to its end; only the first frames of a long one are rendered."""
    observation, _ = environment.reset(seed=seed)
    frames, returns = [_frame(environment)], [0.0]
    total, step, terminated, truncated = 0.0, 0, False, False
    while not (terminated or truncated) and step < _MAX_STEPS:
        observation, reward, terminated, truncated, _ = environment.step(runtime.act(observation))
        total, step = total + float(reward), step + 1
        if len(frames) < _MAX_FRAMES and (step % stride == 0 or terminated or truncated):
            frames.append(_frame(environment))
            returns.append(total)
    ended = "terminated" if terminated else "at the time limit" if truncated else "not ended"
    outcome = f"return {total:,.1f} in {step:,} steps, {ended}"
    drawn = stride * (len(frames) - 1)
    if drawn + stride <= step:
        outcome += f"; the first {drawn / steps_per_second:.1f} s of {step / steps_per_second:.1f} s are shown"
    return Played(frames=frames, returns=returns, outcome=outcome)


def _frame(environment: gym.Env[Any, Any]) -> Image.Image:
    drawn = np.asarray(environment.render())
    if drawn.ndim != 3 or drawn.shape[2] < 3 or drawn.dtype != np.uint8:
        raise TypeError(f"the environment draws {drawn.dtype} of shape {list(drawn.shape)}, not pictures")
    image = Image.fromarray(np.ascontiguousarray(drawn[:, :, :3]))
    return image.resize((_WIDTH, max(1, round(_WIDTH * image.height / image.width))), Image.Resampling.LANCZOS)


def _sheet(frames: list[Image.Image], columns: int) -> bytes:
    """Return ``frames`` in rows as one WebP, with a quality that keeps it small enough."""
    width, height = frames[0].size
    sheet = Image.new("RGB", (columns * width, math.ceil(len(frames) / columns) * height))
    for index, frame in enumerate(frames):
        sheet.paste(frame, (index % columns * width, index // columns * height))
    content = b""
    for quality in (75, 55, 35, 15):
        buffer = io.BytesIO()
        sheet.save(buffer, "WEBP", quality=quality, method=4)
        content = buffer.getvalue()
        if len(content) <= _MAX_BYTES:
            break
    return content


if __name__ == "__main__":
    main()
