"""Masked training on Stable-Baselines3: presets, the run, its progress display and its files."""
