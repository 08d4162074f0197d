"""Adapters: how a training library's learner shows itself to prunekit. Only ``sb3`` knows Stable-Baselines3."""
