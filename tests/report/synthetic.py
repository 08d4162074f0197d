"""Results of a sweep that nobody ran: of the form of ``results.json``, from a generator of random numbers."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

METHODS: dict[str, dict[str, Any]] = {
    "unpruned": {"of": None, "control": True},
    "masked 0.93": {"of": None, "control": False},
    "masked 0.98": {"of": None, "control": False},
    "same widths from scratch": {"of": "masked 0.93", "control": True},
    "random units": {"of": "masked 0.93", "control": True},
    "magnitude, one shot": {"of": "unpruned", "control": True},
    "linear": {"of": None, "control": True},
}
_LEFT = {
    "unpruned": (1.0, 1.0),
    "masked 0.93": (0.07, 0.95),
    "masked 0.98": (0.02, 0.82),
    "same widths from scratch": (0.07, 0.9),
    "random units": (0.07, 0.7),
    "magnitude, one shot": (0.07, 0.55),
    "linear": (0.0, 0.4),
}
_SIZES = {"Hopper-v5": (11, 3, 3200.0), "Walker2d-v5": (17, 6, 4400.0), "CartPole-v1": (4, 2, 500.0)}


def sweep(environments: tuple[str, ...] = tuple(_SIZES), seeds: int = 5, episodes: int = 20) -> dict[str, Any]:
    """Return plain data; the last cell is missing and one has failed."""
    generator = np.random.default_rng(7)
    cells = [
        cell(generator, environment, method, seed, episodes)
        for environment in environments
        for method in METHODS
        for seed in range(10, 10 + seeds)
    ]
    missing = cells.pop()
    return {
        "format": "prunekit.sweep",
        "version": 1,
        "title": "Masked training beside its controls",
        "episodes": episodes,
        "first_seed": 10_000,
        "random": {name: generator.normal(20.0, 5.0, episodes).tolist() for name in environments},
        "disturbances": {"noise 0.02": {"noise": 0.02}, "noise 0.1": {"noise": 0.1}, "delay 1": {"delay": 1}},
        "methods": METHODS,
        "cells": cells,
        "failed": [{"name": "Hopper-v5-ppo-400000-linear-seed99", "reason": "the return is nan"}],
        "missing": [missing["name"]],
    }


def cell(
    generator: np.random.Generator, environment: str, method: str, seed: int, episodes: int = 20
) -> dict[str, Any]:
    """Return a cell whose return depends on its method, with noise."""
    inputs, outputs, best = _SIZES[environment]
    left, kept = _LEFT[method]
    hidden = [max(1, round(left * 256 + generator.integers(-2, 3))) for _ in range(2)] if left else []
    if method == "unpruned":
        hidden = [256, 256]
    widths = [inputs, *hidden, outputs]
    parameters = sum((one + 1) * other for one, other in pairwise(widths))
    mean = best * kept * generator.normal(1.0, 0.05)
    returns = generator.normal(mean, 0.08 * best, episodes)
    steps = np.linspace(4000, 400_000, 100)
    share = np.clip((steps / 400_000 - 0.5) / 0.3, 0.0, 1.0) if method.startswith(("masked", "random")) else 0.0 * steps
    living = {
        name: np.round(256 + (width - 256) * share).astype(int).tolist()
        for name, width in zip(("0", "2"), hidden, strict=False)
    }
    curve = mean * (1.0 - np.exp(-steps / 90_000)) + generator.normal(0.0, 0.05 * best, len(steps))
    return {
        "name": f"{environment}-ppo-400000-{method.replace(' ', '-')}-seed{seed}",
        "environment": environment,
        "algorithm": "ppo",
        "steps": 400_000,
        "method": method,
        "seed": seed,
        "hidden": hidden,
        "original_hidden": [256, 256],
        "parameters": parameters,
        "seconds": float(generator.normal(180.0, 9.0)),
        "returns": returns.tolist(),
        "disturbed": {
            "noise 0.02": (0.97 * returns).tolist(),
            "noise 0.1": (0.7 * returns).tolist(),
            "delay 1": (0.85 * returns).tolist(),
        },
        "curve": {
            "steps": steps.astype(int).tolist(),
            "return": [None, *curve[1:].tolist()],
            "living": living,
            "seconds": np.linspace(1.0, 180.0, len(steps)).tolist(),
        },
        "date": "2026-11-29",
        "versions": {"python": "3.11.7", "gymnasium": "1.4.0"},
    }
