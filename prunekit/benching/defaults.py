"""What ``bench`` compares when it is given no model."""

from __future__ import annotations

import sys
from pathlib import Path

from prunekit.errors import InputError
from prunekit.files import RUNS

_CHECKOUT = Path(__file__).parents[2] / "models"
_SHIPPED = _CHECKOUT if _CHECKOUT.is_dir() else Path(sys.prefix) / "share" / "prunekit" / "models"


def default_models(runs: Path = RUNS, shipped: Path = _SHIPPED, suffix: str = ".onnx") -> list[Path]:
    """Return the models of the latest run below ``runs``, or where there is none those of the first shipped policy.

    Those of the kind ``suffix``, where there are several: ``.pt`` where C is to be written from them.

    Raises InputError where there are neither.
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
