"""Adapters: prunekit's view of a training library's learner. Only the ``sb3`` modules import Stable-Baselines3."""
