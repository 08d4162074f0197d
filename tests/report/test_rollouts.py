"""Episodes drawn without a screen: what is shown is what the files do, and what cannot be drawn is said."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from prunekit.benching.models import read_model
from prunekit.benching.runtimes import OnnxRuntime
from prunekit.environments import make_environment, spaces_of
from prunekit.policy.actor import Actor
from prunekit.policy.artifact import make_artifact, save
from prunekit.policy.heads import ClipHead
from prunekit.report.page import ClipsBlock, Note
from prunekit.report.rollouts import Actors, chosen_for_clips, clips_of
from prunekit.rollouts import episode_return

MODELS = Path(__file__).parents[2] / "models"
CARTPOLE = MODELS / "CartPole-v1-ppo" / "compact.pt"
LANDER = MODELS / "LunarLander-v3-ppo"

needs_egl = pytest.mark.skipif(
    find_library("EGL") is None, reason="no EGL here: apt-get install libegl1 libgl1-mesa-dri"
)

MODULE = """
import gymnasium as gym, numpy as np
class Blind(gym.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}
    observation_space = gym.spaces.Box(-9.0, 9.0, (4,), np.float32)
    action_space = gym.spaces.Discrete(2)
    def __init__(self, render_mode=None): self.render_mode = render_mode
    def reset(self, *, seed=None, options=None):
        self.left = 9
        return np.zeros(4, np.float32), {}
    def step(self, action):
        self.left -= 1
        return np.zeros(4, np.float32), 1.0, self.left == 0, False, {}
    def render(self): raise RuntimeError("no paint\\nat all")
class Seeing(Blind):
    def render(self): return np.full((40, 60, 3), 20 * self.left, np.uint8)
gym.register("Blind-v0", Blind)
gym.register("Seeing-v0", Seeing)
"""


def actors(*paths: Path, env_id: str, seed: int = 10_000, kwargs: dict[str, Any] | None = None) -> Actors:
    names = tuple(path.stem for path in paths)
    keys = tuple(str(index) for index in range(len(paths)))
    return Actors(paths=paths, names=names, keys=keys, env_id=env_id, kwargs=kwargs or {}, seed=seed)


def test_an_episode_is_the_one_that_the_files_play() -> None:
    paths = (LANDER / "dense.onnx", LANDER / "compact.pt")
    block = clips_of(actors(*paths, env_id="LunarLander-v3", seed=10_003))
    assert isinstance(block, ClipsBlock)
    environment = make_environment("LunarLander-v3")
    for path, clip in zip(paths, block.clips, strict=True):
        runtime = OnnxRuntime(read_model(path), spaces_of(environment))
        earned = episode_return(environment, runtime.act, 10_003)
        assert clip.returns[-1] == pytest.approx(earned)
        assert f"return {earned:,.1f} in" in clip.outcome
        assert "terminated" in clip.outcome
        image = Image.open(io.BytesIO(clip.sheet))
        assert image.size == (clip.columns * clip.width, clip.rows * clip.height)
        assert (clip.columns, clip.rows) == (12, -(-clip.frames // 12))
    assert block.clips[0].returns != block.clips[1].returns
    assert 12.0 <= block.fps <= 20.0
    environment.close()


def test_of_a_long_episode_the_beginning_is_shown_and_that_is_said() -> None:
    block = clips_of(actors(CARTPOLE, env_id="CartPole-v1"))
    assert isinstance(block, ClipsBlock)
    (clip,) = block.clips
    assert clip.frames == 144
    assert clip.returns[:3] == (0.0, 3.0, 6.0)
    assert clip.outcome == "return 500.0 in 500 steps, at the time limit; the first 8.6 s of 10.0 s are shown"
    assert len(clip.sheet) < 1_000_000


def test_an_environment_of_a_user_s_module_plays_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    block = clips_of(actors(CARTPOLE, env_id="own_module:Seeing-v0"))
    assert isinstance(block, ClipsBlock)
    (clip,) = block.clips
    assert clip.returns == (0.0, 3.0, 6.0, 9.0)
    image = Image.open(io.BytesIO(clip.sheet)).convert("L")
    greys = [image.getpixel((clip.width * (2 * index + 1) // 2, clip.height // 2)) for index in range(clip.frames)]
    assert greys == pytest.approx([180, 120, 60, 0], abs=6)


def test_an_environment_that_cannot_be_drawn_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    block = clips_of(actors(CARTPOLE, env_id="own_module:Blind-v0"))
    assert block == Note(text="No episode could be drawn here: RuntimeError: no paint.", warning=True)


def test_a_machine_where_mujoco_cannot_draw_is_told_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "nothing-like-that")
    block = clips_of(actors(MODELS / "Hopper-v5-ppo" / "compact.pt", env_id="Hopper-v5"))
    assert isinstance(block, Note)
    assert block.warning
    assert "apt-get install libegl1" in block.text


@needs_egl
def test_mujoco_is_drawn_without_a_screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 1))
    save(make_artifact(Actor(network, ClipHead(low=(-3.0,), high=(3.0,))), None, {}), tmp_path / "falls.pt")
    block = clips_of(actors(tmp_path / "falls.pt", env_id="InvertedPendulum-v5"))
    assert isinstance(block, ClipsBlock), block
    (clip,) = block.clips
    assert (clip.width, clip.height) == (320, 320)
    colors = Image.open(io.BytesIO(clip.sheet)).convert("RGB").getcolors(10**7)
    assert colors is not None
    assert len(colors) > 1000


FAR_AWAY = """
import numpy as np
from prunekit.report.rollout_child import drawn_environment
environment = drawn_environment("Walker2d-v5", {})
environment.reset(seed=0)
inner = environment.unwrapped
position = inner.data.qpos.copy()
position[0] = 50.0
inner.set_state(position, inner.data.qvel.copy())
red, green, blue = np.moveaxis(environment.render().astype(int), 2, 0)
print(int((red > green + 10).sum()))
"""


@needs_egl
def test_the_camera_goes_with_a_robot_that_walks_away() -> None:
    environment = {**os.environ, "MUJOCO_GL": "egl", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", FAR_AWAY], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 1000, "no pixel has the robot's colour"


def test_a_file_that_is_gone_is_a_note(tmp_path: Path) -> None:
    block = clips_of(actors(tmp_path / "gone.onnx", env_id="CartPole-v1"))
    assert isinstance(block, Note)
    assert "gone.onnx: no such file" in block.text
    assert "MuJoCo" not in block.text


def test_nothing_of_the_working_directory_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gymnasium.py").write_text("raise SystemExit('imported')")
    (tmp_path / "json.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    assert isinstance(clips_of(actors(CARTPOLE, env_id="CartPole-v1")), ClipsBlock)


def test_the_first_and_the_last_model_play_whatever_is_between() -> None:
    assert list(chosen_for_clips(1)) == [0]
    assert list(chosen_for_clips(3)) == [0, 1, 2]
    assert list(chosen_for_clips(9)) == [0, 1, 8]
