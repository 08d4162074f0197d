"""An environment that a function made, under the function's name."""

from __future__ import annotations

from typing import Any, final

import gymnasium as gym


@final
class MadeEnvironment(gym.Wrapper[Any, Any, Any, Any]):
    """An environment that the function called ``name`` made; it changes nothing."""

    def __init__(self, environment: gym.Env[Any, Any], name: str) -> None:
        super().__init__(environment)
        self.name = name
