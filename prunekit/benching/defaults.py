"""The models that ``bench`` compares by default."""

from __future__ import annotations

import sys
from pathlib import Path

from prunekit.errors import InputError
from prunekit.files import RUNS

_CHECKOUT = Path(__file__).parents[2] / "models"
_SHIPPED = _CHECKOUT if _CHECKOUT.is_dir() else Path(sys.prefix) / "share" / "prunekit" / "models"


def default_models(runs: Path = RUNS, shipped: Path = _SHIPPED, suffix: str = ".onnx") -> list[Path]:
    """Return the models of the latest run in ``runs``, or else those of the first shipped policy.

    If there are several kinds of files, those with ``suffix`` are taken (``.pt`` if C is to be written). Raises
    InputError if there are neither runs nor shipped policies.
    """
    latest = sorted(runs.glob("**/model.pt"), key=lambda path: path.stat().st_mtime)
    if latest:
        folder = latest[-1].parent
        compact = [path for path in (folder / f"model.compact{suffix}",) if path.is_file()]
        return [latest[-1], *compact]
    for folder in sorted(path for path in shipped.glob("*") if path.is_dir()):
        models = sorted(folder.glob(f"*{suffix}"), key=lambda path: -path.stat().st_size)
        if models:
            return models
    raise InputError(f"no model was given, and there is none in {runs}/; name one, or run prunekit train first")
