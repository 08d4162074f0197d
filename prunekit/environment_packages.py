"""Advice for ids of environments that cannot be made: the package that registers them, and newer versions."""

from __future__ import annotations

import re

from prunekit.lazy import gymnasium as gym

# By the beginning of a name: (package on PyPI, module that registers the environments when it is imported).
_PACKAGES = {
    r"Fetch[A-Z]|Hand(Reach|Manipulate)|AdroitHand|PointMaze_|AntMaze_|FrankaKitchen": (
        "gymnasium-robotics",
        "gymnasium_robotics",
    ),
    r"\w+BulletEnv": ("pybullet_envs_gymnasium", "pybullet_envs_gymnasium"),
    r"Panda[A-Z]": ("panda-gym", "panda_gym"),
    r"(highway|merge|roundabout|parking|intersection|racetrack|two-way|u-turn|lane-keeping|exit)-": (
        "highway-env",
        "highway_env",
    ),
    r"(MiniGrid|BabyAI)-": ("minigrid", "minigrid"),
}


def package_advice(env_id: str) -> str | None:
    """Return how to get the environment ``env_id`` from a package that is known to have it; None if none is known."""
    for pattern, (package, module) in _PACKAGES.items():
        if re.match(pattern, env_id):
            return (
                f"it belongs to {package}: run pip install {package}, and write {module}:{env_id} (or the version that "
                "the package has)"
            )
    return None


def newer_version(env_id: str) -> str | None:
    """Return the newest registered version of the environment ``env_id``; None if it is ``env_id`` itself."""
    name, _, version = env_id.rpartition("-v")
    versions = [
        entry.version or 0
        for entry in gym.registry.values()
        if entry.id == f"{name}-v{entry.version}" and str(entry.version) != version
    ]
    return f"{name}-v{max(versions)}" if versions and version.isdigit() and max(versions) > int(version) else None
