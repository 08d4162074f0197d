"""What a run of prunekit says next to its agent.zip about the normalizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_MAX_BYTES = 2**20


def run_normalizes(path: Path) -> bool | None:
    """Return whether the run that wrote the zip at ``path`` normalized observations; None if nothing says so."""
    if path.name != "agent.zip":
        return None
    preset = _config(path.parent / "config.json").get("preset")
    told = preset.get("normalize") if isinstance(preset, dict) else None
    return told if isinstance(told, bool) else None


def _config(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            return {}
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
